/* What comes in on one port goes out on the other, unread. The packets that circulate come in by a
 * channel: the first options.prime packets are sent out of both ports in turn. After options.count
 * packets all that come are kept back. */
#include <stdlib.h>
#include <vanity/program.h>

enum { kPorts = 2, kBurst = 64 };

typedef struct both {
  uint32_t to_prime;
  uint64_t left;
} both;

static int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  const char* prime = api->option(shard, "prime");
  if (prime == NULL || api->output_count(shard) != kPorts) return 1;
  both* self = api->arena_allocate(shard, sizeof(both), 64);
  if (self == NULL) return 2;
  self->to_prime = (uint32_t)atoi(prime);
  const char* count = api->option(shard, "count");
  self->left = count == NULL ? UINT64_MAX : (uint64_t)atoll(count);
  *state = self;
  return 0;
}

static uint32_t poll(vanity_shard* shard, void* state) {
  both* self = state;
  vanity_packet packets[kBurst];
  vanity_packet out[kPorts][kBurst];
  uint32_t count[kPorts] = {0, 0};
  const uint32_t got = vanity_receive(shard, packets, kBurst);
  if (self->left < got) {
    self->left = 0;
    vanity_free(shard, packets, got);
    return got;
  }
  self->left -= got;
  for (uint32_t i = 0; i < got; i++) {
    int other = packets[i].port == 0;
    if (self->to_prime != 0) other = self->to_prime-- & 1;
    out[other][count[other]++] = packets[i];
  }
  for (uint32_t port = 0; port < kPorts; port++) {
    if (count[port] != 0) vanity_send(shard, port, out[port], count[port]);
  }
  return got;
}

VANITY_EXPORT const vanity_program* vanity_program_entry(void) {
  static const vanity_program program = {
      .abi_version = VANITY_ABI_VERSION,
      .struct_bytes = sizeof(vanity_program),
      .name = "both",
      .version = "1.0.0",
      .init = init,
      .poll = poll,
  };
  return &program;
}
