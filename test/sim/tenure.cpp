// Whose a queue is, BasicTenure: the kernel takes a device down, makes it anew and hands it back
// while the shard works on it, gives it up, or does nothing at all. Both sides touch plain memory
// where the tenure says that it is theirs.
#include "port/tenure.hpp"

#include "cases.hpp"

namespace {

using namespace cases;

template <uint32_t kLives, uint32_t kTroubles>
struct TakenDown {
  static constexpr const char* kThreads[] = {"kernel", "shard"};
  vanity::BasicTenure<Policy> tenure;
  alignas(64) Atomic<uint32_t> over{0};
  alignas(64) uint64_t device = 0;  // whose: see tenure.hpp
  uint64_t queue = 0;
  uint32_t troubles = 0;
  bool gave_up = false;
  uint32_t worked = 0;
  uint32_t given_back = 0;

  TakenDown() {
    World& world = World::current();
    world.name_atomic(&tenure, 4, "asked");
    world.name_atomic(reinterpret_cast<const std::byte*>(&tenure) + 64, 4, "answer");
    world.name_atomic(reinterpret_cast<const std::byte*>(&tenure) + 68, 1, "trouble");
    world.name_atomic(&over, 4, "over");
    world.name(&device, 8, "device");
    world.name(&queue, 8, "queue");
  }

  void kernel() {
    World& world = World::current();
    for (uint32_t life = 0; life < kLives; ++life) {
      require(tenure.drained(), "a queue is made anew that still holds something");
      world.write(&device, life + 1);
      world.write(&queue, life + 1);
      tenure.revive();
      tenure.stop();
      while (!tenure.stopped()) world.pause();
      world.write(&device, 0);
      world.write(&queue, life + 1);  // the device's own last write, before it has stopped
      tenure.release();
      while (!tenure.drained()) world.pause();
    }
    over.store(1, std::memory_order_release);
  }
  void shard() {
    World& world = World::current();
    while (over.load(std::memory_order_acquire) == 0) {
      if (tenure.live()) {
        require(world.read(&device) != 0, "the shard works a device that is stopped");
        require(world.read(&device) == world.read(&queue), "a queue of another life");
        world.write(&queue, world.read(&device));
        ++worked;
        if (troubles < kTroubles) {
          ++troubles;
          tenure.give_up();
        }
      } else if (tenure.released()) {
        require(world.read(&queue) != 0, "a queue is given back twice");
        world.write(&queue, 0);
        ++given_back;
        tenure.drain();
      }
      world.pause();
    }
  }
  void thread(uint32_t thread) { thread == 0 ? kernel() : shard(); }
  void finish() { require(given_back == kLives, "a queue was not given back"); }
};

// A shard that lets go of its queue after each call, and holds nothing of it: the kernel makes it
// anew as soon as it is stopped.
template <uint32_t kLives, uint32_t kCalls>
struct Parked {
  static constexpr const char* kThreads[] = {"kernel", "shard"};
  vanity::BasicTenure<Policy> tenure;
  alignas(64) uint64_t device = 0;

  Parked() {
    World& world = World::current();
    world.name_atomic(&tenure, 4, "asked");
    world.name_atomic(reinterpret_cast<const std::byte*>(&tenure) + 64, 4, "answer");
    world.name_atomic(reinterpret_cast<const std::byte*>(&tenure) + 72, 4, "parked");
    world.name(&device, 8, "device");
  }

  void kernel() {
    World& world = World::current();
    for (uint32_t life = 0; life < kLives; ++life) {
      world.write(&device, life + 1);
      tenure.revive();
      tenure.stop();
      while (!tenure.stopped()) world.pause();
      world.write(&device, 0);
    }
  }
  void shard() {
    World& world = World::current();
    for (uint32_t call = 0; call < kCalls; ++call) {
      if (tenure.live())
        require(world.read(&device) != 0, "the shard works a device that is stopped");
      tenure.park();
    }
  }
  void thread(uint32_t thread) { thread == 0 ? kernel() : shard(); }
  void finish() {}
};

}  // namespace

int main(int argc, char** argv) {
  const Setup setup{.stale_loads = 1};
  add<TakenDown<1, 0>>("one life", How::exhausted, setup);
  add<TakenDown<2, 0>>("two lives", How::sampled, setup);
  add<TakenDown<1, 1>>("given up", How::exhausted, setup);
  add<TakenDown<6, 2>>("six lives", How::sampled, setup);
  add<Parked<2, 3>>("parked", How::exhausted, setup);
  add<Parked<4, 8>>("parked, four lives", How::sampled, setup);
  return cases::main(argc, argv);
}
