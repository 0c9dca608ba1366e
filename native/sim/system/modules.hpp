// Users' native modules in their policy build, and what one may do to the process that it runs in:
// end it, or never come back.
#pragma once

#include "shard/plan.hpp"

namespace vanity::sim {

// Those of the plan, before the first schedule: each begins with what they are now. False: there
// are none. Throws VANITY_E_SIM_MODULE, VANITY_E_PROGRAM_LOAD or VANITY_E_PROGRAM_ABI.
bool load_modules(const Plan& plan);

// From here to the end of the process, or of the next schedule, a program that takes no step for
// a second is left.
void watch_modules();

}  // namespace vanity::sim
