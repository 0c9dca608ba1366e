// How many packets come to each receive queue. Said once, before the first system is made.
#pragma once

#include <cstdint>

namespace vanity::sim {

inline uint32_t arrivals_of_a_queue = 0;

}  // namespace vanity::sim
