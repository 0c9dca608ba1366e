/* Breaks at its fifth packet: option `how` is fault, abort, exit, hang, stack or twice. */
#include <stdlib.h>
#include <string.h>

#include "program.h"

static const char* how;
static uint32_t passed;

static int init(vanity_shard* shard, void** state) {
  how = vanity_api_of(shard)->option(shard, "how");
  *state = NULL;
  return how == NULL;
}

static uint32_t deeper(uint32_t depth) {
  volatile char frame[4096];
  frame[depth % sizeof(frame)] = 1;
  return deeper(depth + 1) + (uint32_t)frame[0];
}

static uint32_t poll(vanity_shard* shard, void* state) {
  (void)state;
  vanity_packet packet;
  if (vanity_receive(shard, &packet, 1) == 0) return 0;
  if (++passed == 5) {
    if (strcmp(how, "fault") == 0) *(volatile int*)8 = 1;
    if (strcmp(how, "abort") == 0) abort();
    if (strcmp(how, "exit") == 0) exit(3);
    if (strcmp(how, "stack") == 0) return deeper(0);
    if (strcmp(how, "twice") == 0) vanity_free(shard, &packet, 1);
    if (strcmp(how, "hang") == 0)
      for (volatile int i = 0;; ++i) {
      }
  }
  vanity_send(shard, 0, &packet, 1);
  return 1;
}

PASSER("breaker", init, poll)
