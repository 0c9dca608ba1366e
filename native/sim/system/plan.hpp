// A system in text, as the CLI writes it and as it stands in a .repro: a line for each part, words
// separated by spaces. lib/planning/sim-system.ts is the other side.
#pragma once

#include <string>
#include <vector>

#include "shard/plan.hpp"
#include "sim/system/claims.hpp"

namespace vanity::sim {

struct SystemText {
  Plan plan;
  uint32_t arrivals = 0;  // packets that come to each receive queue
  std::vector<Claim> claims;
};

// Throws VANITY_E_PLAN with the line that cannot be read.
SystemText read_system(const std::string& text);

}  // namespace vanity::sim
