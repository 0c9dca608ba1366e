// Keeps a peer behind ivshmem busy: every slot has work at all times, and the shard sleeps until a
// vector says that one is done. Counts what came back right and wrong.
#include <vanity/program.h>
#include <port/ivshmem/mailbox.hpp>

#include <algorithm>
#include <cstring>
#include <new>

namespace ivshmem = vanity::ivshmem;

namespace {

constexpr uint16_t kPeer = 1;
constexpr uint32_t kTurnAround = 2;  // the operation
constexpr uint32_t kBytes = 100;

// What is granted of one BAR.
struct Bar {
  const vanity_api* api;
  vanity_device* device;
  uint32_t bar;

  uint64_t read(uint64_t offset, uint32_t width) const {
    uint64_t value = ~uint64_t{0};
    api->register_read(device, bar, offset, width, &value);
    return value;
  }
  uint8_t read8(uint64_t offset) const { return static_cast<uint8_t>(read(offset, 1)); }
  uint32_t read32(uint64_t offset) const { return static_cast<uint32_t>(read(offset, 4)); }
  uint64_t read64(uint64_t offset) const { return read(offset, 8); }
  void write8(uint64_t offset, uint8_t value) const {
    api->register_write(device, bar, offset, 1, value);
  }
  void write32(uint64_t offset, uint32_t value) const {
    api->register_write(device, bar, offset, 4, value);
  }
  void write64(uint64_t offset, uint64_t value) const {
    api->register_write(device, bar, offset, 8, value);
  }
};

struct Self {
  vanity_device* device;
  vanity_counter* right;
  vanity_counter* wrong;
  ivshmem::Mailbox<Bar> mailbox;
  uint8_t round = 0;
  uint8_t asked[ivshmem::kSlots][kBytes] = {};
};

void ask(Self& self, uint32_t slot) {
  for (uint32_t i = 0; i < kBytes; ++i)
    self.asked[slot][i] = static_cast<uint8_t>(self.round * 7 + slot * 31 + i);
  ++self.round;
  self.mailbox.ask(slot, kTurnAround, self.asked[slot], kBytes);
}

int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  vanity_device* device = api->device(shard, "accelerator");
  void* memory = api->arena_allocate(shard, sizeof(Self), alignof(Self));
  if (device == nullptr || memory == nullptr) return 1;
  const ivshmem::Ivshmem<Bar> card(Bar{api, device, ivshmem::kRegisterBar},
                                   Bar{api, device, ivshmem::kMemoryBar},
                                   ivshmem::kSlots * ivshmem::kSlotBytes);
  if (card.id() > 0xffff) return 2;
  *state = new (memory) Self{device, api->counter(shard, "right"), api->counter(shard, "wrong"),
                             ivshmem::Mailbox<Bar>(card, kPeer)};
  return 0;
}

uint32_t poll(vanity_shard* shard, void* state) {
  const vanity_api* api = vanity_api_of(shard);
  auto& self = *static_cast<Self*>(state);
  uint32_t handled = 0;
  for (uint32_t slot = 0; slot < ivshmem::kSlots; ++slot) {
    const bool fired = vanity_irq_take(shard, self.device, slot) != 0;
    uint32_t result;
    uint8_t back[kBytes];
    if (!self.mailbox.busy(slot)) {
      ask(self, slot);
      ++handled;
    } else if (fired && self.mailbox.take(slot, result, back)) {
      std::reverse(back, back + kBytes);
      api->count(std::memcmp(back, self.asked[slot], kBytes) == 0 ? self.right : self.wrong, 1);
      ask(self, slot);
      ++handled;
    }
  }
  return handled;
}

}  // namespace

extern "C" VANITY_EXPORT const vanity_program* vanity_program_entry() {
  static const vanity_program program = {
      .abi_version = VANITY_ABI_VERSION,
      .struct_bytes = sizeof(vanity_program),
      .name = "mailbox",
      .version = "1.0",
      .init = init,
      .poll = poll,
      .fini = nullptr,
      .watermark = nullptr,
      .device_event = nullptr,
      .reload = nullptr,
  };
  return &program;
}
