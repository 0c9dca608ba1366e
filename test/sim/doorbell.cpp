// Two producers, the line they ring, and a shard that looks only where it is told to and sleeps on
// the line: the whole way of an element, as a shard goes it.
#include "vanity/doorbell.hpp"

#include "cases.hpp"
#include "platform/wait.hpp"
#include "rings.hpp"

namespace {

using namespace cases;
using vanity::Backend;
using vanity::Layout;

constexpr vanity::WaitTuning kNoSpin{.spin_ticks_max = 0, .sleep_ticks_max = UINT64_MAX};

// kChannels above 32: the producers share a byte, and a bit of it; the other channels are one that
// stays empty. kBackend spin: the shard looks again and again.
template <Backend kBackend, uint32_t kChannels, uint32_t kEach>
struct TwoProducers {
  static constexpr const char* kThreads[] = {"producer 0", "producer 1", "shard"};
  using Inputs = vanity::BasicInputs<Policy>;

  Ring<2, Layout::bulk> rings[2];
  Ring<2, Layout::bulk> empty;
  vanity::BasicDoorbell<Policy> line;
  vanity::BasicSleeper<Policy> sleeper;
  vanity::BasicConsumer<Policy> consumers[kChannels];
  Inputs inputs;
  uint32_t received[2] = {0, 0};

  TwoProducers() {
    World& world = World::current();
    world.name(rings[1].channel.memory(), sizeof rings[1].memory, "other ring");
    world.name_atomic(&line.bytes[0], 1, "bell 0");
    if (kChannels <= 32) world.name_atomic(&line.bytes[1], 1, "bell 1");
    world.name_atomic(&sleeper.sleeping, 4, "sleeping");
    for (uint32_t i = 0; i < kChannels; ++i)
      consumers[i] = i < 2 ? rings[i].consumer : empty.consumer;
    inputs = Inputs(consumers, kChannels, vanity::Strategy::doorbell, &line);
    (void)inputs.next();  // it looks at each once in any case; so it has
    world.watch(2, [](const void* object) {
      const auto& self = *static_cast<const TwoProducers*>(object);
      for (uint32_t i = 0; i < 2; ++i)
        if (self.rings[i].channel.memory()->tail.peek() - kFirst != self.received[i]) return true;
      return false;
    });
  }

  void produce(uint32_t thread) {
    const vanity::BasicBell<Policy> bell(&line, thread, kChannels);
    for (uint32_t number = 0; number < kEach;) {
      const auto slots = rings[thread].producer.claim(1);
      if (!slots) {
        World::current().pause();
        continue;
      }
      put_word(slots[0], number++);
      const Promise promise(2);
      rings[thread].producer.commit(1);
      bell.ring();
      vanity::signal(sleeper);
    }
  }
  void thread(uint32_t thread) {
    if (thread < 2) {
      produce(thread);
      return;
    }
    vanity::BasicWaiter<Policy> waiter(kBackend, kNoSpin, &sleeper);
    while (received[0] + received[1] < 2 * kEach) {
      const uint32_t input = inputs.next();
      if (input != Inputs::kNoInput) {
        require(input < 2, "an input that has nothing");
        const auto slots = consumers[input].peek(1);
        require(slots.count == 1, "an input that has nothing");
        require(get_word(slots[0]) == received[input], "an element is lost, twice or out of order");
        ++received[input];
        consumers[input].release(1);
      } else if (kBackend == Backend::spin) {
        if (!inputs.anything()) World::current().pause();
      } else {
        waiter.idle(
            inputs.watch(), [&] { return inputs.anything(); }, UINT64_MAX);
      }
    }
  }
  void finish() {}
};

}  // namespace

int main(int argc, char** argv) {
  const Setup setup{.stale_loads = 1};
  Setup fences = setup;
  fences.membarrier = false;
  add<TwoProducers<Backend::spin, 2, 1>>("own bytes, looking", How::exhausted, setup);
  add<TwoProducers<Backend::spin, 34, 1>>("a shared bit, looking", How::exhausted, setup);
  add<TwoProducers<Backend::futex, 2, 1>>("own bytes, futex", How::exhausted, setup);
  add<TwoProducers<Backend::futex, 2, 1>>("own bytes, futex, fences", How::exhausted, fences);
  add<TwoProducers<Backend::waitpkg, 2, 1>>("own bytes, monitor", How::exhausted, setup);
  add<TwoProducers<Backend::waitpkg, 34, 1>>("a shared bit, monitor", How::exhausted, setup);
  add<TwoProducers<Backend::futex, 2, 6>>("own bytes, futex, longer", How::sampled, setup);
  add<TwoProducers<Backend::futex, 34, 6>>("a shared bit, futex, longer", How::sampled, setup);
  add<TwoProducers<Backend::waitpkg, 34, 6>>("a shared bit, monitor, longer", How::sampled, setup);
  return cases::main(argc, argv);
}
