// Whose a queue is while its device is taken down and made anew, or taken away. As port/gate.hpp,
// with a way back.
//
//   live       the shard works the queue
//   stopping   the kernel asks; the shard sees it at its next call
//   stopped    the shard touches the device no more; it goes there by itself when the device lies
//   released   the device has the queue no more: what it held is the shard's, to be given back
//   drained    it holds nothing: the kernel may make it anew, and then it is live again
//
// What crosses between cores: nothing while the queue is live.
#pragma once

#include <atomic>
#include <cstdint>

namespace vanity::virtio_net {

class Tenure {
 public:
  // ---- the shard's thread
  // At the head of every call that touches the device.
  bool live() noexcept {
    const uint32_t state = state_.load(std::memory_order_acquire);  // pairs with revive()
    if (state == kLive) [[likely]]
      return true;
    if (state == kStopping) state_.store(kStopped, std::memory_order_release);  // with stopped()
    return false;
  }
  // The device said what cannot be; only while live().
  void give_up() noexcept {
    trouble_.store(true, std::memory_order_relaxed);  // a word for the kernel; carries nothing
    uint32_t live = kLive;
    // Pairs with stopped(). Fails when the kernel asks already, and then live() does it.
    state_.compare_exchange_strong(live, kStopped, std::memory_order_release,
                                   std::memory_order_relaxed);
  }
  // Pairs with release().
  bool released() const noexcept { return state_.load(std::memory_order_acquire) == kReleased; }
  void drain() noexcept { state_.store(kDrained, std::memory_order_release); }  // with drained()

  // ---- the kernel's thread
  bool trouble() const noexcept { return trouble_.load(std::memory_order_relaxed); }
  void stop() noexcept {
    uint32_t live = kLive;
    state_.compare_exchange_strong(live, kStopping, std::memory_order_relaxed);
  }
  // Pairs with live() and give_up().
  bool stopped() const noexcept { return state_.load(std::memory_order_acquire) >= kStopped; }
  void release() noexcept {
    if (state_.load(std::memory_order_relaxed) == kStopped)
      state_.store(kReleased, std::memory_order_release);  // pairs with released()
  }
  // Pairs with drain().
  bool drained() const noexcept { return state_.load(std::memory_order_acquire) == kDrained; }
  void revive() noexcept {
    trouble_.store(false, std::memory_order_relaxed);
    state_.store(kLive, std::memory_order_release);  // pairs with live()
  }

 private:
  enum : uint32_t { kLive, kStopping, kStopped, kReleased, kDrained };
  // Until start() it is as if drained: nothing is there to be worked or given back.
  std::atomic<uint32_t> state_{kDrained};
  std::atomic<bool> trouble_{false};
};

}  // namespace vanity::virtio_net
