// Drives the device as accelerator.ts does: takes a request, starts it, answers when the interrupt
// says that it is done. One at a time, as the device has it; the others wait in the channel. The
// shard sleeps while the device works.
#include <vanity/program.h>
#include <port/edu/edu.hpp>

#include <cstring>
#include <ctime>
#include <new>

namespace edu = vanity::edu;

namespace {

// As message.ts draws it.
enum Operation : uint32_t { kFactorial = 1, kCopy = 2, kRefused = 3 };
struct Message {
  uint32_t operation;
  uint32_t id;
  uint32_t value;
  uint32_t bytes;
  uint8_t data[48];
};
static_assert(sizeof(Message) == 64);

constexpr uint32_t kVector = 0;
constexpr uint32_t kBackAt = 2048;  // in the region: where a copy comes back to
constexpr long kPauseNs = 10'000'000;

// The granted registers of BAR 0. What is refused reads as all ones, as from a device that is gone.
struct Registers {
  const vanity_api* api;
  vanity_device* device;

  uint32_t read32(uint64_t offset) const {
    uint64_t value = 0xffffffff;
    api->register_read(device, 0, offset, 4, &value);
    return static_cast<uint32_t>(value);
  }
  void write32(uint64_t offset, uint32_t value) const {
    api->register_write(device, 0, offset, 4, value);
  }
  void write64(uint64_t offset, uint64_t value) const {
    api->register_write(device, 0, offset, 8, value);
  }
};

struct Accelerator {
  enum Step { idle, refuse, factorial, in, out };

  vanity_device* device;
  vanity_channel* requests;
  vanity_channel* answers;
  const vanity_dma* area;
  edu::Edu<Registers> card;
  // The request under way. It has left its channel, in which it would keep the shard awake.
  Step step = idle;
  Message request = {};
  uint32_t done = 0;  // causes of interrupts that came since the step began
  bool gone = false;

  uint8_t* data() const { return static_cast<uint8_t*>(area->data); }
  uint64_t address(uint64_t offset) const {
    const uint64_t within = (uint64_t{1} << area->page_shift) - 1;
    return area->pages[offset >> area->page_shift] + (offset & within);
  }
};

int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  const auto refuse = [&](int code, const char* why) {
    api->log(shard, VANITY_LOG_ERROR, why);
    return code;
  };
  vanity_device* device = api->device(shard, "edu");
  if (device == nullptr) return refuse(1, "the manifest grants it no device \"edu\"");
  const vanity_dma* area = api->dma(device, "area");
  if (area == nullptr || area->bytes < kBackAt + sizeof(Message::data)) {
    return refuse(2, "it needs a dma region \"area\" of 4 KiB");
  }
  const edu::Edu<Registers> card(Registers{api, device});
  if (!card.present()) return refuse(3, "device \"edu\" is another one");
  // It has no reset: what its last owner began goes on for up to 100 ms.
  while (!card.settle()) {
    const timespec pause{0, kPauseNs};
    nanosleep(&pause, nullptr);
  }
  void* memory = api->arena_allocate(shard, sizeof(Accelerator), alignof(Accelerator));
  if (memory == nullptr) return refuse(4, "it needs memory: arena = \"64KiB\"");
  *state = new (memory) Accelerator{device, api->channel(shard, "requests"),
                                    api->channel(shard, "answers"), area, card};
  return 0;
}

uint32_t answer(const vanity_api* api, Accelerator& self, Operation operation, uint32_t value) {
  const uint32_t bytes = operation == kCopy ? self.request.bytes : 0;
  Message message{operation, self.request.id, value, bytes, {}};
  std::memcpy(message.data, self.data() + kBackAt, bytes);
  // Full: try again, nobody wakes a producer.
  if (api->send_copy(self.answers, &message, 1) == 1) self.step = Accelerator::idle;
  return 1;
}

uint32_t begin(const vanity_api* api, Accelerator& self) {
  Message& request = self.request;
  if (api->receive_copy(self.requests, &request, 1) == 0) return 0;
  self.done = 0;
  if (!self.gone && request.operation == kFactorial && request.value <= edu::kLargestExact) {
    self.step = Accelerator::factorial;
    self.card.factorial(request.value, true);
  } else if (!self.gone && request.operation == kCopy && request.bytes > 0 &&
             request.bytes <= sizeof(Message::data)) {
    self.step = Accelerator::in;
    std::memcpy(self.data(), request.data, request.bytes);
    self.card.copy_in(self.address(0), 0, request.bytes, true);
  } else {
    self.step = Accelerator::refuse;
  }
  return 1;
}

uint32_t poll(vanity_shard* shard, void* state) {
  const vanity_api* api = vanity_api_of(shard);
  auto& self = *static_cast<Accelerator*>(state);
  if (vanity_irq_take(shard, self.device, kVector) != 0) {
    const uint32_t causes = self.card.causes();
    self.card.acknowledge(causes);                 // first the device, which lets go of the line
    vanity_irq_done(shard, self.device, kVector);  // then the line, which may rise again
    self.done |= causes;
  }
  switch (self.step) {
    case Accelerator::refuse:
      return answer(api, self, kRefused, 0);
    case Accelerator::factorial:
      if ((self.done & edu::kFactorialDone) == 0) return 0;
      return answer(api, self, kFactorial, self.card.result());
    case Accelerator::in:
      if ((self.done & edu::kCopyDone) == 0) return 0;
      self.done = 0;
      self.step = Accelerator::out;
      self.card.copy_out(0, self.address(kBackAt), self.request.bytes, true);
      return 1;
    case Accelerator::out:
      return (self.done & edu::kCopyDone) == 0 ? 0 : answer(api, self, kCopy, 0);
    default:
      return begin(api, self);
  }
}

// Linux wants the device back, or it failed: what is under way will not be done, and nothing after.
void device_event(vanity_shard*, void* state, vanity_device*, vanity_device_state) {
  auto& self = *static_cast<Accelerator*>(state);
  self.gone = true;
  if (self.step != Accelerator::idle) self.step = Accelerator::refuse;
}

}  // namespace

extern "C" VANITY_EXPORT const vanity_program* vanity_program_entry() {
  static const vanity_program program = {
      .abi_version = VANITY_ABI_VERSION,
      .struct_bytes = sizeof(vanity_program),
      .name = "accelerator",
      .version = "1.0",
      .init = init,
      .poll = poll,
      .fini = nullptr,
      .watermark = nullptr,
      .device_event = device_event,
      .reload = nullptr,
  };
  return &program;
}
