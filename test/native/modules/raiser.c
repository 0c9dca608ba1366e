// Has QEMU's edu raise interrupts, one at a time, and serves them. Options: `count`; `eoi` delayed
// or immediate; `forget_ms`: for so long it does nothing about the first.
#include <stdlib.h>
#include <string.h>
#include <vanity/program.h>

enum { kLiveness = 0x04, kCauses = 0x24, kRaise = 0x60, kAcknowledge = 0x64 };

typedef struct state {
  vanity_device* edu;
  uint64_t left;
  int delayed;
  int waiting;
  uint64_t forget_ns;
  uint64_t forget_until_ns;
  vanity_counter* handled;
  vanity_counter* unasked;
  vanity_counter* wanted;
  vanity_counter* lost;
  vanity_counter* returned;
  vanity_counter* alive;
} state;

static uint64_t number(const vanity_shard* shard, const char* key) {
  const char* text = vanity_api_of(shard)->option(shard, key);
  return text == NULL ? 0 : strtoull(text, NULL, 10);
}

static int init(vanity_shard* shard, void** result) {
  const vanity_api* api = vanity_api_of(shard);
  state* s = api->arena_allocate(shard, sizeof(state), 64);
  if (s == NULL) return 1;
  s->edu = api->device(shard, "edu");
  if (s->edu == NULL || api->device(shard, "other") != NULL) return 2;
  s->left = number(shard, "count");
  s->forget_ns = number(shard, "forget_ms") * 1000000u;
  const char* eoi = api->option(shard, "eoi");
  s->delayed = eoi != NULL && strcmp(eoi, "delayed") == 0;
  s->handled = api->counter(shard, "handled");
  s->unasked = api->counter(shard, "unasked");
  s->wanted = api->counter(shard, "wanted");
  s->lost = api->counter(shard, "lost");
  s->returned = api->counter(shard, "returned");
  s->alive = api->counter(shard, "alive");
  // Beyond the grant, not aligned, of no width: refused, and nothing happens.
  uint64_t value = 0;
  if (api->register_read(s->edu, 0, 0x100, 4, &value) ||
      api->register_read(s->edu, 0, 0x02, 4, &value) ||
      api->register_read(s->edu, 0, 0x00, 3, &value) ||
      api->register_read(s->edu, 1, 0x00, 4, &value) ||
      api->registers(s->edu, 0, 0xfc, 8) != NULL || api->registers(s->edu, 0, 0, 0x100) == NULL) {
    return 3;
  }
  vanity_write32(shard, s->edu, 0, kLiveness, 0x12345678);
  if (vanity_read32(shard, s->edu, 0, kLiveness) != ~0x12345678u) return 4;
  const vanity_dma* memory = api->dma(s->edu, "buffer");
  if (memory == NULL || memory->bytes != 4096 || memory->data == NULL) return 5;
  vanity_write32(shard, s->edu, 0, kAcknowledge, 0xffffffffu);
  *result = s;
  return 0;
}

static uint32_t poll_once(vanity_shard* shard, void* opaque) {
  state* s = opaque;
  const vanity_api* api = vanity_api_of(shard);
  if (api->device_state(s->edu) != VANITY_DEVICE_GRANTED) return 0;
  if (s->forget_until_ns != 0) {
    if (api->now_ns() < s->forget_until_ns) return 0;
    s->forget_until_ns = 0;
  }
  const uint64_t fired = vanity_irq_take(shard, s->edu, 0);
  if (fired != 0) {
    const uint32_t causes = vanity_read32(shard, s->edu, 0, kCauses);
    vanity_write32(shard, s->edu, 0, kAcknowledge, causes);
    if (s->delayed) vanity_irq_done(shard, s->edu, 0);
    if (causes == 0) {
      api->count(s->unasked, 1);
    } else {
      api->count(s->handled, 1);
      s->waiting = 0;
    }
  }
  if (!s->waiting && s->left != 0) {
    --s->left;
    s->waiting = 1;
    vanity_write32(shard, s->edu, 0, kRaise, 2);
    if (s->forget_ns != 0) s->forget_until_ns = api->now_ns() + s->forget_ns;
    s->forget_ns = 0;
    return 1;
  }
  return fired != 0;
}

static void device_event(vanity_shard* shard, void* opaque, vanity_device* device,
                         vanity_device_state news) {
  state* s = opaque;
  const vanity_api* api = vanity_api_of(shard);
  if (strcmp(api->device_name(device), "edu") != 0) return;
  // Still there while it is wanted, and memory that reads ones afterwards.
  if (news == VANITY_DEVICE_WANTED) {
    api->count(s->wanted, 1);
    vanity_write32(shard, device, 0, kLiveness, 0x12345678);
    api->count(s->alive, vanity_read32(shard, device, 0, kLiveness) == ~0x12345678u);
  } else if (news == VANITY_DEVICE_LOST) {
    api->count(s->lost, 1);
  } else {
    volatile uint32_t* raw = api->registers(device, 0, 0, 4);
    api->count(s->returned, raw != NULL && *raw == 0xffffffffu);
    vanity_irq_done(shard, device, 0);  // says nothing to nobody
  }
}

static const vanity_program kProgram = {
    .abi_version = VANITY_ABI_VERSION,
    .struct_bytes = sizeof(vanity_program),
    .name = "raiser",
    .version = "1",
    .init = init,
    .poll = poll_once,
    .device_event = device_event,
};

VANITY_EXPORT const vanity_program* vanity_program_entry(void) {
  return &kProgram;
}
