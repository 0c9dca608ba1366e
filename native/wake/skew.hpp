// How far apart the clocks of two processors are.
#pragma once

#include <cstdint>
#include <vector>

#include "wake/pair.hpp"

namespace vanity::wake {

struct Skew {
  double offset_ns = 0;  // clock of `to` minus clock of `from`
  double error_ns = 0;   // half the least round trip: the offset cannot be further off
};

// One word there and back, by the clock of each side.
struct Exchange {
  uint64_t sent = 0;      // of `from`
  uint64_t arrived = 0;   // of `to`
  uint64_t replied = 0;   // of `to`
  uint64_t returned = 0;  // of `from`
};

Skew estimate_skew(const std::vector<Exchange>& exchanges, double ns_per_tick);

// From the fastest of some thousand exchanges each way; the way there and the way back are taken to
// be equally long. Errors: VANITY_E_CORE_PIN, VANITY_E_WAKE_PAIR when the two never met.
Skew measure_skew(uint32_t from, uint32_t to, Pair& pair);

}  // namespace vanity::wake
