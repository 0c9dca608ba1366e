// Readings of the clock that measure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "vanity/platform.hpp"

namespace vanity::wake {

// Not before what stands before it is done: without that, a processor may read the clock ahead of
// the load that a wait ends with.
inline uint64_t ordered_ticks() noexcept {
#if defined(__x86_64__)
  asm volatile("lfence" ::: "memory");
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#else
  asm volatile("fence r, rw" ::: "memory");
#endif
  return now_ticks();
}

// What lies between two readings in a row: every measured time holds that much of clock. A mean,
// for some counters step too seldom to tell two readings apart.
inline uint64_t reading_ticks() noexcept {
  constexpr uint64_t kReadings = 200;
  uint64_t least = UINT64_MAX;
  for (int turn = 0; turn < 10; ++turn) {
    const uint64_t first = now_ticks();
    uint64_t last = first;
    for (uint64_t i = 0; i < kReadings; ++i) last = now_ticks();
    least = std::min(least, (last - first) / kReadings);
  }
  return least;
}

}  // namespace vanity::wake
