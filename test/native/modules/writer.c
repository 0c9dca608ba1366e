/* Sends `count` messages of 64 bytes, numbered, by claim and commit; counts watermark calls. */
#include <stdlib.h>
#include <string.h>
#include <vanity/program.h>

struct state {
  uint64_t next, count;
  vanity_counter *high, *low;
};
static struct state writer;

static int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  const char* count = api->option(shard, "count");
  if (count == NULL || api->output_count(shard) != 1) return 7;
  if (api->option(shard, "no-such-option") != NULL || api->input(shard, 0) != NULL) return 8;
  if (api->channel(shard, "records") != api->output(shard, 0)) return 9;
  writer.next = 0; /* the module stays loaded from one system to the next */
  writer.count = strtoull(count, NULL, 10);
  writer.high = api->counter(shard, "high");
  writer.low = api->counter(shard, "low");
  *state = &writer;
  return 0;
}

static uint32_t poll_once(vanity_shard* shard, void* opaque) {
  struct state* s = opaque;
  const vanity_api* api = vanity_api_of(shard);
  vanity_channel* out = api->output(shard, 0);
  uint32_t want = s->count - s->next < 32 ? (uint32_t)(s->count - s->next) : 32;
  if (want == 0) return 0;
  uint32_t got = 0;
  uint8_t* slots = api->claim(out, want, &got);
  for (uint32_t i = 0; i < got; ++i) {
    memset(slots + i * 64, (int)(s->next & 0xff), 64);
    memcpy(slots + i * 64, &s->next, sizeof s->next);
    ++s->next;
  }
  api->commit(out, got);
  return got;
}

static void watermark(vanity_shard* shard, void* opaque, vanity_channel* channel, int high) {
  struct state* s = opaque;
  (void)channel;
  vanity_api_of(shard)->count(high ? s->high : s->low, 1);
}

static const vanity_program program = {VANITY_ABI_VERSION,
                                       sizeof(vanity_program),
                                       "writer",
                                       "1",
                                       init,
                                       poll_once,
                                       NULL,
                                       watermark,
                                       NULL,
                                       NULL};
const vanity_program* vanity_program_entry(void) {
  return &program;
}
