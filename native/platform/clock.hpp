// Ticks of now_ticks() in seconds. Valid after platform_init(); calibrates itself if called before.
#pragma once

#include <cstdint>
#include <string>

namespace vanity {

uint64_t ticks_per_second();
// Where ticks come from and how their rate is known, e.g. "tsc, measured 2095.078 MHz".
std::string clock_source();

uint64_t ticks_to_ns(uint64_t ticks);
uint64_t ns_to_ticks(uint64_t ns);  // saturates at UINT64_MAX

uint64_t monotonic_ns() noexcept;  // CLOCK_MONOTONIC

// Ticks and CLOCK_MONOTONIC_RAW, taken as close together as ten tries allow.
struct ClockStamp {
  uint64_t ticks;
  uint64_t ns;
};
ClockStamp clock_stamp() noexcept;

}  // namespace vanity
