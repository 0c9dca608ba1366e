/* The next meter: it counts long packets too, so its state is another one, and it knows what to
 * make of the first one's. */
#include <string.h>
#include <vanity/program.h>

enum { kLongBytes = 512 };

typedef struct meter {
  uint64_t packets;
  uint64_t long_packets;
  uint64_t bytes;
  vanity_counter* total; /* not handed on: it is of this program */
} meter;
enum { kHandedOn = offsetof(meter, total) };

static int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  meter* m = api->arena_allocate(shard, sizeof(meter), 64);
  if (m == NULL) return 1;
  m->total = api->counter(shard, "total");
  *state = m;
  return 0;
}

static uint32_t poll(vanity_shard* shard, void* state) {
  meter* m = state;
  vanity_packet packets[32];
  const uint32_t got = vanity_receive(shard, packets, 32);
  if (got == 0) return 0;
  m->packets += got;
  for (uint32_t i = 0; i < got; ++i) {
    m->bytes += packets[i].length;
    if (packets[i].length > kLongBytes) ++m->long_packets;
  }
  vanity_send(shard, 0, packets, got);
  return got;
}

/* All there ever were, under this program and the one before. */
static void fini(vanity_shard* shard, void* state) {
  meter* m = state;
  vanity_api_of(shard)->count(m->total, m->packets);
}

static int save(vanity_shard* shard, void* state, void* into) {
  (void)shard;
  memcpy(into, state, kHandedOn);
  return 0;
}

static int restore(vanity_shard* shard, void* state, const void* from) {
  (void)shard;
  memcpy(state, from, kHandedOn);
  return 0;
}

/* Of the first version packets and bytes are known, and how many were long is not. */
static int migrate(vanity_shard* shard, void* state, const vanity_state* was, const void* from) {
  (void)shard;
  meter* m = state;
  if (was->version != 1) return 1;
  for (uint32_t i = 0; i < was->field_count; ++i) {
    const vanity_field* field = &was->fields[i];
    const void* at = (const char*)from + field->offset;
    if (strcmp(field->name, "packets") == 0) memcpy(&m->packets, at, sizeof(m->packets));
    if (strcmp(field->name, "bytes") == 0) memcpy(&m->bytes, at, sizeof(m->bytes));
  }
  return 0;
}

/* Asked after each of the first bursts: a number other than 0 brings the old meter back. */
static int healthy(vanity_shard* shard, void* state) {
  (void)shard;
  const meter* m = state;
  return m->long_packets <= m->packets ? 0 : 1;
}

static const vanity_field fields[] = {
    VANITY_STATE_FIELD(meter, packets, VANITY_TYPE_U64),
    VANITY_STATE_FIELD(meter, long_packets, VANITY_TYPE_U64),
    VANITY_STATE_FIELD(meter, bytes, VANITY_TYPE_U64),
};
static const vanity_state description = {
    .name = "meter", .version = 2, .field_count = 3, .fields = fields, .bytes = kHandedOn};

const vanity_program* vanity_program_entry(void) {
  static const vanity_reload reload = {.struct_bytes = sizeof(vanity_reload),
                                       .state = &description,
                                       .save = save,
                                       .restore = restore,
                                       .migrate = migrate,
                                       .healthy = healthy};
  static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,
                                         .struct_bytes = sizeof(vanity_program),
                                         .name = "meter",
                                         .version = "2",
                                         .init = init,
                                         .poll = poll,
                                         .fini = fini,
                                         .reload = &reload};
  return &program;
}
