/* Sends where `overflow = "program"`, and forgets what is refused: right until the ring is full. */
#include "program.h"

static uint32_t poll(vanity_shard* shard, void* state) {
  (void)state;
  return pass_on(shard, 8);
}

PASSER("forgetful", NULL, poll)
