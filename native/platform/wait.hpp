// How a shard waits: spin for a while, then monitor, look again, sleep.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "vanity/platform.hpp"

namespace vanity {

struct WaitTuning {
  uint64_t spin_ticks_max;
  uint64_t sleep_ticks_max;
  // Idle this long: the deeper, cheaper sleep state. 0: always; UINT64_MAX: never.
  uint64_t deep_after_ns = 100'000;
};

struct WaitCounters {
  uint64_t waits = 0;      // sleeps begun
  uint64_t signalled = 0;  // ended by a signal
  uint64_t deadline = 0;
  uint64_t os_limit = 0;
  uint64_t spurious = 0;
  uint64_t late = 0;  // a bound ended the wait, no signal came, and work was there: a lost wake
};

// One for each shard's thread. `sleeper` is the shard's own, which its producers signal().
template <class Policy>
class BasicWaiter {
 public:
  using SleeperType = BasicSleeper<Policy>;

  BasicWaiter(Backend backend, WaitTuning tuning, SleeperType* sleeper) noexcept
      : backend_(backend),
        tuning_(tuning),
        deep_after_(Policy::ticks_of_ns(tuning.deep_after_ns)),
        glance_(Policy::ticks_of_ns(250)),
        crossing_(Policy::ticks_of_ns(says_why(backend) ? 1000 : 20'000)),
        grace_(Policy::ticks_of_ns(1'000'000)),
        spin_budget_(tuning.spin_ticks_max),
        sleeper_(sleeper) {}

  // Returns signalled once `ready()` is true, deadline when the tick `deadline` (absolute) or
  // sleep_ticks_max passes first. `ready` looks at everything that may hold work and returns true
  // when there is some; `watch` is an address whose line a producer stores to when it makes work.
  // Other returns of the hardware are counted and waited through.
  template <class Ready>
  Wake idle(const volatile void* watch, Ready&& ready, uint64_t deadline) noexcept {
    return idle(watch, ready, deadline, [] { return true; });
  }
  // Where `watch` does not stand for everything `ready` looks at, `watched` says whether there is
  // work that it does stand for: only that can come late. A `watched` that takes a tick says
  // whether such work was published before it: who can date work finds the wake that a bound of the
  // system hid (100,000 ticks of UMWAIT, the event stream of WFE), and takes no work for late that
  // came between the end of the wait and the look. Date it after the store: a date taken before is
  // older than the store by as long as the producer was held up between the two.
  template <class Ready, class Watched>
  Wake idle(const volatile void* watch, Ready&& ready, uint64_t deadline,
            Watched&& watched) noexcept {
    const uint64_t start = Policy::now();
    const uint64_t limit = start + tuning_.sleep_ticks_max;
    if (limit > start) deadline = std::min(deadline, limit);

    const uint64_t spin_for = backend_ == Backend::spin ? deadline - start : spin_budget_;
    if (spin(ready, start, spin_for, deadline)) return Wake::signalled;

    for (uint64_t now = Policy::now(); now < deadline; now = Policy::now()) {
      if (sleep(watch, ready, deadline, now - start >= deep_after_, watched)) {
        adapt(Policy::now() - start);
        return Wake::signalled;
      }
    }
    adapt(UINT64_MAX);
    return Wake::deadline;
  }

  const WaitCounters& counters() const noexcept { return counters_; }
  uint64_t spin_budget() const noexcept { return spin_budget_; }
  Backend backend() const noexcept { return backend_; }

 private:
  // In time, not in iterations: a pause costs between 10 and 200 cycles, as the processor likes.
  // It and the clock are what a spinner does not look during, so it looks often between them: as
  // often as fits into a glance, whatever a look costs.
  template <class Ready>
  bool spin(Ready& ready, uint64_t start, uint64_t ticks, uint64_t deadline) noexcept {
    uint32_t looks = 1;
    uint64_t before = start;
    do {
      for (uint32_t i = 0; i < looks; ++i) {
        if (ready()) return true;
      }
      Policy::relax();
      const uint64_t now = Policy::now();
      if (now >= deadline || now - start >= ticks) return false;
      if (now - before < glance_ && looks < kLooksMax) looks *= 2;
      before = now;
    } while (true);
  }

  // As Linux's haltpoll: had the longest spin found this work, spin longer next time; had even that
  // found none, it costs a core for nothing. A wake by the kernel takes about as long as a spin
  // pays, so work that a futex found within two of them may have come within the first, unless
  // that was spun through.
  void adapt(uint64_t idled) noexcept {
    const uint64_t most = tuning_.spin_ticks_max;
    const uint64_t least = most / 32;
    const bool in_doubt = backend_ == Backend::futex && spin_budget_ < most;
    if (idled <= most || (in_doubt && idled - most <= most)) {
      spin_budget_ = std::min(most, std::max(spin_budget_ * 2, least));
    } else {
      spin_budget_ = spin_budget_ / 2 < least ? 0 : spin_budget_ / 2;
    }
  }

  // One monitor, look, wait. True: there is work.
  template <class Ready, class Watched>
  bool sleep(const volatile void* watch, Ready& ready, uint64_t deadline, bool deep,
             Watched& watched) noexcept {
    if (!monitor(watch)) {
      Policy::relax();
      return ready();
    }
    // The look without which a wake is lost: what was published before monitor() does not end the
    // wait, what is published after it does.
    if (ready()) {
      disarm();
      return true;
    }
    ++counters_.waits;
    const Wake wake = wait(deadline, deep);
    const bool bounded = wake == Wake::deadline || wake == Wake::os_limit;
    const uint64_t ended = bounded ? Policy::now() : 0;
    const bool work = ready();
    return account(wake, ended, work, watched);
  }

  bool monitor(const volatile void* watch) noexcept {
    if (backend_ != Backend::futex) {
      Policy::monitor(backend_, watch);
      return true;
    }
    // Pairs with the load in signal(); the heavy fence stands between this store and the look.
    sleeper_->sleeping.store(1, std::memory_order_relaxed);
    if (Policy::try_heavy_fence()) return true;
    disarm();
    return false;
  }

  Wake wait(uint64_t deadline, bool deep) noexcept {
    if (backend_ != Backend::futex) return Policy::wait(backend_, deadline, deep);
    const Wake wake = Policy::futex_wait(sleeper_->sleeping, 1, deadline);
    // A producer that cleared the word has signalled, whatever the system call says.
    // Pairs with the exchange in signal_slow().
    if (sleeper_->sleeping.load(std::memory_order_acquire) == 0) return Wake::signalled;
    return wake;
  }

  void disarm() noexcept {
    // Relaxed: a producer that still reads 1 makes one futex_wake too many, nothing else.
    if (backend_ == Backend::futex) sleeper_->sleeping.store(0, std::memory_order_relaxed);
  }

  template <class Watched>
  bool account(Wake wake, uint64_t ended, bool work, Watched& watched) noexcept {
    if (wake == Wake::deadline && work && backend_ == Backend::futex && signal_follows()) {
      wake = Wake::signalled;
    }
    disarm();
    const bool late = work && came_late(wake, ended, watched);
    counters_.late += late;
    if (wake == Wake::deadline) {
      ++counters_.deadline;
    } else if (wake == Wake::signalled || (work && !late)) {
      ++counters_.signalled;
    } else if (wake == Wake::os_limit) {
      ++counters_.os_limit;
    } else {
      ++counters_.spurious;
    }
    return work;
  }

  // WFE and Zawrs end without a reason, so that a slow wake and a lost one differ in length only.
  static constexpr bool says_why(Backend backend) noexcept {
    return backend != Backend::wfe && backend != Backend::zawrs;
  }

  template <class Watched>
  bool came_late(Wake wake, uint64_t ended, Watched& watched) const noexcept {
    if constexpr (std::is_invocable_v<Watched&, uint64_t>) {
      return (wake == Wake::deadline || wake == Wake::os_limit) && watched(ended - crossing_);
    } else {
      return wake == Wake::deadline && watched();
    }
  }

  // Work was published as the deadline passed: its producer, between store and signal(), still sees
  // `sleeping` and will clear it. One that never does has lost the wake.
  bool signal_follows() noexcept {
    const uint64_t until = Policy::now() + grace_;
    do {
      // Pairs with the exchange in signal_slow().
      if (sleeper_->sleeping.load(std::memory_order_acquire) == 0) return true;
      Policy::relax();
    } while (Policy::now() < until);
    return false;
  }

  static constexpr uint32_t kLooksMax = 64;

  const Backend backend_;
  const WaitTuning tuning_;
  const uint64_t deep_after_;
  const uint64_t glance_;    // what a spinner may spend on looks before it pauses
  const uint64_t crossing_;  // what a store may take to the other core and end the wait there
  const uint64_t grace_;     // what a producer may take between its store and its signal()
  uint64_t spin_budget_;
  SleeperType* const sleeper_;
  WaitCounters counters_;
};

using Waiter = BasicWaiter<Hardware>;

}  // namespace vanity
