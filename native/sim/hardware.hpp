// What vanity/platform.hpp is in the policy build: the same names, and the simulator behind them.
#pragma once

#include <cstddef>
#include <cstring>

#include "sim/policy.hpp"

namespace vanity {

struct Hardware : sim::Policy {
  // Descriptors of packets go word by word, each held against who else touched it. Other elements,
  // messages and buffers on their way home, are read in place by who has them, which nobody sees.
  static constexpr uint32_t kFollowedBytes = 16;

  static void write_elements(std::byte* to, size_t to_stride, const std::byte* from,
                             size_t from_stride, uint32_t bytes, uint32_t count) {
    if (bytes != kFollowedBytes) {
      Policy::write_elements(to, to_stride, from, from_stride, bytes, count);
      return;
    }
    for (uint32_t i = 0; i < count; ++i, to += to_stride, from += from_stride) {
      for (uint32_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        uint64_t word;
        std::memcpy(&word, from + at, sizeof(word));
        sim::World::current().write(to + at, word);
      }
    }
  }
  static void read_elements(std::byte* to, size_t to_stride, const std::byte* from,
                            size_t from_stride, uint32_t bytes, uint32_t count) {
    if (bytes != kFollowedBytes) {
      Policy::read_elements(to, to_stride, from, from_stride, bytes, count);
      return;
    }
    for (uint32_t i = 0; i < count; ++i, to += to_stride, from += from_stride) {
      for (uint32_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        const uint64_t word = sim::World::current().read(from + at);
        std::memcpy(to + at, &word, sizeof(word));
      }
    }
  }
};

inline uint64_t now_ticks() noexcept {
  return Hardware::now();
}
inline void relax() noexcept {
  Hardware::relax();
}
inline void prefetch_read(const void*) noexcept {}
inline void prefetch_write(const void*) noexcept {}
inline void demote(const void*) noexcept {}
void platform_init();
void platform_share();

}  // namespace vanity
