/* Stalls 20 ms after its start, for ever, and counts how long it has: `stalled_ns` goes up until it
 * is left. */
#include <stdlib.h>
#include <vanity/program.h>

typedef struct state {
  vanity_counter* stalled_ns;
  uint64_t stalls_at_ns;
} state;

static int init(vanity_shard* shard, void** result) {
  const vanity_api* api = vanity_api_of(shard);
  state* s = calloc(1, sizeof(state));
  s->stalled_ns = api->counter(shard, "stalled_ns");
  *result = s;
  return 0;
}

static uint32_t poll_once(vanity_shard* shard, void* opaque) {
  state* s = opaque;
  const vanity_api* api = vanity_api_of(shard);
  const uint64_t began = api->now_ns();
  if (s->stalls_at_ns == 0) s->stalls_at_ns = began + 20000000;
  if (began < s->stalls_at_ns) return 0;
  for (uint64_t last = began;;) {
    /* It can't be left while it calls the runtime, so it mostly doesn't: 10 us or so. */
    for (volatile int i = 0; i < 10000; ++i) {
    }
    const uint64_t now = api->now_ns();
    api->count(s->stalled_ns, now - last);
    last = now;
  }
}

static const vanity_program program = {VANITY_ABI_VERSION,
                                       sizeof(vanity_program),
                                       "staller",
                                       "1.0.0",
                                       init,
                                       poll_once,
                                       NULL,
                                       NULL,
                                       NULL,
                                       NULL};

VANITY_EXPORT const vanity_program* vanity_program_entry(void) {
  return &program;
}
