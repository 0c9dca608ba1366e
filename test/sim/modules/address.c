/* Takes as many as the place of its memory says. */
#include "program.h"

static uint64_t turns;

static uint32_t poll(vanity_shard* shard, void* state) {
  (void)state;
  const uint64_t hash = ((uintptr_t)&turns >> 12) * (2 * ++turns + 1) * 0x9e3779b97f4a7c15u;
  return pass_on(shard, 1 + (uint32_t)(hash >> 62));
}

PASSER("address", NULL, poll)
