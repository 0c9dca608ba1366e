// Programs of the C ABI that stand in for built-in stages, so that they can be replaced while they
// run: what they hand on, keep over turns, refuse and fault at is drawn from the seed.
#pragma once

#include "kernel/system.hpp"
#include "shard/plan.hpp"

namespace vanity::sim {

// Of two generations, each a file of its own as a shard sees it; they describe their states
// differently.
inline constexpr const char* kStandins[] = {"stand-in 1", "stand-in 2"};

// The shards of the plan that can have one get one: those that pass packets on by flow, or end
// them. False: there are none.
bool let_programs_stand_in(Plan& plan);
// Nothing that they knew of the execution before is known any more.
void forget_standins();

}  // namespace vanity::sim
