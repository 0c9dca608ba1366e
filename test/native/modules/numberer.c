/* Makes UDP frames that carry a number, counted up in each flow. Options: flows (a power of two),
 * rate (packets a second, 0: as fast as there is room), count (in all, 0: for ever). */
#include <stdlib.h>
#include <string.h>
#include <vanity/program.h>

#include "numbered.h"

typedef struct state {
  uint64_t next[kFlowsMax];
  uint64_t flows;
  uint64_t rate;
  uint64_t count;
  uint64_t made;
  uint64_t started_ns;
} state;

static uint64_t option(vanity_shard* shard, const char* key, uint64_t otherwise) {
  const char* text = vanity_api_of(shard)->option(shard, key);
  return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static int init(vanity_shard* shard, void** result) {
  state* s = calloc(1, sizeof(state));
  s->flows = option(shard, "flows", 64);
  s->rate = option(shard, "rate", 0);
  s->count = option(shard, "count", 0);
  *result = s;
  return s->flows <= kFlowsMax ? 0 : 1;
}

static uint32_t poll_once(vanity_shard* shard, void* opaque) {
  state* s = opaque;
  const vanity_api* api = vanity_api_of(shard);
  uint64_t wanted = 32;
  if (s->rate != 0) {
    const uint64_t now = api->now_ns();
    if (s->started_ns == 0) s->started_ns = now;
    const uint64_t due = (uint64_t)((double)(now - s->started_ns) * (double)s->rate / 1e9);
    wanted = due - s->made < wanted ? due - s->made : wanted;
  }
  if (s->count != 0 && s->count - s->made < wanted) wanted = s->count - s->made;
  if (wanted == 0) return 0;
  vanity_packet packets[32];
  const uint32_t got = api->allocate(shard, packets, (uint32_t)wanted);
  for (uint32_t i = 0; i < got; ++i) {
    const uint32_t flow = (uint32_t)((s->made + i) % s->flows);
    uint8_t* frame = api->data(shard, &packets[i]);
    memset(frame, 0, kFrameBytes);
    frame[12] = 0x08; /* IPv4 */
    frame[14] = 0x45;
    frame[17] = kFrameBytes - 14;
    frame[22] = 64;
    frame[23] = 17; /* UDP */
    frame[26] = frame[30] = 10;
    frame[33] = 1;
    frame[kFlowAt] = (uint8_t)(flow >> 8);
    frame[kFlowAt + 1] = (uint8_t)flow;
    frame[39] = kFrameBytes - 34;
    memcpy(frame + kNumberAt, &s->next[flow], sizeof(uint64_t));
    ++s->next[flow];
    packets[i].length = kFrameBytes;
  }
  s->made += got;
  vanity_send(shard, 0, packets, got);
  return got;
}

static void fini(vanity_shard* shard, void* state) {
  (void)shard;
  free(state);
}

static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,
                                       .struct_bytes = sizeof(vanity_program),
                                       .name = "numberer",
                                       .version = "1",
                                       .init = init,
                                       .poll = poll_once,
                                       .fini = fini};
const vanity_program* vanity_program_entry(void) {
  return &program;
}
