// The words by which an operator holds a shard, written from outside: into the segment of a process
// that may be stuck, and is not asked.
#pragma once

#include <cstdint>
#include <string>

#include "vanity/segment.hpp"

namespace vanity {

// Writes `wanted`, lets a held shard take `steps` more turns, and ends its wait. Finds the words by
// the descriptors, so the segment may be another build's. Throws VANITY_E_SEGMENT, or
// VANITY_E_COMMAND when there is no such shard or it has no such words.
void command_shard(const std::string& path, uint32_t shard, Command wanted, uint64_t steps);

// Turns the events of bursts and waits of a shard on or off (vanity/events.hpp). Throws the same.
void trace_shard(const std::string& path, uint32_t shard, bool on);

// One of `every` packets that come in there is sampled from now on, and what becomes there of any
// that is; 0: no more. Throws the same.
void sample_packets(const std::string& path, uint32_t shard, uint32_t every);

}  // namespace vanity
