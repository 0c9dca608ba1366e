/* As strayer.js, by the C ABI. */
#include <vanity/program.h>

static int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  vanity_device* device = api->device(shard, "edu");
  if (device == NULL || api->device(shard, "nic") != NULL) return 1;
  if (api->dma(device, "area") != NULL || api->dma(device, NULL) != NULL) return 2;
  if (api->irq_take(device, 0) != 0) return 3;
  api->irq_done(device, 0);
  if (api->registers(device, 0, 0, 16) == NULL) return 4;
  if (api->registers(device, 0, 0, 17) != NULL || api->registers(device, 2, 0, 4) != NULL) return 5;
  vanity_counter* allowed = api->counter(shard, "allowed");
  vanity_counter* refused = api->counter(shard, "refused");
  vanity_counter* wrong = api->counter(shard, "wrong");

  /* The first two are granted. */
  static const struct {
    uint64_t offset;
    uint32_t bar, width;
  } reads[] = {{0, 0, 4}, {12, 0, 4}, {16, 0, 4}, {24, 0, 4},          {12, 0, 8},
               {2, 0, 4}, {8, 1, 4},  {8, 0, 3},  {~(uint64_t)0, 0, 1}};
  for (uint32_t i = 0; i < sizeof reads / sizeof reads[0]; ++i) {
    uint64_t value = 0;
    const int done =
        api->register_read(device, reads[i].bar, reads[i].offset, reads[i].width, &value);
    api->count(done != (i < 2) ? wrong : done ? allowed : refused, 1);
  }
  api->count(api->register_write(device, 0, 4, 4, 5) ? allowed : wrong, 1);
  api->count(api->register_write(device, 0, 0x60, 4, 1) ? wrong : refused, 1);
  *state = NULL;
  return 0;
}

static uint32_t poll(vanity_shard* shard, void* state) {
  (void)shard;
  (void)state;
  return 0;
}

const vanity_program* vanity_program_entry(void) {
  static const vanity_program program = {
      .abi_version = VANITY_ABI_VERSION,
      .struct_bytes = sizeof(vanity_program),
      .name = "strayer",
      .version = "1.0",
      .init = init,
      .poll = poll,
  };
  return &program;
}
