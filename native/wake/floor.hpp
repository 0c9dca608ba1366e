// The least that any wake can take, there and back between two bare loops. Mode floor: a line each
// way, each with one writer, as in every mechanism that is held against it. Mode line: one line
// that both write, which some processors hand over faster and others slower.
#pragma once

#include "wake/cell.hpp"

namespace vanity::wake {

void floor(Cell& cell);

}  // namespace vanity::wake
