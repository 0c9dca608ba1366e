// The control path's half of one program taking another's place: what it wishes of the shard, how
// long it waits, and what it does when it has waited for long enough. The shard's half is
// shard/wishes.hpp.
#pragma once

#include <atomic>
#include <cstdint>

#include "shard/wishes.hpp"

namespace vanity {

// `Clock` has now_ns() and nap(), and the atomics of a policy.
template <class Shard, class Handover, class Clock>
class BasicAsking {
 public:
  BasicAsking(Shard& shard, Handover& handover) noexcept : shard_(shard), handover_(handover) {}

  // ---- the control path
  Step step() const noexcept { return handover_.step.get(); }
  // The shard has done its last, of this or of all.
  bool over() const noexcept { return is_last(step()) || shard_.ended(); }
  bool hurried() const noexcept { return hurried_.load(std::memory_order_relaxed); }
  // Before a swap that nothing is copied for.
  void post() noexcept {
    shard_.post(handover_);
    posted_ = true;
  }
  // Has bursts copied, for `copy_ns`. False: its turn did not end for `turn_ns`, or it is over.
  bool copy(uint64_t copy_ns, uint64_t turn_ns) noexcept {
    post();
    shard_.wish(Wish::copy);
    const auto copied = [this] { return step() == Step::copied; };
    if (wait(copied, copy_ns)) return true;
    shard_.wish(Wish::enough);
    return wait(copied, turn_ns);
  }
  // True: the new one is on trial.
  bool swap(uint64_t ns) noexcept {
    shard_.wish(Wish::swap);
    const auto switched = [this] { return step() == Step::trial; };
    if (wait(switched, ns)) return true;
    if (!over()) {
      shard_.wish(Wish::cancel);
      wait(switched, UINT64_MAX);  // it may have begun in between
    }
    return step() == Step::trial;
  }
  // Once it is over: the hand-over is the caller's.
  void withdraw() noexcept {
    shard_.withdraw();
    posted_ = false;
  }
  // Whatever was posted is over afterwards. Not while it is on trial.
  void call_off() noexcept {
    if (!posted_) return;
    if (!over()) {
      shard_.wish(Wish::cancel);
      wait([] { return false; }, UINT64_MAX);
    }
    withdraw();
  }
  void finish() noexcept {
    done_.store(true, std::memory_order_release);  // pairs with done()
  }

  // ---- who waits for it
  bool done() const noexcept {
    return done_.load(std::memory_order_acquire);  // pairs with finish()
  }
  // What has not begun does not begin.
  void hurry() noexcept { hurried_.store(true, std::memory_order_relaxed); }

 private:
  // Until it is done, it is over, or so is the time; true only for the first.
  template <class Done>
  bool wait(Done&& done, uint64_t ns) noexcept {
    const uint64_t since = Clock::now_ns();
    while (!done()) {
      if (over() || (ns != UINT64_MAX && hurried())) return done();
      if (ns != UINT64_MAX && Clock::now_ns() - since > ns) return false;
      Clock::nap();
    }
    return true;
  }

  Shard& shard_;
  Handover& handover_;
  bool posted_ = false;
  typename Clock::template Atomic<bool> hurried_{false};
  typename Clock::template Atomic<bool> done_{false};
};

}  // namespace vanity
