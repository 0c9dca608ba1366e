// What every kind of visit shares: the plan in ticks, the logs of both threads, and how they end.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "platform/error.hpp"
#include "wake/mailbox.hpp"
#include "wake/ticks.hpp"
#include "wake/visit.hpp"

namespace vanity::wake {

// Samples before the measured ones: they warm the path and tell how long a wake takes here.
inline constexpr uint32_t kPilot = 8;
// Signals in one sample of mode signal.
inline constexpr uint32_t kBatch = 256;

// A page of its own for what both sides share, so that no visit inherits the place of another's
// lines. Created by the waiter: its memory is near the one who polls it.
template <class M>
class Page {
 public:
  Page() = default;
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  ~Page() {
    if (M* const at = get()) {
      at->~M();
      munmap(at, sizeof(M));
    }
  }

  template <class... Args>
  void create(Args&&... args) {
    void* const memory = mmap(nullptr, sizeof(M), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) throw system_error("VANITY_E_MEMORY", "mmap", errno);
    try {
      // Release: pairs with get() in the thread that kicks.
      at_.store(new (memory) M(std::forward<Args>(args)...), std::memory_order_release);
    } catch (...) {
      munmap(memory, sizeof(M));
      throw;
    }
  }
  // Acquire: pairs with create().
  M* get() const noexcept { return at_.load(std::memory_order_acquire); }

 private:
  std::atomic<M*> at_{nullptr};
};

// What the signaller alone writes; the waiter reads `after`, and `due` once a later mail came.
struct Sent {
  std::vector<uint64_t> due;
  // What the signaller's own delays have moved the schedule by. Relaxed: the waiter only wants to
  // know roughly when it was to be signalled.
  std::atomic<uint64_t> moved{0};
  std::vector<uint64_t> stamps;              // before each signal
  std::vector<std::atomic<uint64_t>> after;  // after it
  std::vector<uint64_t> returns;             // there and back: when the reply was seen
  std::vector<uint8_t> marks;
  uint64_t reading = 0;
  uint64_t involuntary = 0;
  uint32_t count = 0;  // there and back: replies seen, the pilot included
};

// What the waiter alone writes; the signaller reads `arrivals` of what it saw taken.
struct Received {
  std::vector<uint64_t> arrivals;
  std::vector<std::atomic<uint64_t>> replied;  // there and back: after each reply
  std::vector<uint8_t> marks;
  WaitCounters before;
  WaitCounters after;
  uint64_t begun = 0;
  uint64_t ended = 0;
  uint64_t cpu_begun = 0;
  uint64_t cpu_ended = 0;
  uint64_t involuntary = 0;
  uint32_t count = 0;  // the pilot included
};

class Cell {
 public:
  Cell(const VisitSpec& spec, Pair& pair);

  // Each side prepares its own log: the memory is near who writes it, and touched.
  void prepare_sender();
  void prepare_receiver();

  // A processor that has just been idle runs slowly.
  void warm_up() const noexcept;
  // Spins; sleeps where a spinner would keep the waiter from going to sleep.
  void pause_until(uint64_t tick) const noexcept;
  // Until `word` is `value`; false when the visit is over.
  bool await(const std::atomic<uint32_t>& word, uint32_t value) const noexcept;
  // The signal, with the clock read on both sides of it.
  template <class M>
  void send(M& mailbox, uint32_t index, uint64_t stamp) noexcept {
    mailbox.publish(index + 1);
    const uint64_t after = now_ticks();
    sent.stamps[index] = stamp;
    // Relaxed: see Dates.
    sent.after[index].store(after, std::memory_order_relaxed);
  }
  uint64_t cost(uint32_t index) const noexcept {
    return sent.after[index].load(std::memory_order_relaxed) - sent.stamps[index];
  }
  bool over(uint64_t now) const noexcept { return now > end || pair.stopped(); }
  // By the signaller, which sent so many. The mail behind it makes the waiter look.
  template <class M>
  void finish(M& mailbox, uint32_t count) noexcept {
    last.store(count, std::memory_order_release);  // pairs with expects()
    if (count < planned) mailbox.publish(count + 1);
  }
  // By the waiter: is there more to come?
  bool expects(uint32_t seen) const noexcept {
    return seen < last.load(std::memory_order_acquire);  // pairs with finish()
  }
  // By the waiter, around what is measured.
  void begin(const WaitCounters& counters) noexcept;
  void stop(const WaitCounters& counters, uint32_t seen) noexcept;

  Visit result() const;

  const VisitSpec& spec;
  Pair& pair;
  const bool shared_cpu;  // the signaller is in the way of somebody if it spins
  const bool open_loop;
  const uint64_t idle;
  const uint64_t pilot_idle;
  const uint64_t microsecond;
  const int64_t offset;
  const uint64_t end;
  const uint32_t planned;  // samples, the pilot's included
  Sent sent;
  alignas(kIsolationBytes) Received received;

 private:
  // Written once, when the signaller knows how many there will be.
  alignas(kIsolationBytes) std::atomic<uint32_t> last;
};

// Runs both bodies until the end of the visit; `pages` are those whose waiters may need a kick.
template <class A, class B, class... Pages>
void run_cell(Cell& cell, A&& from, B&& to, const Pages&... pages) {
  constexpr uint64_t kDrainNs = 20'000'000;  // from the last signal to the end by force
  const auto kick = [](const auto& page) {
    if (auto* const mailbox = page.get()) mailbox->kick();
  };
  cell.pair.run(cell.spec.from, from, cell.spec.to, to, cell.spec.max_ns + kDrainNs,
                [&] { (kick(pages), ...); });
}

}  // namespace vanity::wake
