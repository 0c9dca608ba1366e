// BasicProducer, BasicConsumer, BasicDoorbell and BasicInputs, as they ship, under Relacy. Elements
// are rl::var, so that reading one without the edge that carries it is a race. Every mutant weakens
// one operation, and must be found.
#include <fstream>
#include <memory>

#include "platform/wait.hpp"
#include "vanity/channel.hpp"
#include "vanity/doorbell.hpp"
// after the headers under test
#include "policy.hpp"

using vanity::Edge;
using vanity::Layout;

namespace {

// What a mutant does wrong.
enum class Wrong {
  nothing,
  publish_tail,  // relaxed
  observe_tail,
  publish_head,
  observe_head,
  publish_slot,
  observe_slot,
  publish_bell,
  take_bell,
  share_by_store,  // a plain store where producers share a byte
  clear_after,     // clears the mark without having read it
};

template <Wrong kWrong>
struct Weak : model::Policy<model::Without::nothing> {
  static std::memory_order unless(bool wrong, std::memory_order order) {
    return wrong ? std::memory_order(0) : order;
  }
  template <Edge, class T>
  static T own(const Atomic<T>& word) {
    return word.load(std::memory_order(0));
  }
  template <Edge kEdge, class T>
  static void publish(Atomic<T>& word, T value) {
    constexpr bool kWeak = (kWrong == Wrong::publish_tail && kEdge == Edge::tail) ||
                           (kWrong == Wrong::publish_head && kEdge == Edge::head) ||
                           (kWrong == Wrong::publish_slot && kEdge == Edge::slot) ||
                           (kWrong == Wrong::publish_bell && kEdge == Edge::bell);
    word.store(value, unless(kWeak, std::memory_order(3)));
  }
  template <Edge kEdge, class T>
  static T observe(const Atomic<T>& word) {
    constexpr bool kWeak = (kWrong == Wrong::observe_tail && kEdge == Edge::tail) ||
                           (kWrong == Wrong::observe_head && kEdge == Edge::head) ||
                           (kWrong == Wrong::observe_slot && kEdge == Edge::slot);
    return word.load(unless(kWeak, std::memory_order(2)));
  }
  template <Edge, class T>
  static void publish_bits(Atomic<T>& word, T bits) {
    if (kWrong == Wrong::share_by_store)
      word.store(bits, std::memory_order(3));
    else
      word.fetch_or(bits, std::memory_order(3));
  }
  template <Edge, class T>
  static T take(Atomic<T>& word, T value) {
    if (kWrong == Wrong::clear_after) {
      const T held = word.load(std::memory_order(2));
      word.store(value, std::memory_order(0));
      return held;
    }
    return word.exchange(value, unless(kWrong == Wrong::take_bell, std::memory_order(4)));
  }
  static void prefetch_write(const void*) {}
  static void prefetch_read(const void*) {}
};

using Element = rl::var<int>;
constexpr uint32_t kElementBytes = (sizeof(Element) + 7) / 8 * 8;

// A channel of two slots whose elements Relacy watches. Its indices start at 2^32 - 1.
template <class Policy>
struct Ring {
  static constexpr vanity::ChannelSpec kSpec(Layout layout) { return {2, kElementBytes, layout}; }
  using Channel = vanity::BasicChannel<Policy>;
  using Memory = vanity::ChannelLayout<Policy>;

  explicit Ring(Layout layout) : layout_(layout) {
    auto at = reinterpret_cast<uintptr_t>(bytes_);
    at = (at + vanity::kIsolationBytes - 1) / vanity::kIsolationBytes * vanity::kIsolationBytes;
    channel = Channel::create(reinterpret_cast<void*>(at), kSpec(layout), 0xffffffffu);
    RL_ASSERT(channel);
    for (uint32_t i = 0; i < 2; ++i) std::construct_at(slot(i));
    producer = channel.producer();
    consumer = channel.consumer();
  }
  ~Ring() {
    for (uint32_t i = 0; i < 2; ++i) std::destroy_at(slot(i));
    if (layout_ == Layout::latency)
      for (uint32_t i = 0; i < 2; ++i) std::destroy_at(&channel.memory()->sequence(i));
    std::destroy_at(channel.memory());
  }
  Element* slot(uint32_t i) {
    return reinterpret_cast<Element*>(channel.memory()->slots() +
                                      size_t{i} * channel.memory()->slot_bytes);
  }

  bool send(int value) {
    const auto slots = producer.claim(1);
    if (!slots) return false;
    slots.template at<Element>(0)($) = value;
    producer.commit(1);
    return true;
  }
  // Everything that is there; each element is the next number.
  int receive(int expected) {
    const auto slots = consumer.peek(2);
    for (uint32_t i = 0; i < slots.count; ++i)
      RL_ASSERT(const_cast<Element&>(slots.template at<Element>(i))($) == expected + int(i));
    if (slots) consumer.release(slots.count);
    return int(slots.count);
  }

  Channel channel;
  vanity::BasicProducer<Policy> producer;
  vanity::BasicConsumer<Policy> consumer;

