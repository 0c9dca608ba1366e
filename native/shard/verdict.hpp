// What becomes of a shard whose program was left. Two words, each with one writer: how often it was
// left is the shard's, what is said to it the kernel's. A verdict carries the number of the time
// that it is about, so that none is taken for one about a later time.
//
// The evidence is the kernel's to read from left() to its first verdict, whoever wants the program
// started anew meanwhile.
#pragma once

#include <atomic>
#include <cstdint>

#include "vanity/platform.hpp"

namespace vanity {

enum class Verdict : uint32_t {
  none,
  seen,  // the evidence was read; by hand it may be started anew
  restart,
  give_up  // until it is restarted by hand
};

template <class Policy = Hardware>
class BasicVerdicts {
 public:
  // ---- the shard
  // Its program was left, and the evidence is written.
  void leave() noexcept {
    left_.store(left_.load(std::memory_order_relaxed) + 1,
                std::memory_order_release);  // pairs with left()
  }
  // About the last time. The kernel has read the evidence, unless it is none.
  Verdict verdict() const noexcept {
    const uint64_t word = verdict_.load(std::memory_order_acquire);  // pairs with judge()
    if (word >> kBits != left_.load(std::memory_order_relaxed)) return Verdict::none;
    return static_cast<Verdict>(word & kMask);
  }
  static bool may_start(Verdict verdict, bool by_hand) noexcept {
    return verdict == Verdict::restart || (by_hand && verdict != Verdict::none);
  }

  // ---- the kernel
  // How often it was left. The evidence of the last time is there, and stays until a verdict.
  uint64_t left() const noexcept {
    return left_.load(std::memory_order_acquire);  // pairs with leave()
  }
  void judge(Verdict verdict, uint64_t left) noexcept {
    verdict_.store(left << kBits | static_cast<uint64_t>(verdict),
                   std::memory_order_release);  // pairs with verdict()
  }

 private:
  static constexpr uint32_t kBits = 2;
  static constexpr uint64_t kMask = (1u << kBits) - 1;

  alignas(64) typename Policy::template Atomic<uint64_t> left_{0};
  alignas(64) typename Policy::template Atomic<uint64_t> verdict_{0};
};

using Verdicts = BasicVerdicts<>;

}  // namespace vanity
