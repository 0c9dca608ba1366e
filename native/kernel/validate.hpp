// What must hold for a plan before anything is built from it. The manifest's rules say the same and
// more, with places; these are for callers that bring a plan of their own.
#pragma once

#include "shard/plan.hpp"

namespace vanity {

// Throws VANITY_E_LIMIT for what is beyond a limit, VANITY_E_PLAN for what contradicts itself.
void validate(const Plan& plan);
// Of a plan that is in force, what comes to it.
void validate_shard(const Plan& plan, uint32_t shard);
void validate_channel(const Plan& plan, uint32_t channel);
void validate_port(const Plan& plan, uint32_t port);

}  // namespace vanity
