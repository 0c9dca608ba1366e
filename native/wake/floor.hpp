// The least that any wake can take: a line there and a line back between two bare loops, each line
// with one writer, as in every mechanism that is held against it.
#pragma once

#include "wake/cell.hpp"

namespace vanity::wake {

void floor(Cell& cell);

}  // namespace vanity::wake
