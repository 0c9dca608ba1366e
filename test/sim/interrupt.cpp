// From a device to a sleeping shard: the kernel's thread hands interrupts over (BasicIrqLine, the
// doorbell, signal()), and the shard goes over from polling a queue to its interrupt and back as
// NetRx of virtio_net does, with the shipping ring.
#include <cstring>

#include "cases.hpp"
#include "device/irq_line.hpp"
#include "platform/wait.hpp"
#include "vanity/doorbell.hpp"
#include "virtio/packed_ring.hpp"
#include "virtio/split_ring.hpp"

namespace {

using namespace cases;
using vanity::Backend;
using Doorbell = vanity::BasicDoorbell<Policy>;
using Waiter = vanity::BasicWaiter<Policy>;

constexpr vanity::WaitTuning kNoSpin{.spin_ticks_max = 0, .sleep_ticks_max = UINT64_MAX};
vanity::VectorRecord record;  // counters, which order nothing

// What wires an interrupt to the kernel's thread: an eventfd, and the mask of a level line.
struct Controller {
  enum : uint32_t { kAsserted = 1, kMasked = 2, kOne = 4 };
  Atomic<uint32_t> word{0};

  static uint64_t deliver(uint64_t state) {
    if ((state & kAsserted) == 0 || (state & kMasked) != 0) return state;
    return (state | kMasked) + kOne;
  }
  void message() { (void)word.fetch_add(kOne, std::memory_order_release); }
  void assert_line() {
    (void)word.change(0, std::memory_order_release,
                      [](uint64_t state, uint64_t) { return deliver(state | kAsserted); });
  }
  void deassert() {
    (void)word.change(0, std::memory_order_acq_rel,
                      [](uint64_t state, uint64_t) { return state & ~uint64_t{kAsserted}; });
  }
  void unmask() {
    (void)word.change(0, std::memory_order_acq_rel,
                      [](uint64_t state, uint64_t) { return deliver(state & ~uint64_t{kMasked}); });
  }
  // The read of the eventfd.
  uint32_t take() {
    return word.change(0, std::memory_order_acquire, [](uint64_t state, uint64_t) {
      return state & (kOne - 1);
    }) / kOne;
  }
  bool under_way() const { return word.peek() >= kOne; }
};

Controller* controller;
struct LinePolicy : Policy {
  static void unmask(int) { controller->unmask(); }
};
using Line = vanity::BasicIrqLine<LinePolicy>;

// The kernel's thread and the shard's end, as Interrupts::deliver and Shard::idle have them.
template <Backend kBackend>
struct Delivery {
  Doorbell doorbell;
  vanity::BasicSleeper<Policy> sleeper;
  alignas(64) Atomic<uint32_t> over{0};
  alignas(64) Controller wire;
  Line line;

  static constexpr uint32_t kShard = 2;

  explicit Delivery(int unmask_fd) : line(&record, unmask_fd) {
    World& world = World::current();
    world.name_atomic(&doorbell.bytes[Doorbell::kControlIrq], 1, "bell");
    world.name_atomic(&sleeper.sleeping, 4, "sleeping");
    world.name_atomic(&over, 4, "over");
    world.name_atomic(&wire.word, 4, "wire");
    world.name_atomic(&line, 8, "raised");
    world.name_atomic(reinterpret_cast<const std::byte*>(&line) + 8, 8, "stamp");
    world.name_atomic(reinterpret_cast<const std::byte*>(&line) + 16, 8, "masked since");
    controller = &wire;
  }
  void kernel() {
    while (over.load(std::memory_order_relaxed) == 0) {
      const uint32_t times =
          wire.word.load(std::memory_order_relaxed) >= Controller::kOne ? wire.take() : 0;
      if (times == 0) {
        World::current().pause();
        continue;
      }
      const Promise promise(kShard);
      line.raise(1, times);
      doorbell.ring(Doorbell::kControlIrq);
      vanity::signal(sleeper);
    }
  }
  void idle(Waiter& waiter) {
    if (doorbell.bytes[Doorbell::kControlIrq].load(std::memory_order_relaxed) != 0) {
      doorbell.take(Doorbell::kControlIrq);
      return;
    }
    waiter.idle(
        doorbell.bytes, [&] { return doorbell.any(); }, UINT64_MAX);
  }
};

// A device's side of a queue of a few buffers, each filled once, in their order.
struct SplitWords {
  using Ring = vanity::virtio::BasicSplitRing<Bus>;
  static constexpr bool kPacked = false;
  vanity::virtio::AvailableRing* available;
  vanity::virtio::UsedRing* used;
  uint16_t size;

