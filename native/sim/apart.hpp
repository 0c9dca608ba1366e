// A run in a process of its own: whatever it does to memory, to the C library or to itself is gone
// with that, and the next one finds everything as the first one did.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sim/world.hpp"

namespace vanity::sim {

// What is left of a run.
struct Left {
  Verdict verdict = Verdict::good;
  uint32_t steps = 0;
  std::string what;
  std::vector<uint8_t> decisions;
  std::string text;  // whatever else the run is to tell
};

// The verdict is `broken` where the process ended before it could say another, and then there are
// no decisions.
Left apart(const std::function<Left()>& run);

}  // namespace vanity::sim
