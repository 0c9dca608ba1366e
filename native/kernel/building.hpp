// What building a system and adding to one have in common: how large a ring is, and what its record
// says.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "shard/plan.hpp"
#include "vanity/channel.hpp"
#include "vanity/packet.h"
#include "vanity/segment.hpp"

namespace vanity {

inline constexpr size_t kAlign = 128;

inline size_t padded(size_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

inline ChannelSpec spec_of(const ChannelPlan& plan) {
  return {plan.capacity, plan.packets ? uint32_t{sizeof(vanity_packet)} : plan.element_bytes,
          plan.layout};
}

// Of the ids of buffers that come home. A ring that can hold every buffer of the pool never fills.
inline ChannelSpec return_spec(uint32_t buffers) {
  constexpr uint32_t kElementBytes = 8;
  return {std::max(limits::kCapacityMin, std::bit_ceil(buffers)), kElementBytes, Layout::bulk};
}

// What a slot holds that has no input: a ring that nobody ever writes to.
inline Consumer nothing() {
  alignas(kAlign) static std::byte memory[1024];
  static const Channel ring = Channel::create(memory, {limits::kCapacityMin, 8, Layout::bulk});
  return ring ? ring.consumer() : Consumer();
}

inline void copy_text(char* to, size_t bytes, const std::string& from) {
  std::strncpy(to, from.c_str(), bytes - 1);
}

// All but where it lies.
inline void describe(ChannelRecord& record, const ChannelPlan& plan) {
  const ChannelSpec spec = spec_of(plan);
  copy_text(record.name, sizeof(record.name), plan.name);
  record.from = plan.from;
  record.to = plan.to;
  record.capacity = spec.capacity;
  record.element_bytes = spec.element_bytes;
  record.layout = static_cast<uint32_t>(spec.layout);
  record.overflow = static_cast<uint32_t>(plan.overflow);
  record.carries_packets = plan.packets ? 1 : 0;
  record.memory_bytes.set(Channel::bytes_needed(spec));
}

}  // namespace vanity
