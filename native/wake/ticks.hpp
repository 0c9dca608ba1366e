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

// What two readings in a row are apart at least: every measured time holds that much of clock.
inline uint64_t reading_ticks() noexcept {
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t before = now_ticks();
    least = std::min(least, now_ticks() - before);
  }
  return least;
}

}  // namespace vanity::wake
