/* Takes as many as chance says. */
#include <stdlib.h>
#include <sys/random.h>

#include "program.h"

static int init(vanity_shard* shard, void** state) {
  unsigned seed = 0;
  if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) return 1;
  srand(seed);
  (void)shard;
  *state = NULL;
  return 0;
}

static uint32_t poll(vanity_shard* shard, void* state) {
  (void)state;
  return pass_on(shard, 1 + (uint32_t)rand() % 4);
}

PASSER("chance", init, poll)
