// Pages that cannot be had: in some executions each question of an arena may be answered with no.
#pragma once

#include <string>

#include "kernel/system.hpp"
#include "shard/plan.hpp"

namespace vanity::sim {

// Before the system is made; and what the manifest asks for then.
void draw_pages(Plan& plan);
// There is enough from here on.
void end_scarcity();
// What is wrong with giving up with this error; empty: nothing. It has left nothing behind, and
// there was no other kind of page to be tried.
std::string wrong_refusal(const Plan& plan, const std::string& code);
// The same of a system that runs: each arena has the pages that it says it has.
std::string wrong_pages(System& system);
// What there is while nothing should be; empty: nothing.
std::string left_behind();

}  // namespace vanity::sim
