// Channels of two slots whose indices start just below 2^32: every phase of the ring and the wrap
// of the index in a few elements.
#include "cases.hpp"
#include "rings.hpp"

namespace {

using namespace cases;
using vanity::Layout;

// Elements one at a time, or as many as there is room for, until all are through.
template <uint32_t kCapacity, Layout kLayout, uint32_t kCount, uint32_t kBurst>
struct Stream {
  static constexpr const char* kThreads[] = {"producer", "consumer"};
  Ring<kCapacity, kLayout> ring;
  uint32_t received = 0;

  void thread(uint32_t thread) {
    if (thread == 0) {
      for (uint32_t number = 0; number < kCount;) {
        const auto slots = ring.producer.claim(std::min(kBurst, kCount - number));
        if (!slots) {
          World::current().pause();
          continue;
        }
        for (uint32_t i = 0; i < slots.count; ++i) element(slots[i]).put(number++);
        ring.producer.commit(slots.count);
      }
      return;
    }
    while (received < kCount) {
      const auto slots = ring.consumer.peek(kBurst);
      if (!slots) {
        World::current().pause();
        continue;
      }
      for (uint32_t i = 0; i < slots.count; ++i)
        require(element(slots[i]).get() == received++, "an element is lost, twice or out of order");
      ring.consumer.release(slots.count);
    }
  }
  void finish() {
    require(!ring.consumer.ready() && ring.consumer.depth_now() == 0,
            "an element that nobody sent");
    require(ring.producer.depth_now() == 0, "a slot that was not given back");
  }
};

// Attempts that may come in vain: what a producer finds full and a consumer empty.
template <Layout kLayout, uint32_t kAttempts>
struct Attempts {
  static constexpr const char* kThreads[] = {"producer", "consumer"};
  Ring<2, kLayout> ring;
  uint32_t sent = 0;
  uint32_t received = 0;

  void thread(uint32_t thread) {
    for (uint32_t i = 0; i < kAttempts; ++i) {
      if (thread == 0) {
        const auto slots = ring.producer.claim(1);
        if (!slots) continue;
        element(slots[0]).put(sent++);
        ring.producer.commit(1);
      } else {
        const auto slots = ring.consumer.peek(2);
        for (uint32_t k = 0; k < slots.count; ++k)
          require(element(slots[k]).get() == received++,
                  "an element is lost, twice or out of order");
        if (slots) ring.consumer.release(slots.count);
      }
    }
  }
  void finish() {
    require(sent >= std::min(2u, kAttempts), "an empty channel said that it was full");
    require(ring.consumer.depth_now() == sent - received, "elements lost");
    require(ring.producer.depth_now() <= 2, "deeper than it is");
  }
};

}  // namespace

int main(int argc, char** argv) {
  constexpr Layout kBulk = Layout::bulk;
  constexpr Layout kLatency = Layout::latency;
  const Setup setup{.stale_loads = 1};
  add<Stream<2, kBulk, 5, 1>>("bulk stream", How::exhausted, setup);
  add<Stream<2, kLatency, 5, 1>>("latency stream", How::exhausted, setup);
  add<Stream<2, kBulk, 7, 2>>("bulk bursts", How::exhausted, setup);
  add<Stream<2, kLatency, 5, 2>>("latency bursts", How::exhausted, setup);
  add<Attempts<kBulk, 5>>("bulk attempts", How::exhausted, setup);
  add<Attempts<kLatency, 5>>("latency attempts", How::exhausted, setup);
  add<Stream<4, kBulk, 40, 3>>("long bulk bursts", How::sampled, setup);
  add<Stream<4, kLatency, 40, 3>>("long latency bursts", How::sampled, setup);
  return cases::main(argc, argv);
}
