// What is held against the counters of shards when a schedule has stopped in order and no program
// faulted, as a test says it: lib/planning/claims.ts reads the words.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/segment.hpp"
#include "shard/plan.hpp"

namespace vanity::sim {

// The sum of the terms, held against a constant.
struct Claim {
  struct Term {
    int64_t factor = 0;
    uint32_t shard = 0;
    std::string counter;
  };
  std::string relation;  // = != < <= > >=
  int64_t constant = 0;
  std::vector<Term> terms;
  std::string text;
};

// Are all its counters there?
bool is_known(const Claim& claim, Segment& segment);
// Empty: it holds.
std::string broken(const Claim& claim, const Plan& plan, Segment& segment);

}  // namespace vanity::sim
