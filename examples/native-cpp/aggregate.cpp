// Gathers the records of every sampler in one table of flows, and says at the end which flow was
// the largest. It handles messages only, so it reads its channels itself.
#include <vanity/program.h>

#include <array>
#include <cstdio>
#include <new>

#include "flow_record.hpp"

namespace {

constexpr uint32_t kBurst = 64;
constexpr uint32_t kFlows = 4096;  // power of two

struct Flow {
  FlowKey key;
  uint64_t packets;
  uint64_t bytes;
};

// All the memory it will ever use, in the shard's arena.
struct Aggregate {
  vanity_counter* records;
  vanity_counter* flows;
  vanity_counter* table_full;
  vanity_counter* bytes;
  std::array<Flow, kFlows> table;

  Flow* find(const FlowKey& key) {
    uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
    for (uint32_t i = 0; i < sizeof key; ++i) {
      hash = (hash ^ reinterpret_cast<const uint8_t*>(&key)[i]) * 0x100000001b3u;
    }
    for (uint32_t probe = 0; probe < kFlows; ++probe) {
      Flow& flow = table[(hash + probe) & (kFlows - 1)];
      if (flow.packets == 0 || flow.key == key) return &flow;
    }
    return nullptr;
  }
};

int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  for (uint32_t i = 0; i < api->input_count(shard); ++i) {
    if (api->element_bytes(api->input(shard, i)) == sizeof(FlowRecord)) continue;
    api->log(shard, VANITY_LOG_ERROR, "its inputs must be channels of 64-byte messages");
    return 1;
  }
  void* memory = api->arena_allocate(shard, sizeof(Aggregate), alignof(Aggregate));
  if (memory == nullptr) {
    api->log(shard, VANITY_LOG_ERROR, "its table needs 256 KiB: set arena in its [shards] section");
    return 2;
  }
  auto* self = new (memory) Aggregate{};
  self->records = api->counter(shard, "records");
  self->flows = api->counter(shard, "flows");
  self->table_full = api->counter(shard, "table_full");
  self->bytes = api->counter(shard, "bytes");
  *state = self;
  return 0;
}

void add(const vanity_api* api, Aggregate& self, const FlowRecord& record) {
  Flow* flow = self.find(record.key);
  if (flow == nullptr) {
    api->count(self.table_full, 1);
    return;
  }
  if (flow->packets == 0) {
    flow->key = record.key;
    api->count(self.flows, 1);
  }
  ++flow->packets;
  flow->bytes += record.wire_length;
  api->count(self.bytes, record.wire_length);
}

uint32_t poll(vanity_shard* shard, void* state) {
  const vanity_api* api = vanity_api_of(shard);
  auto& self = *static_cast<Aggregate*>(state);
  uint32_t handled = 0;
  const uint32_t inputs = api->input_count(shard);
  for (uint32_t i = 0; i < inputs; ++i) {
    vanity_channel* channel = api->input(shard, i);
    uint32_t got = 0;
    const auto* records = static_cast<const FlowRecord*>(api->peek(channel, kBurst, &got));
    if (got == 0) continue;
    for (uint32_t r = 0; r < got; ++r) add(api, self, records[r]);
    api->release(channel, got);
    api->count(self.records, got);
    handled += got;
  }
  return handled;
}

void fini(vanity_shard* shard, void* state) {
  const auto& self = *static_cast<const Aggregate*>(state);
  const Flow* largest = &self.table[0];
  for (const Flow& flow : self.table) {
    if (flow.bytes > largest->bytes) largest = &flow;
  }
  char text[128];
  std::snprintf(text, sizeof text,
                "largest flow: IPv%u, protocol %u, ports %u > %u, %llu samples of %llu bytes",
                largest->key.version, largest->key.protocol, largest->key.source_port,
                largest->key.destination_port, static_cast<unsigned long long>(largest->packets),
                static_cast<unsigned long long>(largest->bytes));
  vanity_api_of(shard)->log(shard, VANITY_LOG_INFO, text);
}

}  // namespace

extern "C" VANITY_EXPORT const vanity_program* vanity_program_entry() {
  static const vanity_program program = {
      .abi_version = VANITY_ABI_VERSION,
      .struct_bytes = sizeof(vanity_program),
      .name = "aggregate",
      .version = "1.0",
      .init = init,
      .poll = poll,
      .fini = fini,
      .watermark = nullptr,
  };
  return &program;
}
