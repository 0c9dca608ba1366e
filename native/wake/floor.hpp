// The least that any wake can take: one line, passed there and back between two bare loops.
#pragma once

#include "wake/cell.hpp"

namespace vanity::wake {

void floor(Cell& cell);

}  // namespace vanity::wake
