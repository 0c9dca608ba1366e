// The words by which one program takes another's place on a shard. Each has one writer, so nobody
// exchanges or compares: what is wished is the control path's, what was done the shard's.
//
//   control path   post, copy .. enough .. swap .. keep, undo or leave; cancel until it has begun
//   shard          copying, copied .. trial .. kept or undone; refused until it is on trial
//
// A wish says which hand-over it is about, so that none is taken for one about the next. The step
// lies in the hand-over itself, which the shard never touches again after the last one.
#pragma once

#include <atomic>
#include <cstdint>

#include "vanity/doorbell.hpp"
#include "vanity/platform.hpp"

namespace vanity {

enum class Wish : uint32_t {
  none,
  copy,    // the next bursts
  enough,  // of them
  swap,
  cancel,  // when it has not begun
  keep,    // the time of trial is over
  undo,
  leave  // the same, of one that does not come back from its turn
};
enum class Step : uint32_t { none, copying, copied, trial, kept, undone, refused };

inline bool is_last(Step step) noexcept {
  return step == Step::kept || step == Step::undone || step == Step::refused;
}

// Why it was refused or undone.
enum class Unkept : uint32_t {
  none,
  cancelled,
  held,       // the old one holds packets over turns
  save,       // returned a number
  restore,    // the same
  migrate,    // the same
  fault,      // the new one was left
  old_fault,  // the old one was
  unhealthy,  // the new one says so itself
  wished,     // by the control path
  told        // JavaScript says why, in words
};

// Written by the shard.
template <class Policy = Hardware>
class BasicStep {
 public:
  void set(Step step) noexcept {
    word_.store(static_cast<uint32_t>(step), std::memory_order_release);  // pairs with get()
  }
  // What the shard had written of the hand-over by then is visible.
  Step get() const noexcept {
    return static_cast<Step>(word_.load(std::memory_order_acquire));  // pairs with set()
  }

 private:
  typename Policy::template Atomic<uint32_t> word_{0};
};

// In the line of the shard. Written by the control path.
template <class Handover, class Policy = Hardware>
class BasicWishes {
 public:
  // ---- the control path
  // Before the first wish about it; not before the last one is settled.
  void post(Handover& handover) noexcept {
    posted_ = &handover;
    ++posts_;
  }
  void wish(Wish wanted, BasicDoorbell<Policy>& bell, BasicSleeper<Policy>& sleeper) noexcept {
    word_.store(posts_ << kBits | static_cast<uint32_t>(wanted),
                std::memory_order_release);  // pairs with hear(): what was posted
    bell.ring(BasicDoorbell<Policy>::kControlReload);
    signal(sleeper);
  }
  void withdraw() noexcept { word_.store(0, std::memory_order_relaxed); }

  // ---- the shard
  // Once a turn; hear() looks closer.
  bool any() const noexcept { return word_.load(std::memory_order_relaxed) != 0; }
  uint32_t hear() const noexcept {
    return word_.load(std::memory_order_acquire);  // pairs with wish()
  }
  static Wish wanted(uint32_t word) noexcept { return static_cast<Wish>(word & kMask); }
  static uint32_t about(uint32_t word) noexcept { return word >> kBits; }
  // A guess, by a handler: it carries nothing with it.
  bool leaves() const noexcept {
    return wanted(word_.load(std::memory_order_relaxed)) == Wish::leave;
  }
  Handover* posted() const noexcept { return posted_; }  // after hear()

 private:
  static constexpr uint32_t kBits = 4;
  static constexpr uint32_t kMask = (1u << kBits) - 1;

  typename Policy::template Atomic<uint32_t> word_{0};  // Wish, and above it the number of posts
  uint32_t posts_ = 0;
  Handover* posted_ = nullptr;
};

// The shard's half, its own: which hand-over is under way, how far it is, and what a wish leads to.
template <class Handover, class Policy = Hardware>
class BasicAttendant {
 public:
  using Wishes = BasicWishes<Handover, Policy>;

  // Once a turn while something is wished. `shard` does what is decided here.
  template <class Shard>
  void attend(const Wishes& wishes, Shard& shard, uint64_t since) noexcept {
    const uint32_t word = wishes.hear();
    if (word == 0 || Wishes::about(word) == settled_) return;
    if (current_ == nullptr) {
      current_ = wishes.posted();
      number_ = Wishes::about(word);
      at_ = Step::none;
      shard.begin_handover();
    }
    const Wish wanted = Wishes::wanted(word);
    if (at_ == Step::trial) {
      if (wanted == Wish::undo || wanted == Wish::leave) {
        shard.undo(Unkept::wished, 0);
      } else {
        shard.try_out(wanted == Wish::keep, since);
      }
    } else if (shard.is_down() && (wanted != Wish::swap || current_->program_follows())) {
      shard.refuse(Unkept::old_fault);
    } else if (wanted == Wish::cancel) {
      shard.refuse(Unkept::cancelled);
    } else if (wanted == Wish::copy && at_ == Step::none) {
      at_ = Step::copying;
      shard.attend_bursts();
    } else if (wanted == Wish::enough && at_ != Step::copied) {
      copied();
      shard.attend_bursts();
    } else if (wanted == Wish::swap && shard.may_switch()) {
      shard.switch_programs(since);
    }
  }

  Handover* current() const noexcept { return current_; }  // null: nothing is under way
  bool is(Step step) const noexcept { return current_ != nullptr && at_ == step; }
  void copied() noexcept { reach(Step::copied); }
  void on_trial() noexcept { reach(Step::trial); }
  // Nothing of it is touched afterwards: the control path may take it down.
  void conclude(Step last) noexcept {
    Handover& handover = *current_;
    current_ = nullptr;
    settled_ = number_;
    handover.step.set(last);
  }

 private:
  void reach(Step step) noexcept {
    at_ = step;
    current_->step.set(step);
  }

  Handover* current_ = nullptr;
  Step at_ = Step::none;
  uint32_t number_ = 0;   // of the current one
  uint32_t settled_ = 0;  // of the last one that it is done with
};

}  // namespace vanity
