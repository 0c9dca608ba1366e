/* Ends the packets of numberer.c and counts what is wrong with their numbers: seq_missing (one was
 * left out), seq_reordered (one came late, or twice). */
#include <stdlib.h>
#include <string.h>
#include <vanity/program.h>

#include "numbered.h"

typedef struct state {
  uint64_t next[kFlowsMax];
  vanity_counter* checked;
  vanity_counter* missing;
  vanity_counter* reordered;
} state;

static int init(vanity_shard* shard, void** result) {
  const vanity_api* api = vanity_api_of(shard);
  state* s = calloc(1, sizeof(state));
  s->checked = api->counter(shard, "seq_checked");
  s->missing = api->counter(shard, "seq_missing");
  s->reordered = api->counter(shard, "seq_reordered");
  *result = s;
  return 0;
}

static uint32_t poll_once(vanity_shard* shard, void* opaque) {
  state* s = opaque;
  const vanity_api* api = vanity_api_of(shard);
  vanity_packet packets[64];
  const uint32_t got = vanity_receive(shard, packets, 64);
  for (uint32_t i = 0; i < got; ++i) {
    const uint8_t* frame = api->data(shard, &packets[i]);
    const uint32_t flow = (uint32_t)(frame[kFlowAt] << 8 | frame[kFlowAt + 1]) % kFlowsMax;
    uint64_t number;
    memcpy(&number, frame + kNumberAt, sizeof(number));
    if (number < s->next[flow]) {
      api->count(s->reordered, 1);
      continue;
    }
    if (number != s->next[flow]) api->count(s->missing, number - s->next[flow]);
    s->next[flow] = number + 1;
  }
  if (got == 0) return 0;
  api->count(s->checked, got);
  vanity_free(shard, packets, got);
  return got;
}

static void fini(vanity_shard* shard, void* state) {
  (void)shard;
  free(state);
}

static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,
                                       .struct_bytes = sizeof(vanity_program),
                                       .name = "checker",
                                       .version = "1",
                                       .init = init,
                                       .poll = poll_once,
                                       .fini = fini};
const vanity_program* vanity_program_entry(void) {
  return &program;
}