  SplitWords(std::byte* memory, uint16_t n) : size(n) {
    const auto layout = vanity::virtio::RingLayout::of(false, n);
    available = reinterpret_cast<vanity::virtio::AvailableRing*>(memory + layout.driver);
    used = reinterpret_cast<vanity::virtio::UsedRing*>(memory + layout.device);
  }
  void name(uint32_t count) const {
    World& world = World::current();
    world.name_atomic(&available->flags, 2, "flags");
    world.name_atomic(&available->ring[size], 2, "used event");
    world.name_atomic(&used->index, 2, "used index");
    for (uint32_t i = 0; i < count; ++i) {
      world.name_atomic(&used->ring[i].id, 4, "used id");
      world.name_atomic(&used->ring[i].bytes, 4, "used bytes");
    }
  }
  void give(uint16_t i, const Bus::Order& order) const {
    Bus::put(used->ring[i].id, uint32_t{i});
    Bus::put(used->ring[i].bytes, uint32_t{64});
    order.before_publish();
    Bus::put(used->index, static_cast<uint16_t>(i + 1));
  }
  bool wants(uint16_t i, bool event_index) const {
    if (!event_index)
      return (Bus::look(available->flags) & vanity::virtio::AvailableRing::kNoInterrupt) == 0;
    return static_cast<uint16_t>(i + 1 - Bus::look(available->ring[size]) - 1) < 1;  // §2.7.10
  }
  uint32_t given() const { return used->index; }
};

// Where the driver's descriptors were (§2.8.6).
struct PackedWords {
  using Ring = vanity::virtio::BasicPackedRing<Bus>;
  using Descriptor = vanity::virtio::PackedDescriptor;
  using Event = vanity::virtio::EventSuppression;
  static constexpr bool kPacked = true;
  static constexpr uint16_t kDone = Descriptor::kAvailable | Descriptor::kUsed;  // on the first lap
  Descriptor* descriptors;
  Event* event;
  uint16_t size;

  PackedWords(std::byte* memory, uint16_t n) : size(n) {
    const auto layout = vanity::virtio::RingLayout::of(true, n);
    descriptors = reinterpret_cast<Descriptor*>(memory + layout.descriptors);
    event = reinterpret_cast<Event*>(memory + layout.driver);
  }
  void name(uint32_t count) const {
    World& world = World::current();
    world.name_atomic(&event->word, 4, "driver event");
    for (uint32_t i = 0; i < count; ++i) {
      world.name_atomic(&descriptors[i].flags, 2, "flags");
      world.name_atomic(&descriptors[i].id, 2, "id");
      world.name_atomic(&descriptors[i].bytes, 4, "bytes");
    }
  }
  void give(uint16_t i, const Bus::Order& order) const {
    Bus::put(descriptors[i].bytes, uint32_t{64});
    order.before_publish();
    Bus::put(descriptors[i].flags, kDone);
  }
  bool wants(uint16_t i, bool event_index) const {
    const uint32_t word = Bus::look(event->word);
    const auto kind = static_cast<uint16_t>(word >> 16 & 3);
    if (kind == Event::kDescriptor && event_index) return (word & 0x7fff) == i;  // of this lap
    return kind != Event::kDisable;
  }
  uint32_t given() const {
    uint32_t n = 0;
    while (n < size && (descriptors[n].flags & kDone) == kDone) ++n;
    return n;
  }
};

template <class Words, Backend kBackend, bool kEventIndex, uint32_t kCount>
struct ArmOrPoll {
  static constexpr const char* kThreads[] = {"device", "kernel", "shard"};
  static constexpr uint16_t kSize = 4;
  static constexpr uint32_t kBytes = 3 * 128 + 128;
  using Ring = typename Words::Ring;

  alignas(128) std::byte memory[kBytes];
  Delivery<kBackend> delivery{-1};
  Ring ring{kSize, memory, {.event_index = kEventIndex}};
  uint64_t buffers[kCount] = {};
  uint32_t collected = 0;
  bool armed = false;

  Words words() { return {memory, kSize}; }

  ArmOrPoll() {
    World& world = World::current();
    for (uint32_t i = 0; i < kCount; ++i) ring.add({i, 64, true}, i);
    (void)ring.publish();
    words().name(kCount);
    world.name(buffers, sizeof buffers, "buffer");
    world.watch(2, [](const void* object) {
      auto& self = *const_cast<ArmOrPoll*>(static_cast<const ArmOrPoll*>(object));
      return self.words().given() != self.collected && !self.delivery.wire.under_way();
    });
  }

