// Passes every packet on, and tells of one in `one_in` by message. When the channel of messages is
// full the sample is left out and counted: packets never wait for their statistics.
#include <vanity/program.h>

#include <cstdlib>
#include <new>

#include "flow_record.hpp"

namespace {

constexpr uint32_t kBurst = 64;

struct Sampler {
  vanity_channel* records;
  vanity_counter* sampled;
  vanity_counter* refused;
  uint32_t one_in;
  uint32_t until_next;
  uint64_t sequence = 0;
};

uint16_t word(const uint8_t* at) {
  return static_cast<uint16_t>(at[0] << 8 | at[1]);
}

// IPv4 or IPv6 right behind Ethernet; no tags, no extension headers. False: something else.
bool parse(const uint8_t* frame, uint32_t length, FlowKey& key) {
  key = {};
  uint32_t ports;
  if (length >= 34 && word(frame + 12) == 0x0800 && frame[14] >> 4 == 4) {
    key.version = 4;
    key.protocol = frame[23];
    std::memcpy(key.source, frame + 26, 4);
    std::memcpy(key.destination, frame + 30, 4);
    ports = 14 + (frame[14] & 15u) * 4;
  } else if (length >= 54 && word(frame + 12) == 0x86dd && frame[14] >> 4 == 6) {
    key.version = 6;
    key.protocol = frame[20];
    std::memcpy(key.source, frame + 22, 16);
    std::memcpy(key.destination, frame + 38, 16);
    ports = 54;
  } else {
    return false;
  }
  if ((key.protocol == 6 || key.protocol == 17) && length >= ports + 4) {
    key.source_port = word(frame + ports);
    key.destination_port = word(frame + ports + 2);
  }
  return true;
}

int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  const char* name = api->option(shard, "records");
  vanity_channel* records = name == nullptr ? nullptr : api->channel(shard, name);
  if (records == nullptr || api->element_bytes(records) != sizeof(FlowRecord)) {
    api->log(shard, VANITY_LOG_ERROR, "option records must name a channel of 64-byte messages");
    return 1;
  }
  const char* one_in = api->option(shard, "one_in");
  void* memory = api->arena_allocate(shard, sizeof(Sampler), alignof(Sampler));
  if (memory == nullptr) return 2;
  auto* self = new (memory) Sampler{};
  self->records = records;
  self->sampled = api->counter(shard, "sampled");
  self->refused = api->counter(shard, "refused");
  self->one_in = one_in == nullptr ? 1 : static_cast<uint32_t>(std::strtoul(one_in, nullptr, 10));
  if (self->one_in == 0) self->one_in = 1;
  self->until_next = self->one_in;
  *state = self;
  return 0;
}

uint32_t poll(vanity_shard* shard, void* state) {
  const vanity_api* api = vanity_api_of(shard);
  auto& self = *static_cast<Sampler*>(state);
  vanity_packet packets[kBurst];
  const uint32_t got = vanity_receive(shard, packets, kBurst);
  if (got == 0) return 0;

  // Written in place, made visible all at once: one line of the ring's index crosses for a burst.
  FlowRecord* slots = nullptr;
  uint32_t room = 0;
  uint32_t used = 0;
  uint32_t sampled = 0;
  uint32_t refused = 0;
  for (uint32_t i = 0; i < got; ++i) {
    if (--self.until_next != 0) continue;
    self.until_next = self.one_in;
    FlowKey key;
    const uint8_t* frame = vanity_data(shard, &packets[i]);
    if (!parse(frame, packets[i].length, key)) continue;
    const uint64_t sequence = self.sequence++;
    if (used == room) {  // slots are neighbours: at the end of the ring there are fewer
      if (used != 0) api->commit(self.records, used);
      used = 0;
      slots = static_cast<FlowRecord*>(api->claim(self.records, kBurst, &room));
    }
    if (room == 0) {
      ++refused;
      continue;
    }
    const auto* meta = reinterpret_cast<const vanity_packet_meta*>(frame - packets[i].offset +
                                                                   VANITY_HEADROOM_BYTES);
    slots[used++] = {key, meta->wire_length, meta->timestamp_ns, sequence};
    ++sampled;
  }
  if (used != 0) api->commit(self.records, used);
  api->count(self.sampled, sampled);
  api->count(self.refused, refused);

  vanity_send(shard, 0, packets, got);  // from here on the packets are somebody else's
  return got;
}

}  // namespace

extern "C" VANITY_EXPORT const vanity_program* vanity_program_entry() {
  static const vanity_program program = {
      .abi_version = VANITY_ABI_VERSION,
      .struct_bytes = sizeof(vanity_program),
      .name = "sampler",
      .version = "1.0",
      .init = init,
      .poll = poll,
      .fini = nullptr,
      .watermark = nullptr,
  };
  return &program;
}
