// A whole system as a scenario: a thread for each shard, one for the kernel, and one for who starts
// and stops it.
#pragma once

#include "shard/plan.hpp"
#include "sim/world.hpp"

namespace vanity::sim {

// Of this plan from now on; one at a time.
Scenario host(const Plan& plan);

}  // namespace vanity::sim
