/* What the modules here share: a program that passes packets on, as many at a time as it says. */
#include <vanity/program.h>

#define PASSER(title, begin, pass)                                                 \
  const vanity_program* vanity_program_entry(void) {                               \
    static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,      \
                                           .struct_bytes = sizeof(vanity_program), \
                                           .name = title,                          \
                                           .version = "1",                         \
                                           .init = begin,                          \
                                           .poll = pass};                          \
    return &program;                                                               \
  }

static inline uint32_t pass_on(vanity_shard* shard, uint32_t most) {
  vanity_packet packets[8];
  const uint32_t got = vanity_receive(shard, packets, most);
  if (got != 0) vanity_send(shard, 0, packets, got);
  return got;
}
