// A whole system as a scenario: a thread for each shard, one for the kernel, and one for who starts
// and stops it.
#pragma once

#include <string>

#include "sim/system/plan.hpp"
#include "sim/world.hpp"

namespace vanity::sim {

// Of this one from now on; one at a time. `modules`: it runs native ones, which are loaded.
Scenario host(const SystemText& system, bool modules);
// What the shards of the last execution that ended well have counted, a line each.
const std::string& counted();

}  // namespace vanity::sim
