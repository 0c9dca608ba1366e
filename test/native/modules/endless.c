/* Its poll never returns. */
#include <vanity/program.h>

static uint32_t poll_once(vanity_shard* shard, void* state) {
  (void)shard;
  (void)state;
  volatile int forever = 1;
  while (forever) {
  }
  return 0;
}

static const vanity_program program = {VANITY_ABI_VERSION,
                                       sizeof(vanity_program),
                                       "endless",
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
