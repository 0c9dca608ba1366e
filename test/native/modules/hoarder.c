/* Takes packets and never gives them back: what the leak check is for. */
#include <vanity/program.h>

static uint32_t poll_once(vanity_shard* shard, void* state) {
  (void)state;
  vanity_packet packets[8];
  static uint32_t kept;
  uint32_t got = vanity_receive(shard, packets, 8);
  if (kept >= 16) {
    vanity_free(shard, packets, got);
  } else {
    kept += got;
  }
  return got;
}

static const vanity_program program = {VANITY_ABI_VERSION,
                                       sizeof(vanity_program),
                                       "hoarder",
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
