// What the samplers tell the aggregator: one message, one cache line.
#pragma once

#include <cstdint>
#include <cstring>

struct FlowKey {
  uint8_t source[16];  // IPv4 in the first 4 bytes
  uint8_t destination[16];
  uint16_t source_port;
  uint16_t destination_port;
  uint8_t protocol;
  uint8_t version;  // 4 or 6
  uint8_t pad[2];   // zero: keys are compared as bytes

  bool operator==(const FlowKey& other) const {
    return std::memcmp(this, &other, sizeof *this) == 0;
  }
};

struct alignas(64) FlowRecord {
  FlowKey key;
  uint32_t wire_length;
  uint64_t timestamp_ns;
  uint64_t sequence;  // of this sampler, so that a gap would show
};
static_assert(sizeof(FlowKey) == 40 && sizeof(FlowRecord) == 64);
