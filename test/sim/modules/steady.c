/* Has static memory, memory of its own, the time and numbers by chance, each as a program may. It
 * gives up when it is begun twice with the same memory. */
#include <stdlib.h>

#include "program.h"

static uint32_t begun;
static uint32_t passed;

static int init(vanity_shard* shard, void** state) {
  if (begun++ != 0 || passed != 0) abort();
  *state = malloc(sizeof(unsigned));
  if (*state == NULL) return 1;
  const char* seed = vanity_api_of(shard)->option(shard, "seed");
  *(unsigned*)*state = seed == NULL ? 1 : (unsigned)strtoul(seed, NULL, 10);
  return 0;
}

static uint32_t poll(vanity_shard* shard, void* state) {
  const uint64_t now = vanity_api_of(shard)->now_ns();
  const uint32_t got = pass_on(shard, 1 + (uint32_t)(now / 10 + rand_r(state) + rand()) % 4);
  passed += got;
  return got;
}

PASSER("steady", init, poll)
