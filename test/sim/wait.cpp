// How a shard sleeps on one channel: BasicWaiter, signal() and the channel's own word, with each
// kind of wait, with membarrier and without, with waits that return for nothing or by their
// deadline.
#include "platform/wait.hpp"

#include "cases.hpp"
#include "rings.hpp"

namespace {

using namespace cases;
using vanity::Backend;
using vanity::Layout;

constexpr vanity::WaitTuning kNoSpin{.spin_ticks_max = 0, .sleep_ticks_max = UINT64_MAX};

template <Backend kBackend, uint32_t kCount, bool kDated = false>
struct OneInput {
  static constexpr const char* kThreads[] = {"producer", "consumer"};
  Ring<2, Layout::bulk> ring;
  vanity::BasicSleeper<Policy> sleeper;
  uint32_t received = 0;

  OneInput() {
    World::current().name_atomic(&sleeper.sleeping, 4, "sleeping");
    World::current().watch(1, [](const void* object) {
      const auto& self = *static_cast<const OneInput*>(object);
      return self.ring.channel.memory()->tail.peek() - kFirst != self.received;
    });
  }

  void thread(uint32_t thread) {
    if (thread == 0) {
      for (uint32_t number = 0; number < kCount;) {
        const auto slots = ring.producer.claim(1);
        if (!slots) {
          World::current().pause();
          continue;
        }
        put_word(slots[0], number++);
        const Promise promise(1);
        ring.producer.commit(1);
        vanity::signal(sleeper);
      }
      return;
    }
    vanity::BasicWaiter<Policy> waiter(kBackend, kNoSpin, &sleeper);
    while (received < kCount) {
      const auto slots = ring.consumer.peek(1);
      if (!slots) {
        const auto ready = [&] {
          const bool woken = waiter.counters().waits != 0;
          const bool found = ring.consumer.ready();
          // Of a single element there is a single signal.
          require(found || !woken || kCount > 1 || World::current().setup().early_returns != 0,
                  "woken, and what its waker had published is not there");
          return found;
        };
        if constexpr (kDated) {
          waiter.idle(ring.consumer.watch(), ready, UINT64_MAX, [](uint64_t) { return true; });
        } else {
          waiter.idle(ring.consumer.watch(), ready, UINT64_MAX);
        }
        continue;
      }
      require(get_word(slots[0]) == received, "an element is lost, twice or out of order");
      ++received;
      ring.consumer.release(1);
    }
    require(waiter.counters().late == 0, "a wake is called late that was not", Verdict::broken);
    const auto& counts = waiter.counters();
    require(counts.waits == counts.signalled + counts.deadline + counts.os_limit + counts.spurious,
            "waits and their ends do not add up", Verdict::broken);
  }
  void finish() {}
};

}  // namespace

int main(int argc, char** argv) {
  const Setup one{.stale_loads = 1};
  Setup fences = one;
  fences.membarrier = false;
  Setup early = one;
  early.early_returns = 1;
  early.refusals = 1;
  Setup early_fences = early;
  early_fences.membarrier = false;
  add<OneInput<Backend::futex, 1>>("futex, one element", How::exhausted, one);
  add<OneInput<Backend::futex, 2>>("futex", How::exhausted, one);
  add<OneInput<Backend::futex, 2>>("futex, fences on both sides", How::exhausted, fences);
  add<OneInput<Backend::waitpkg, 2>>("monitor", How::exhausted, one);
  add<OneInput<Backend::futex, 2>>("futex, early returns, fences", How::exhausted, early_fences);
  add<OneInput<Backend::futex, 1, true>>("futex, early returns, dated", How::exhausted, early);
  add<OneInput<Backend::waitpkg, 2>>("monitor, early returns", How::exhausted, early);
  add<OneInput<Backend::futex, 12>>("futex, longer", How::sampled, early);
  add<OneInput<Backend::waitpkg, 12>>("monitor, longer", How::sampled, early);
  return cases::main(argc, argv);
}
