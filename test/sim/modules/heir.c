/* Hands on how many packets went through it, and says so at its end. With `how = "forgets"` it does
 * not take over what the one before handed on. */
#include <string.h>

#include "program.h"

typedef struct {
  uint64_t passed;
} heir;

static int init(vanity_shard* shard, void** state) {
  heir* self = vanity_api_of(shard)->arena_allocate(shard, sizeof(*self), 64);
  if (self == NULL) return 1;
  self->passed = 0;
  *state = self;
  return 0;
}

static uint32_t poll(vanity_shard* shard, void* state) {
  const uint32_t got = pass_on(shard, 2);
  ((heir*)state)->passed += got;
  return got;
}

static void fini(vanity_shard* shard, void* state) {
  const vanity_api* api = vanity_api_of(shard);
  api->count(api->counter(shard, "passed"), ((heir*)state)->passed);
}

static int save(vanity_shard* shard, void* state, void* into) {
  (void)shard;
  memcpy(into, state, sizeof(heir));
  return 0;
}

static int restore(vanity_shard* shard, void* state, const void* from) {
  const char* how = vanity_api_of(shard)->option(shard, "how");
  if (how == NULL || strcmp(how, "forgets") != 0) memcpy(state, from, sizeof(heir));
  return 0;
}

static const vanity_field fields[] = {VANITY_STATE_FIELD(heir, passed, VANITY_TYPE_U64)};
static const vanity_state what = {"heir", 1, 1, fields, sizeof(heir)};
static const vanity_reload reload = {
    .struct_bytes = sizeof(vanity_reload), .state = &what, .save = save, .restore = restore};

const vanity_program* vanity_program_entry(void) {
  static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,
                                         .struct_bytes = sizeof(vanity_program),
                                         .name = "heir",
                                         .version = "1",
                                         .init = init,
                                         .poll = poll,
                                         .fini = fini,
                                         .reload = &reload};
  return &program;
}
