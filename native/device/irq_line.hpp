// One interrupt vector on its way from the kernel's core to the shard that owns it.
//
// The kernel's thread reads the vector's eventfd, says so here, and rings the shard's doorbell. The
// shard looks here, serves the device, and, where the vector is a level line whose EOI is delayed,
// says done(), which unmasks the line: one write to a descriptor, past the kernel's thread.
//
// What crosses between cores: the first line below once per interrupt to the shard, and back for
// the stamp when the shard takes it.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "vanity/platform.hpp"
#include "vanity/segment.hpp"

namespace vanity {

// What a line asks of the processor and of Linux.
struct LineHardware : Hardware {
  static void unmask(int fd) noexcept {
    const uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0) {
      // Full: an unmask is under way already.
    }
  }
};

// In the memory of both, where the shard is a process of its own.
template <class Policy = LineHardware>
struct BasicIrqWords {
  using Word = typename Policy::template Atomic<uint64_t>;

  Word raised{0};
  Word stamp{0};         // of the first raise that nobody took; 0: none
  Word masked_since{0};  // 0: an EOI is not owed
};

template <class Policy = LineHardware>
struct alignas(128) BasicIrqLine {
 public:
  using Words = BasicIrqWords<Policy>;

  // `unmask_fd`: an eventfd that unmasks the line, for done(); -1: there is nothing to end.
  // `words`: those of the same line in another process, which may have gone on since the shard
  // took something; null: both sides call this object.
  explicit BasicIrqLine(VectorRecord* record, int unmask_fd = -1, Words* words = nullptr) noexcept
      : words_(words == nullptr ? &own_ : words),
        record_(record),
        unmask_fd_(unmask_fd),
        taken_(words == nullptr ? 0 : record->taken.get()) {}
  BasicIrqLine(const BasicIrqLine&) = delete;
  BasicIrqLine& operator=(const BasicIrqLine&) = delete;

  // ---- the kernel's thread
  // It fired `times` since the last call.
  void raise(uint64_t now_ticks, uint64_t times = 1) noexcept {
    // Only the first of those that nobody took yet is timed. Whoever took in between leaves 0.
    if (words_->stamp.load(std::memory_order_relaxed) == 0)
      words_->stamp.store(now_ticks | 1, std::memory_order_relaxed);
    if (unmask_fd_ >= 0) words_->masked_since.store(now_ticks | 1, std::memory_order_relaxed);
    count_ += times;
    words_->raised.store(count_, std::memory_order_release);  // pairs with take()
    record_->raised.add(times);
  }
  // The shard's process has ended, and the next one hears of nothing that was meant for it: what it
  // had not taken counts as taken, and no EOI is owed.
  void settle() noexcept {
    words_->stamp.store(0, std::memory_order_relaxed);
    words_->masked_since.store(0, std::memory_order_relaxed);
    record_->taken.set(count_);
  }

  // ---- the shard's thread
  // How often it fired since the last look. What the device wrote before is visible after it.
  uint64_t take() noexcept {
    const uint64_t raised = words_->raised.load(std::memory_order_acquire);  // pairs with raise()
    const uint64_t fresh = raised - taken_;
    if (fresh == 0) return 0;
    taken_ = raised;
    record_->taken.add(fresh);
    // Taken away in one step, so that no stamp is timed twice. A raise() that found it still there
    // goes untimed; the stamp of one that came in between is a short time, never a long one.
    const uint64_t stamp = words_->stamp.exchange(0, std::memory_order_relaxed);
    if (stamp != 0) {
      const uint64_t now = Policy::now();
      record_->latency_ticks.record(now > stamp ? now - stamp : 0);
    }
    return fresh;
  }

  // The EOI: the device has been served and holds the line no more. Nothing where the line was not
  // delivered since the last one, and nothing for messages.
  void done() noexcept {
    if (unmask_fd_ < 0) return;
    // Before the write: the line may be delivered again while that is under way.
    const uint64_t since = words_->masked_since.exchange(0, std::memory_order_relaxed);
    if (since == 0) return;
    record_->done.add(1);
    const uint64_t now = Policy::now();
    record_->masked_ticks.add(now > since ? now - since : 0);
    Policy::unmask(unmask_fd_);
  }

  Words* words() const noexcept { return words_; }
  VectorRecord* record() const noexcept { return record_; }
  int unmask_fd() const noexcept { return unmask_fd_; }

 private:
  Words own_;
  uint64_t count_ = 0;  // the kernel's own copy of raised

  alignas(64) Words* const words_;
  VectorRecord* const record_;
  const int unmask_fd_;
  uint64_t taken_;
};

using IrqWords = BasicIrqWords<>;

struct IrqLine final : BasicIrqLine<> {
  using BasicIrqLine::BasicIrqLine;
};

}  // namespace vanity
