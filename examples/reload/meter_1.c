/* Passes packets on and keeps count of them in a state that it can hand on. */
#include <string.h>
#include <vanity/program.h>

typedef struct meter {
  uint64_t packets;
  uint64_t bytes;
} meter;

static int init(vanity_shard* shard, void** state) {
  *state = vanity_api_of(shard)->arena_allocate(shard, sizeof(meter), 64);
  return *state == NULL ? 1 : 0;
}

static uint32_t poll(vanity_shard* shard, void* state) {
  meter* m = state;
  vanity_packet packets[32];
  const uint32_t got = vanity_receive(shard, packets, 32);
  if (got == 0) return 0;
  m->packets += got;
  for (uint32_t i = 0; i < got; ++i) m->bytes += packets[i].length;
  vanity_send(shard, 0, packets, got);
  return got;
}

static int save(vanity_shard* shard, void* state, void* into) {
  (void)shard;
  memcpy(into, state, sizeof(meter));
  return 0;
}

static int restore(vanity_shard* shard, void* state, const void* from) {
  (void)shard;
  memcpy(state, from, sizeof(meter));
  return 0;
}

static const vanity_field fields[] = {
    VANITY_STATE_FIELD(meter, packets, VANITY_TYPE_U64),
    VANITY_STATE_FIELD(meter, bytes, VANITY_TYPE_U64),
};
static const vanity_state description = {
    .name = "meter", .version = 1, .field_count = 2, .fields = fields, .bytes = sizeof(meter)};

const vanity_program* vanity_program_entry(void) {
  static const vanity_reload reload = {.struct_bytes = sizeof(vanity_reload),
                                       .state = &description,
                                       .save = save,
                                       .restore = restore};
  static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,
                                         .struct_bytes = sizeof(vanity_program),
                                         .name = "meter",
                                         .version = "1",
                                         .init = init,
                                         .poll = poll,
                                         .reload = &reload};
  return &program;
}
