// A device between two programs that work it one after the other, BasicRelay: the one has ended,
// the kernel stops the device, the other begins, and the kernel lets it go on. What the shard tells
// the device and what the device writes is plain memory; each value is the number of the wish it
// goes with.
#include "shard/relay.hpp"

#include "cases.hpp"

namespace {

using namespace cases;

// kStillborn: the second program does not get through its init, so the device is left once more.
// kKilled: the first one ends before the kernel has heard that the device may go on.
template <uint32_t kLives, bool kStillborn, bool kKilled>
struct Worked {
  static constexpr const char* kThreads[] = {"kernel", "shard"};
  vanity::BasicRelayWords<Policy> words;
  vanity::BasicRelay<Policy> relay{&words};
  alignas(64) Atomic<uint32_t> over{0};
  alignas(64) uint64_t told = 1;  // by the program, for the device
  uint64_t done = 0;              // by the program that ends
  alignas(64) uint64_t memory = 0;
  uint64_t number = 1;  // of the shard's last wish
  uint32_t ran = 0;

  Worked() {
    World& world = World::current();
    world.name_atomic(&words.wish, 4, "wish");
    world.name_atomic(&words.done, 4, "done");
    world.name_atomic(&over, 4, "over");
    world.name(&told, 8, "told");
    world.name(&done, 8, "done by the program");
    world.name(&memory, 8, "memory");
  }

  void kernel() {
    World& world = World::current();
    bool runs = true;
    while (over.load(std::memory_order_acquire) == 0) {
      uint32_t wish;
      if (relay.wish(&wish)) {
        runs = relay.to_run(wish);
        if (runs) {
          require(world.read(&told) == wish, "the device goes on with what another told it");
          ++ran;
        } else {
          require(world.read(&done) == wish, "the device is stopped before its program has ended");
          world.write(&memory, wish);  // the last that it had sent
        }
        relay.answer(wish);
      }
      if (runs) world.write(&memory, 1);
      world.pause();
    }
  }
  void wait() {
    while (!relay.answered()) World::current().pause();
  }
  void leave() {
    number = (number | 1) + 1;
    World::current().write(&done, number);
    relay.leave();
    wait();
  }
  void shard() {
    World& world = World::current();
    for (uint32_t life = 0; life < kLives; ++life) {
      leave();
      if (kStillborn && life == 1) leave();
      require(world.read(&memory) == number, "what the device wrote is not there");
      world.write(&memory, 0);
      number |= 1;
      world.write(&told, number);
      require(world.read(&memory) == 0, "a device that stands still writes");
      relay.begin();
      if (!kKilled || life != 0) wait();
    }
    over.store(1, std::memory_order_release);
  }
  void thread(uint32_t thread) { thread == 0 ? kernel() : shard(); }
  void finish() { require(ran + (kKilled ? 1 : 0) >= kLives, "the device does not go on"); }
};

}  // namespace

int main(int argc, char** argv) {
  const Setup setup{.stale_loads = 1};
  add<Worked<1, false, false>>("one program after another", How::exhausted, setup);
  add<Worked<2, true, false>>("one does not begin", How::sampled, setup);
  add<Worked<2, false, true>>("one ends at once", How::sampled, setup);
  add<Worked<4, true, true>>("four", How::sampled, setup);
  return cases::main(argc, argv);
}
