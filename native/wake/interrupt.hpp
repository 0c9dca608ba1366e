// The way of an interrupt, by the very parts that ship: an eventfd is raised, as Linux does for a
// device; a thread in the place of the kernel's core finds it by epoll and rings the doorbell of
// the shard that owns the vector; and the shard waits as wait = "auto" does.
//
// What crosses between cores for each: the eventfd inside Linux, the line of the vector, and the
// doorbell's with the sleeper's.
#pragma once

#include <unistd.h>

#include <cstdint>

#include "platform/detect.hpp"
#include "wake/kernel_core.hpp"
#include "wake/mailbox.hpp"

namespace vanity::wake {

class Interrupt {
 public:
  Interrupt(uint32_t cpu, WaitTuning tuning, Dates)
      : raised_(make_eventfd()),
        kernel_(cpu, raised_.get()),
        waiter_(choose_backend("auto"), tuning, &kernel_.shard().sleeper) {}

  uint32_t wait_for(uint32_t seen, const Pair& pair) noexcept {
    uint32_t found = seen;
    Doorbell& bell = kernel_.shard().doorbell;
    const auto ready = [&] {
      // As a shard does: the mark first, then what it is for.
      if (!bell.any() || bell.take(Doorbell::kControlIrq) == 0 || kernel_.line().take() == 0)
        return false;
      found = mail.load();
      return found != seen;
    };
    // Between a signal and its mark lies the way through Linux, so a bound that ends in between has
    // lost nothing.
    const auto watched = [](uint64_t) { return false; };
    while (waiter_.idle(&bell, ready, UINT64_MAX, watched) != Wake::signalled) {
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
  const WaitCounters& counters() const noexcept { return waiter_.counters(); }

  Mail mail;

 private:
  Fd raised_;
  KernelCore kernel_;
  alignas(kIsolationBytes) Waiter waiter_;  // from here on the waiter's own
};

}  // namespace vanity::wake
