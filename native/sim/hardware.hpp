// What vanity/platform.hpp is in the policy build: the same names, and the simulator behind them.
#pragma once

#include "sim/policy.hpp"

namespace vanity {

using Hardware = sim::Policy;

inline uint64_t now_ticks() noexcept {
  return Hardware::now();
}
inline void relax() noexcept {
  Hardware::relax();
}
inline void prefetch_read(const void*) noexcept {}
inline void prefetch_write(const void*) noexcept {}
void platform_init();

}  // namespace vanity
