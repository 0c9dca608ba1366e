// What is wrong on purpose, for the test of what a failure gives.
#include "cases.hpp"
#include "platform/wait.hpp"
#include "rings.hpp"

namespace {

using namespace cases;

constexpr vanity::WaitTuning kNoSpin{.spin_ticks_max = 0, .sleep_ticks_max = UINT64_MAX};

// Signals before it publishes.
struct TooEarly {
  static constexpr const char* kThreads[] = {"producer", "consumer"};
  Ring<2, vanity::Layout::bulk> ring;
  vanity::BasicSleeper<Policy> sleeper;
  uint32_t received = 0;

  TooEarly() {
    World::current().name_atomic(&sleeper.sleeping, 4, "sleeping");
    World::current().watch(1, [](const void* object) {
      const auto& self = *static_cast<const TooEarly*>(object);
      return self.ring.channel.memory()->tail.peek() - kFirst != self.received;
    });
  }
  void thread(uint32_t thread) {
    if (thread == 0) {
      for (uint32_t i = 0; i < 20; ++i) {
        auto slots = ring.producer.claim(1);
        for (; !slots; slots = ring.producer.claim(1)) World::current().pause();
        element(slots[0]).put(i);
        const Promise promise(1);
        vanity::signal(sleeper);
        ring.producer.commit(1);
      }
      return;
    }
    vanity::BasicWaiter<Policy> waiter(vanity::Backend::futex, kNoSpin, &sleeper);
    while (received < 20) {
      const auto slots = ring.consumer.peek(1);
      if (!slots) {
        waiter.idle(
            ring.consumer.watch(), [&] { return ring.consumer.ready(); }, UINT64_MAX);
        continue;
      }
      ++received;
      ring.consumer.release(1);
    }
  }
  void finish() {}
};

}  // namespace

int main(int argc, char** argv) {
  add<TooEarly>("signals too early", How::sampled, {});
  return cases::main(argc, argv);
}
