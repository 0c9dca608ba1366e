// Random numbers that are the same on every processor and in every build.
#pragma once

#include <cstdint>

namespace vanity::sim {

// Vigna's splitmix64: any seed is a good one.
class Random {
 public:
  explicit Random(uint64_t seed) noexcept : state_(seed) {}

  uint64_t next() noexcept { return mix(state_ += 0x9e3779b97f4a7c15u); }
  // Below n, which is small: the bias is n / 2^32.
  uint32_t below(uint32_t n) noexcept {
    return static_cast<uint32_t>(((next() >> 32) * uint64_t{n}) >> 32);
  }

  static constexpr uint64_t mix(uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

}  // namespace vanity::sim