 private:
  Layout layout_;
  char bytes_[sizeof(Memory) + 2 * 2048 + 256];
};

// As many attempts as kAttempts on each side: small enough to try every interleaving and every
// value that a load may return.
template <Layout kLayout, Wrong kWrong, int kAttempts>
struct Attempts : rl::test_suite<Attempts<kLayout, kWrong, kAttempts>, 2> {
  Ring<Weak<kWrong>> ring{kLayout};
  void thread(unsigned index) {
    int number = 0;
    for (int i = 0; i < kAttempts; ++i)
      number += index == 0 ? int(ring.send(number)) : ring.receive(number);
  }
};

// Until five elements are through: the ring is full and empty at every phase of its wrap.
template <Layout kLayout, Wrong kWrong>
struct Stream : rl::test_suite<Stream<kLayout, kWrong>, 2> {
  static constexpr int kCount = 5;
  Ring<Weak<kWrong>> ring{kLayout};
  void thread(unsigned index) {
    rl::linear_backoff backoff;
    for (int number = 0; number < kCount;) {
      const int moved = index == 0 ? int(ring.send(number)) : ring.receive(number);
      number += moved;
      if (moved == 0) backoff.yield($);
    }
  }
};

// Two producers, a doorbell and a shard that looks only where it is told to. A lost mark is a
// livelock. kChannels above 32: both producers share a byte, and a bit of it; the other channels
// are one empty ring.
template <uint32_t kChannels, Wrong kWrong>
struct Marks : rl::test_suite<Marks<kChannels, kWrong>, 3> {
  using Policy = Weak<kWrong>;
  static constexpr int kEach = kChannels > 32 ? 1 : 2;
  Ring<Policy> rings[2] = {Ring<Policy>{Layout::bulk}, Ring<Policy>{Layout::bulk}};
  Ring<Policy> empty{Layout::bulk};
  vanity::BasicDoorbell<Policy> line;

  void thread(unsigned index) {
    rl::linear_backoff backoff;
    if (index < 2) {
      const vanity::BasicBell<Policy> bell(&line, index, kChannels);
      for (int number = 0; number < kEach;) {
        if (!rings[index].send(number)) {
          backoff.yield($);
          continue;
        }
        ++number;
        bell.ring();
      }
      return;
    }
    vanity::BasicConsumer<Policy> consumers[kChannels];
    for (uint32_t i = 0; i < kChannels; ++i)
      consumers[i] = i < 2 ? rings[i].consumer : empty.consumer;
    vanity::BasicInputs<Policy> inputs(consumers, kChannels, vanity::Strategy::doorbell, &line);
    int numbers[2] = {0, 0};
    while (numbers[0] + numbers[1] < 2 * kEach) {
      const uint32_t input = inputs.next();
      if (input == inputs.kNoInput) {
        backoff.yield($);
        continue;
      }
      RL_ASSERT(input < 2);
      const auto slots = consumers[input].peek(1);
      RL_ASSERT(slots.count == 1);
      RL_ASSERT(const_cast<Element&>(slots.template at<Element>(0))($) == numbers[input]);
      ++numbers[input];
      consumers[input].release(1);
    }
  }
};

}  // namespace

int main() {
  using model::expect;
  constexpr auto kFull = rl::sched_full;
  constexpr auto kRandom = rl::sched_random;
  constexpr unsigned kAll = 3'000'000;
  constexpr unsigned kMany = 100'000;
  constexpr Layout kBulk = Layout::bulk;
  constexpr Layout kLatency = Layout::latency;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);

  expect<Attempts<kBulk, Wrong::nothing, 3>>("bulk ring, every execution", true, kFull, kAll);
  expect<Attempts<kLatency, Wrong::nothing, 3>>("latency ring, every execution", true, kFull, kAll);
  expect<Stream<kBulk, Wrong::nothing>>("bulk ring, random", true, kRandom, kMany);
  expect<Stream<kLatency, Wrong::nothing>>("latency ring, random", true, kRandom, kMany);
  expect<Stream<kBulk, Wrong::publish_tail>>("bulk, tail published relaxed", false, kRandom, kMany);
  expect<Stream<kBulk, Wrong::observe_tail>>("bulk, tail observed relaxed", false, kRandom, kMany);
  expect<Stream<kBulk, Wrong::publish_head>>("bulk, head published relaxed", false, kRandom, kMany);
  expect<Stream<kBulk, Wrong::observe_head>>("bulk, head observed relaxed", false, kRandom, kMany);
  expect<Stream<kLatency, Wrong::publish_slot>>("latency, slot published relaxed", false, kRandom,
                                                kMany);
  expect<Stream<kLatency, Wrong::observe_slot>>("latency, slot observed relaxed", false, kRandom,
                                                kMany);
  expect<Stream<kLatency, Wrong::publish_head>>("latency, head published relaxed", false, kRandom,
                                                kMany);
  expect<Stream<kLatency, Wrong::observe_head>>("latency, head observed relaxed", false, kRandom,
                                                kMany);

  expect<Marks<2, Wrong::nothing>>("doorbell, own bytes", true, kRandom, kMany);
  expect<Marks<2, Wrong::publish_bell>>("own bytes, mark published relaxed", false, kRandom, kMany);
  expect<Marks<2, Wrong::take_bell>>("own bytes, mark taken relaxed", false, kRandom, kMany);
  expect<Marks<2, Wrong::clear_after>>("own bytes, mark cleared after the look", false, kRandom,
                                       kMany);
  expect<Marks<33, Wrong::nothing>>("doorbell, a shared bit", true, kRandom, kMany);
  expect<Marks<33, Wrong::share_by_store>>("a shared bit by plain stores", false, kRandom, kMany);
  std::printf("%d passed, %d failed\n", model::passed, model::failed);
  return model::failed == 0 ? 0 : 1;
}
