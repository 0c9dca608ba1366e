// Programs that are replaced while the system runs, where and when the seed says so: asked for by
// the segment's mail, as by `vanity reload`, and the certificate is held against what happened.
#pragma once

#include "kernel/system.hpp"
#include "shard/plan.hpp"

namespace vanity::sim {

// Before the system is made, in one of some executions: stand-ins in place of stages.
void draw_reloads(Plan& plan);
// By who operates it, once it was started.
void reload_as_drawn(System& system);
// It has stopped.
void check_orders(System& system);
// Stages are none in this execution.
bool stood_in();

}  // namespace vanity::sim
