// How the kernel takes a queue away from a shard that runs: a device that is pulled out must not be
// touched from some moment on, and neither side may wait for the other.
//
//   open      the shard works the queue
//   closing   the kernel asks; the shard sees it at its next call, says so, and touches the device
//             no more from there on: the gate is closed
//   released  the device is stopped, so what the queue still holds is the shard's again
//
// What crosses between cores: nothing while the gate is open, for its line is written only then.
#pragma once

#include <atomic>
#include <cstdint>

namespace vanity {

class Gate {
 public:
  // ---- the shard's thread
  // At the head of every call that touches the device.
  bool open() noexcept {
    if (asked_.load(std::memory_order_relaxed) == kOpen) [[likely]]
      return true;
    closed_.store(true, std::memory_order_release);  // pairs with closed()
    return false;
  }
  // From here on the device writes no more. Pairs with release().
  bool released() const noexcept { return asked_.load(std::memory_order_acquire) == kReleased; }

  // ---- the kernel's thread
  void close() noexcept {
    if (asked_.load(std::memory_order_relaxed) == kOpen)
      asked_.store(kClosing, std::memory_order_relaxed);  // carries nothing but itself
  }
  // Everything the shard did to the device comes before. Pairs with open().
  bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }
  // Once the device is stopped. Pairs with released().
  void release() noexcept { asked_.store(kReleased, std::memory_order_release); }

 private:
  enum : uint32_t { kOpen, kClosing, kReleased };
  alignas(64) std::atomic<uint32_t> asked_{kOpen};
  std::atomic<bool> closed_{false};
};

}  // namespace vanity
