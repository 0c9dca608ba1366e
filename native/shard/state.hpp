// Descriptions of what programs hand on when one takes another's place: checked, hashed, compared.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vanity/program.h"

namespace vanity {

// What is wrong with a description; empty: nothing.
std::string state_problem(const vanity_state& state);

// Of everything that must be the same for one program to read what another wrote: version, size,
// and each field's name, type and place. 0 for no state at all.
uint64_t state_hash(const vanity_state* state);

// Field by field, a line each; empty: the same. Null: no state.
std::vector<std::string> state_difference(const vanity_state* was, const vanity_state* now);

}  // namespace vanity
