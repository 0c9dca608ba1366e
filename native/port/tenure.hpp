// Whose a queue is: the shard's that works it, or the kernel's, which takes its device down to make
// it anew or to give it back. A device must not be touched from some moment on, and neither side
// may wait for the other.
//
//   live       the shard works the queue
//   stopping   the kernel asks; the shard sees it at its next call
//   stopped    the shard touches the device no more; it goes there by itself when the device lies
//   released   the device is stopped: what the queue held is the shard's, to be given back
//   drained    it holds nothing: the kernel may make it anew, and then it is live again
//
// Two words, each with one writer: what the kernel asks, and what the shard answers. Both carry the
// number of the life they speak of, so that no answer is taken for one to a later question. What
// crosses between cores: nothing while the queue is live.
//
// A shard that goes to sleep may park the queue: until its next call it touches nothing, and the
// kernel need not wake it for an answer. Only for a queue that holds no buffers, which need not be
// drained: it goes from stopped to live.
#pragma once

#include <atomic>
#include <cstdint>

#include "vanity/platform.hpp"

namespace vanity {

template <class Policy = Hardware>
class BasicTenure {
 public:
  // ---- the shard's thread
  // At the head of every call that touches the device.
  bool live() noexcept {
    // Pairs with nothing: who goes on working needs no more than its own past.
    if (asked_.load(std::memory_order_relaxed) == working_) [[likely]]
      return true;
    return follow();
  }
  // The device said what cannot be; only while live().
  void give_up() noexcept {
    trouble_.store(true, std::memory_order_relaxed);  // a word for the kernel; carries nothing
    working_ = kNever;
    answer_.store(life_ + kStopped, std::memory_order_release);  // pairs with stopped()
  }
  // After live() said no: the device writes no more, and what it had has not been given back.
  bool released() const noexcept {
    const uint32_t asked = asked_.load(std::memory_order_acquire);  // pairs with release()
    return asked == life_ + kReleased &&
           answer_.load(std::memory_order_relaxed) != life_ + kDrained;  // its own word
  }
  // Until the next live(), which pays a full barrier for it.
  void park() noexcept {
    if (parked()) return;
    working_ = kNever;
    parked_.store(1, std::memory_order_release);  // pairs with stopped()
  }
  bool parked() const noexcept {
    return parked_.load(std::memory_order_relaxed) != 0;
  }  // its own word
  // Pairs with drained().
  void drain() noexcept { answer_.store(life_ + kDrained, std::memory_order_release); }

  // ---- the kernel's thread
  bool trouble() const noexcept { return trouble_.load(std::memory_order_relaxed); }
  void stop() noexcept {
    const uint32_t asked = asked_.load(std::memory_order_relaxed);
    // Before stopped() looks whether the shard is parked; pairs with unpark(): one of the two sees
    // the other's word.
    if (what(asked) == kLive) asked_.exchange(asked + kStopped, std::memory_order_seq_cst);
  }
  // Everything the shard did to the device comes before. Pairs with follow(), give_up() and park().
  bool stopped() const noexcept {
    return answer_.load(std::memory_order_acquire) >= life() + kStopped ||
           parked_.load(std::memory_order_seq_cst) != 0;
  }
  // Once the device is stopped. Pairs with released().
  void release() noexcept { asked_.store(life() + kReleased, std::memory_order_release); }
  // Pairs with drain().
  bool drained() const noexcept {
    return answer_.load(std::memory_order_acquire) == life() + kDrained;
  }
  // Once the queue and the device are made anew.
  void revive() noexcept {
    trouble_.store(false, std::memory_order_relaxed);
    asked_.store(life() + kLives + kLive, std::memory_order_release);  // pairs with follow()
  }

 private:
  enum : uint32_t { kLive, kStopped, kReleased, kDrained, kLives };
  static constexpr uint32_t kNever = ~0u;

  static constexpr uint32_t what(uint32_t word) noexcept { return word % kLives; }
  uint32_t life() const noexcept {
    const uint32_t asked = asked_.load(std::memory_order_relaxed);
    return asked - what(asked);
  }

  // Before it looks what the kernel asks; pairs with stop().
  [[gnu::noinline]] void unpark() noexcept { parked_.exchange(0, std::memory_order_seq_cst); }

  [[gnu::noinline]] bool follow() noexcept {
    if (parked()) unpark();
    const uint32_t asked =
        asked_.load(std::memory_order_seq_cst);  // pairs with revive() and stop()
    const uint32_t life = asked - what(asked);
    if (what(asked) == kLive) {
      const uint32_t answer = answer_.load(std::memory_order_relaxed);  // its own word
      // Given up, and not yet seen by the kernel.
      if (life == life_ && answer >= life + kStopped) return false;
      life_ = life;
      working_ = asked;
      return true;
    }
    life_ = life;
    working_ = kNever;
    if (answer_.load(std::memory_order_relaxed) < life + kStopped)
      answer_.store(life + kStopped, std::memory_order_release);  // pairs with stopped()
    return false;
  }

  // Until the first revive() it is as if drained: nothing is there to be worked or given back.
  alignas(64) typename Policy::template Atomic<uint32_t> asked_{kReleased};
  alignas(64) typename Policy::template Atomic<uint32_t> answer_{kDrained};
  typename Policy::template Atomic<bool> trouble_{false};
  typename Policy::template Atomic<uint32_t> parked_{0};
  uint32_t working_ = kNever;  // the shard's own, as the next
  uint32_t life_ = 0;
};

using Tenure = BasicTenure<>;

}  // namespace vanity
