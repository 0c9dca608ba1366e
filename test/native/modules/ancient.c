/* Compiled with a header that knows nothing of reloads yet. */
#include <vanity/program.h>

static uint32_t poll_once(vanity_shard* shard, void* state) {
  (void)state;
  vanity_packet packets[32];
  const uint32_t got = vanity_receive(shard, packets, 32);
  if (got != 0) vanity_send(shard, 0, packets, got);
  return got;
}

static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,
                                       .struct_bytes = offsetof(vanity_program, reload),
                                       .name = "ancient",
                                       .version = "0",
                                       .poll = poll_once};
const vanity_program* vanity_program_entry(void) {
  return &program;
}
