/* Built for an ABI that does not exist yet. */
#include <vanity/program.h>

static uint32_t poll_once(vanity_shard* shard, void* state) {
  (void)shard;
  (void)state;
  return 0;
}

static const vanity_program program = {VANITY_ABI_VERSION + 1,
                                       sizeof(vanity_program),
                                       "future",
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