  void device() {
    World& world = World::current();
    const Bus::Order order(false);
    const Words side = words();
    for (uint16_t i = 0; i < kCount; ++i) {
      world.write(&buffers[i], i + 100);
      const Promise promise(2);
      side.give(i, order);
      order.between_store_and_look();
      if (side.wants(i, kEventIndex)) delivery.wire.message();
    }
  }
  void shard() {
    Waiter waiter(kBackend, kNoSpin, &delivery.sleeper);
    vanity::virtio::Used done[kCount];
    while (collected < kCount) {
      (void)delivery.line.take();
      const uint32_t got = ring.collect(done, kCount);
      require(!ring.broken(), "the ring found what cannot be");
      for (uint32_t i = 0; i < got; ++i) {
        require(done[i].token == collected && done[i].bytes == 64, "a buffer of another turn");
        require(World::current().read(&buffers[done[i].token]) == done[i].token + 100,
                "a buffer that was not filled");
        ++collected;
      }
      if (got != 0) {
        if (armed) ring.suppress();
        armed = false;
        continue;
      }
      if (!armed) {
        if (!ring.arm()) {
          ring.suppress();
          continue;
        }
        armed = true;
      } else if (ring.pending()) {
        continue;
      }
      delivery.idle(waiter);
    }
    delivery.over.store(1, std::memory_order_relaxed);
  }
  void thread(uint32_t thread) {
    if (thread == 0) device();
    if (thread == 1) delivery.kernel();
    if (thread == 2) shard();
  }
  void finish() { require(collected == kCount, "a buffer is lost"); }
};

// A line that stays up until the shard has served the device, and is masked until it says done.
template <Backend kBackend, uint32_t kTimes>
struct LevelLine {
  static constexpr const char* kThreads[] = {"device", "kernel", "shard"};
  Delivery<kBackend> delivery{7};
  alignas(64) Atomic<uint32_t> served{0};
  uint64_t cause = 0;

  LevelLine() {
    World::current().name_atomic(&served, 4, "served");
    World::current().name(&cause, 8, "cause");
    World::current().watch(2, [](const void* object) {
      auto& self = *static_cast<const LevelLine*>(object);
      return (self.delivery.wire.word.peek() & Controller::kAsserted) != 0 &&
             !self.delivery.wire.under_way();
    });
  }
  void thread(uint32_t thread) {
    World& world = World::current();
    if (thread == 0) {
      for (uint32_t i = 1; i <= kTimes; ++i) {
        world.write(&cause, i);
        delivery.wire.assert_line();
        while (served.load(std::memory_order_acquire) != i) world.pause();
      }
    }
    if (thread == 1) delivery.kernel();
    if (thread != 2) return;
    Waiter waiter(kBackend, kNoSpin, &delivery.sleeper);
    for (uint32_t seen = 0; seen < kTimes;) {
      if (delivery.line.take() == 0) {
        delivery.idle(waiter);
        continue;
      }
      require(world.read(&cause) == seen + 1, "an interrupt of another turn");
      delivery.wire.deassert();
      served.store(++seen, std::memory_order_release);
      delivery.line.done();
    }
    delivery.over.store(1, std::memory_order_relaxed);
  }
  void finish() { require(served.peek() == kTimes, "an interrupt is lost"); }
};

}  // namespace

int main(int argc, char** argv) {
  const Setup setup{.stale_loads = 1};
  add<ArmOrPoll<SplitWords, Backend::futex, false, 1>>("arm or poll, flags", How::exhausted, setup);
  add<ArmOrPoll<SplitWords, Backend::futex, true, 1>>("arm or poll, event index", How::exhausted,
                                                      setup);
  add<ArmOrPoll<SplitWords, Backend::waitpkg, true, 1>>("arm or poll, monitor", How::exhausted,
                                                        setup);
  add<LevelLine<Backend::waitpkg, 1>>("level line", How::exhausted, setup);
  add<ArmOrPoll<PackedWords, Backend::futex, false, 1>>("arm or poll, packed", How::exhausted,
                                                        setup);
  add<ArmOrPoll<PackedWords, Backend::futex, true, 1>>("arm or poll, packed, event index",
                                                       How::exhausted, setup);
  add<ArmOrPoll<PackedWords, Backend::futex, false, 3>>("arm or poll, packed, longer", How::sampled,
                                                        setup);
  add<ArmOrPoll<PackedWords, Backend::futex, true, 3>>("arm or poll, packed, event index, longer",
                                                       How::sampled, setup);
  add<ArmOrPoll<SplitWords, Backend::futex, false, 3>>("arm or poll, flags, longer", How::sampled,
                                                       setup);
  add<ArmOrPoll<SplitWords, Backend::futex, true, 3>>("arm or poll, event index, longer",
                                                      How::sampled, setup);
  add<LevelLine<Backend::futex, 4>>("level line, longer", How::sampled, setup);
  return cases::main(argc, argv);
}
