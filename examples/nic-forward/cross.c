/* One end of a cable: what this shard's own NIC received goes into the channel to the other shard,
 * and what comes from there goes out on the NIC. */
#include <stdlib.h>
#include <vanity/program.h>

enum { kToOther = 0, kToWire = 1, kBurst = 64 };

typedef struct end {
  uint16_t port; /* of the own NIC, by the order of the manifest */
} end;

static int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  const char* port = api->option(shard, "port");
  if (port == NULL || api->output_count(shard) != 2) {
    api->log(shard, VANITY_LOG_ERROR, "it needs options.port, a channel to send to and a port");
    return 1;
  }
  end* self = api->arena_allocate(shard, sizeof(end), 64);
  if (self == NULL) return 2;
  self->port = (uint16_t)atoi(port);
  *state = self;
  return 0;
}

static uint32_t poll(vanity_shard* shard, void* state) {
  const end* self = state;
  vanity_packet packets[kBurst];
  vanity_packet sorted[2][kBurst];
  uint32_t count[2] = {0, 0};
  const uint32_t got = vanity_receive(shard, packets, kBurst);
  for (uint32_t i = 0; i < got; i++) {
    const int way = packets[i].port == self->port ? kToOther : kToWire;
    sorted[way][count[way]++] = packets[i];
  }
  for (int way = 0; way < 2; way++) {
    if (count[way] != 0) vanity_send(shard, (uint32_t)way, sorted[way], count[way]);
  }
  return got;
}

VANITY_EXPORT const vanity_program* vanity_program_entry(void) {
  static const vanity_program program = {
      .abi_version = VANITY_ABI_VERSION,
      .struct_bytes = sizeof(vanity_program),
      .name = "cross",
      .version = "1.0.0",
      .init = init,
      .poll = poll,
  };
  return &program;
}
