// Keeps packets back in a ring of its own, by the headers of the runtime: their atomics are steps
// of the simulator.
#include <vanity/program.h>
#include <new>
#include <vanity/channel.hpp>

namespace {

struct Ring {
  vanity::Producer producer;
  vanity::Consumer consumer;
};

int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  const vanity::ChannelSpec spec{8, sizeof(vanity_packet), vanity::Layout::bulk};
  void* memory = api->arena_allocate(shard, vanity::Channel::bytes_needed(spec), 128);
  void* self = api->arena_allocate(shard, sizeof(Ring), alignof(Ring));
  if (memory == nullptr || self == nullptr) return 1;
  const auto channel = vanity::Channel::create(memory, spec);
  *state = new (self) Ring{channel.producer(), channel.consumer()};
  return 0;
}

uint32_t poll(vanity_shard* shard, void* state) {
  auto& ring = *static_cast<Ring*>(state);
  vanity_packet packets[4];
  const uint32_t got = vanity_receive(shard, packets, 4);
  ring.producer.send(packets, got);
  const uint32_t kept = ring.consumer.receive(packets, 4);
  if (kept != 0) vanity_send(shard, 0, packets, kept);
  return got;
}

}  // namespace

extern "C" const vanity_program* vanity_program_entry() {
  static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,
                                         .struct_bytes = sizeof(vanity_program),
                                         .name = "ring",
                                         .version = "1",
                                         .init = init,
                                         .poll = poll,
                                         .fini = nullptr,
                                         .watermark = nullptr,
                                         .device_event = nullptr,
                                         .reload = nullptr};
  return &program;
}
