/* Makes packets of its own; with overflow = "program" it keeps what is refused and tries again. */
#include <stdlib.h>
#include <string.h>
#include <vanity/program.h>

static vanity_packet held[32];
static uint32_t held_count;
static uint64_t made, wanted;
static vanity_counter* refused;

static int init(vanity_shard* shard, void** state) {
  const char* count = vanity_api_of(shard)->option(shard, "count");
  if (count == NULL) return 1;
  wanted = strtoull(count, NULL, 10);
  refused = vanity_api_of(shard)->counter(shard, "refused");
  *state = NULL;
  return 0;
}

static uint32_t poll_once(vanity_shard* shard, void* state) {
  (void)state;
  const vanity_api* api = vanity_api_of(shard);
  if (held_count == 0) {
    uint32_t n = wanted - made < 32 ? (uint32_t)(wanted - made) : 32;
    held_count = n == 0 ? 0 : api->allocate(shard, held, n);
    for (uint32_t i = 0; i < held_count; ++i) {
      held[i].length = 60;
      if (api->room(shard, &held[i]) < 60) return 0;
      memset(vanity_data(shard, &held[i]), 0, 60);
    }
    made += held_count;
  }
  if (held_count == 0) return 0;
  uint32_t sent = vanity_send(shard, 0, held, held_count);
  if (sent < held_count) api->count(refused, held_count - sent);
  memmove(held, held + sent, (held_count - sent) * sizeof held[0]);
  held_count -= sent;
  return sent;
}

static void fini(vanity_shard* shard, void* state) {
  (void)state;
  vanity_discard(shard, held, held_count);
}

static const vanity_program program = {VANITY_ABI_VERSION,
                                       sizeof(vanity_program),
                                       "decider",
                                       "1",
                                       init,
                                       poll_once,
                                       fini,
                                       NULL,
                                       NULL,
                                       NULL};
const vanity_program* vanity_program_entry(void) {
  return &program;
}
