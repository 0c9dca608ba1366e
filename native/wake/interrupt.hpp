// The way of an interrupt, by the very parts that ship: an eventfd is raised, as Linux does for a
// device; a thread in the place of the kernel's core finds it by epoll and rings the doorbell of
// the shard that owns the vector; and the shard waits as wait = "auto" does.
//
// What crosses between cores for each: the eventfd inside Linux, the line of the vector, and the
// doorbell's with the sleeper's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "kernel/interrupts.hpp"
#include "platform/fd.hpp"
#include "shard/shard.hpp"
#include "vanity/segment.hpp"
#include "wake/mailbox.hpp"

namespace vanity::wake {

// Where the thread for the kernel's core runs: on a processor that is neither, where there is one,
// else on the signaller's, which then sleeps between its signals.
uint32_t kernel_cpu(uint32_t from, uint32_t to);

class Interrupt {
 public:
  Interrupt(uint32_t cpu, WaitTuning tuning, Dates);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  uint32_t wait_for(uint32_t seen, const Pair& pair) noexcept {
    uint32_t found = seen;
    const auto ready = [&] {
      // As a shard does: the mark first, then what it is for.
      Doorbell& bell = shard_->doorbell;
      if (!bell.any() || bell.take(Doorbell::kControlIrq) == 0 || line_->take() == 0) return false;
      found = mail.load();
      return found != seen;
    };
    // Between a signal and its mark lies the way through Linux, so a bound that ends in between has
    // lost nothing.
    const auto watched = [](uint64_t) { return false; };
    while (waiter_->idle(&shard_->doorbell, ready, UINT64_MAX, watched) != Wake::signalled) {
      if (pair.stopped()) return mail.load();
    }
    return found;
  }
  void publish(uint32_t sequence) noexcept {
    mail.store(sequence);
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = write(raised_.get(), &one, sizeof one);
  }
  void poll() noexcept {}
  void kick() noexcept {}
  const WaitCounters& counters() const noexcept { return waiter_->counters(); }

  Mail mail;

 private:
  Fd raised_;
  Fd stop_;
  std::unique_ptr<VectorRecord> record_;
  std::unique_ptr<ShardLine> shard_;
  std::unique_ptr<Waiter> waiter_;
  Interrupts interrupts_;
  IrqLine* line_;
  std::thread kernel_;
};

}  // namespace vanity::wake
