// How far apart the clocks of two processors are.
#pragma once

#include <cstdint>

#include "wake/pair.hpp"

namespace vanity::wake {

struct Skew {
  double offset_ns = 0;  // clock of `to` minus clock of `from`
  double error_ns = 0;   // half the least round trip: the offset cannot be further off
};

// From the fastest of some thousand exchanges each way; the way there and the way back are taken to
// be equally long. Errors: VANITY_E_CORE_PIN, VANITY_E_WAKE_PAIR when the two never met.
Skew measure_skew(uint32_t from, uint32_t to, Pair& pair);

}  // namespace vanity::wake
