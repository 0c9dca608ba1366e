// Works QEMU's edu in rounds: a factorial by registers, a copy into the device and back by DMA,
// each ended by an interrupt. What it finds in its memory when it begins, or wrong in what it gets,
// it counts. Option `eoi`: delayed or immediate.
#include <stdint.h>
#include <string.h>
#include <vanity/program.h>

enum { kFactorial = 0x08, kStatus = 0x20, kCauses = 0x24, kAcknowledge = 0x64 };
enum { kSource = 0x80, kTarget = 0x88, kCount = 0x90, kCommand = 0x98 };
enum { kTellWhenComputed = 0x80, kRun = 1, kFromDevice = 2, kTellWhenCopied = 4 };
enum { kInDevice = 0x40000, kBytes = 1024, kBack = 2048 };
enum step { kIdle, kComputing, kSending, kReceiving };

typedef struct state {
  vanity_device* edu;
  const vanity_dma* area;
  enum step step;
  int delayed;
  uint32_t round;
  vanity_counter* rounds;
  vanity_counter* writes;
  vanity_counter* wrong;
} state;

static void put(vanity_shard* shard, state* s, uint32_t offset, uint32_t value) {
  vanity_write32(shard, s->edu, 0, offset, value);
}
static uint32_t get(vanity_shard* shard, state* s, uint32_t offset) {
  return vanity_read32(shard, s->edu, 0, offset);
}

static void copy(vanity_shard* shard, state* s, uint32_t from, uint32_t to, uint32_t how) {
  put(shard, s, kSource, from);
  put(shard, s, kTarget, to);
  put(shard, s, kCount, kBytes);
  put(shard, s, kCommand, kRun | kTellWhenCopied | how);
}

static void wait_for_copy(vanity_shard* shard, state* s) {
  while ((get(shard, s, kCommand) & kRun) != 0) {
  }
}

static int init(vanity_shard* shard, void** result) {
  const vanity_api* api = vanity_api_of(shard);
  state* s = api->arena_allocate(shard, sizeof(state), 64);
  if (s == NULL) return 1;
  *result = s;
  s->rounds = api->counter(shard, "rounds");
  s->writes = api->counter(shard, "writes");
  s->wrong = api->counter(shard, "wrong");
  vanity_counter* const dirty = api->counter(shard, "dirty");
  vanity_counter* const under_way = api->counter(shard, "under_way");
  vanity_counter* const without = api->counter(shard, "without");
  const char* eoi = api->option(shard, "eoi");
  s->delayed = eoi != NULL && strcmp(eoi, "delayed") == 0;
  s->edu = api->device(shard, "edu");
  if (s->edu == NULL) return 2;
  s->area = api->dma(s->edu, "area");
  if (s->area == NULL) return 3;
  if (api->device_state(s->edu) != VANITY_DEVICE_GRANTED) {
    volatile uint32_t* raw = api->registers(s->edu, 0, 0, 4);
    if (raw == NULL || *raw != 0xffffffffu) return 4;
    api->count(without, 1);
    return 0;
  }
  uint64_t value;
  if (api->register_read(s->edu, 0, 0x100, 4, &value)) return 5;
  // It cannot be reset: whoever worked it before may have left a copy under way.
  if ((get(shard, s, kCommand) & kRun) != 0) api->count(under_way, 1);
  wait_for_copy(shard, s);
  // The bus is not the device's before init is through: this reaches nothing.
  copy(shard, s, kInDevice, (uint32_t)s->area->iova, kFromDevice);
  wait_for_copy(shard, s);
  put(shard, s, kAcknowledge, 0xffffffffu);
  const uint8_t* memory = s->area->data;
  for (uint64_t i = 0; i < s->area->bytes; ++i) {
    if (memory[i] == 0) continue;
    api->count(dirty, 1);
    break;
  }
  put(shard, s, kStatus, kTellWhenComputed);
  return 0;
}

static uint8_t pattern(const state* s, uint32_t i) {
  return (uint8_t)(s->round * 31 + i * 7 + 1);
}

static void go_on(vanity_shard* shard, state* s) {
  const vanity_api* api = vanity_api_of(shard);
  uint8_t* memory = s->area->data;
  const uint32_t iova = (uint32_t)s->area->iova;
  switch (s->step) {
    case kIdle:
      ++s->round;
      put(shard, s, kFactorial, 5 + s->round % 3);
      s->step = kComputing;
      return;
    case kComputing:
      if (get(shard, s, kFactorial) != (uint32_t[]){120, 720, 5040}[s->round % 3])
        api->count(s->wrong, 1);
      for (uint32_t i = 0; i < kBytes; ++i) memory[i] = pattern(s, i);
      memset(memory + kBack, 0, kBytes);
      copy(shard, s, iova, kInDevice, 0);
      s->step = kSending;
      return;
    case kSending:
      copy(shard, s, kInDevice, iova + kBack, kFromDevice);
      api->count(s->writes, 1);
      s->step = kReceiving;
      return;
    case kReceiving:
      for (uint32_t i = 0; i < kBytes; ++i) {
        if (memory[kBack + i] == pattern(s, i)) continue;
        api->count(s->wrong, 1);
        break;
      }
      api->count(s->rounds, 1);
      s->step = kIdle;
  }
}

static uint32_t poll_once(vanity_shard* shard, void* opaque) {
  state* s = opaque;
  const vanity_api* api = vanity_api_of(shard);
  if (api->device_state(s->edu) != VANITY_DEVICE_GRANTED) return 0;
  if (s->step == kIdle) {
    go_on(shard, s);
    return 1;
  }
  if (vanity_irq_take(shard, s->edu, 0) == 0) return 0;
  const uint32_t causes = get(shard, s, kCauses);
  put(shard, s, kAcknowledge, causes);
  if (s->delayed) vanity_irq_done(shard, s->edu, 0);
  if (causes != 0) go_on(shard, s);
  return 1;
}

static const vanity_program kProgram = {
    .abi_version = VANITY_ABI_VERSION,
    .struct_bytes = sizeof(vanity_program),
    .name = "worker",
    .version = "1",
    .init = init,
    .poll = poll_once,
};

VANITY_EXPORT const vanity_program* vanity_program_entry(void) {
  return &kProgram;
}
