// Programs that fault where the seed says so, though what they do is a built-in stage's.
#pragma once

#include "kernel/system.hpp"

namespace vanity::sim {

// The program of each shard that may be left, in one of four executions: after some turns it
// faults, with or without packets that it had been given, and is started anew as a native module
// is. Sources are none of them: the kernel looks at those while they would be made anew. Before the
// first step.
void let_programs_fault(System& system);

}  // namespace vanity::sim
