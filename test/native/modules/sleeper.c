/* Its first poll comes back after "ms" milliseconds, long after the kernel has given it up. */
#include <stdlib.h>
#include <time.h>
#include <vanity/program.h>

static int slept;

static uint32_t poll_once(vanity_shard* shard, void* state) {
  (void)state;
  if (slept++ == 0) {
    const long ms = atol(vanity_api_of(shard)->option(shard, "ms"));
    const struct timespec nap = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&nap, NULL);
  }
  vanity_packet packets[32];
  const uint32_t got = vanity_receive(shard, packets, 32);
  vanity_free(shard, packets, got);
  return got;
}

static const vanity_program program = {VANITY_ABI_VERSION,
                                       sizeof(vanity_program),
                                       "sleeper",
                                       "1",
                                       NULL,
                                       poll_once,
                                       NULL,
                                       NULL,
                                       NULL,
                                       NULL};
const vanity_program* vanity_program_entry(void) {
  return &program;
}
