// Doorbells: marks, who gets them, and that none is ever lost.
#include "vanity/doorbell.hpp"

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "check.hpp"

using namespace vanity;

namespace {

// N channels into one shard, as the kernel would lay them out.
struct Shard {
  Shard(uint32_t count, Strategy strategy, uint32_t primary = 0, Layout layout = Layout::bulk,
        uint32_t capacity = 8) {
    const ChannelSpec spec{capacity, 8, layout};
    const size_t stride = Channel::bytes_needed(spec);
    memory = static_cast<std::byte*>(::operator new (stride* count, std::align_val_t{128}));
    producers.resize(count);
    consumers.resize(count);
    bells.resize(count);
    for (uint32_t i = 0; i < count; ++i) {
      const Channel channel = Channel::create(memory + stride * i, spec, 0u - 3);
      producers[i] = channel.producer();
      consumers[i] = channel.consumer();
      if (Inputs::needs_bell(count, strategy)) bells[i] = Bell(&line, i, count);
    }
    inputs = Inputs(consumers.data(), count, strategy, &line, primary);
  }
  ~Shard() { ::operator delete (memory, std::align_val_t{128}); }
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  bool send(uint32_t channel, uint64_t value) {
    if (!producers[channel].send_one(value)) return false;
    bells[channel].ring();
    return true;
  }
  uint64_t receive(uint32_t channel) {
    uint64_t value = ~uint64_t{0};
    CHECK(consumers[channel].receive_one(value));
    return value;
  }

  Doorbell line;
  std::byte* memory;
  std::vector<Producer> producers;
  std::vector<Consumer> consumers;
  std::vector<Bell> bells;
  Inputs inputs;
};

constexpr Strategy kStrategies[] = {Strategy::doorbell, Strategy::rotate, Strategy::primary};
constexpr uint32_t kCounts[] = {1, 2, 16, 31, 32, 33, 48, 63, 64, 65, 200, 511, 512};

}  // namespace

TEST(every_byte_is_its_own_bit) {
  Doorbell line;
  CHECK(!line.any());
  for (uint32_t byte = 0; byte < 64; ++byte) {
    line.ring(byte);
    CHECK_EQ(line.marks(), uint64_t{1} << byte);
    CHECK(line.take(byte));
    CHECK(!line.take(byte));
    CHECK(!line.any());
  }
  for (uint32_t byte = 0; byte < 64; ++byte) line.ring_bits(byte, 0x80);
  CHECK_EQ(line.marks(), ~uint64_t{0});
  line.ring_bits(3, 0x01);
  CHECK_EQ(uint32_t{line.take(3)}, 0x81u);
}

TEST(channels_map_to_bytes) {
  CHECK_EQ(Doorbell::byte_of(0, 1), 0u);
  CHECK_EQ(Doorbell::byte_of(31, 32), 31u);
  CHECK_EQ(Doorbell::byte_of(31, 33), 1u);
  CHECK_EQ(Doorbell::byte_of(32, 33), 2u);
  CHECK_EQ(Doorbell::byte_of(511, 512), 31u);
  CHECK_EQ(uint32_t{Doorbell::bit_of(16)}, 0x01u);
  CHECK_EQ(uint32_t{Doorbell::bit_of(17)}, 0x01u);
  CHECK_EQ(uint32_t{Doorbell::bit_of(511)}, 0x80u);
}

TEST(each_channel_is_found_alone_and_once) {
  for (const Strategy strategy : kStrategies)
    for (const uint32_t count : kCounts) {
      Shard shard(count, strategy, count / 2);
      CHECK_EQ(shard.inputs.next(), Inputs::kNoInput);
      CHECK(!shard.inputs.anything());
      for (uint32_t i = 0; i < count; ++i) {
        CHECK(shard.send(i, i));
        CHECK(shard.inputs.anything());
        CHECK_EQ(shard.inputs.next(), i);
        CHECK_EQ(shard.receive(i), uint64_t{i});
        CHECK_EQ(shard.inputs.next(), Inputs::kNoInput);
        CHECK(!shard.inputs.anything());
      }
    }
}

TEST(all_channels_get_their_turn) {
  for (const Strategy strategy : kStrategies)
    for (const uint32_t count : kCounts) {
      Shard shard(count, strategy);
      for (uint32_t i = 0; i < count; ++i)
        for (uint64_t k = 0; k < 4; ++k) CHECK(shard.send(i, k));
      // One element a turn: nobody is served a fifth time before everybody was served once (primary
      // may come between any two).
      std::set<uint32_t> served;
      for (uint32_t turn = 0; turn < (strategy == Strategy::primary ? 2 * count : count); ++turn) {
        const uint32_t input = shard.inputs.next();
        CHECK(input < count);
        (void)shard.receive(input);
        CHECK(shard.send(input, 9));
        served.insert(input);
      }
      CHECK_EQ(served.size(), size_t{count});
    }
}

TEST(what_a_burst_leaves_behind_is_found_without_another_mark) {
  for (const uint32_t count : kCounts) {
    Shard shard(count, Strategy::doorbell);
    const uint32_t last = count - 1;
    for (uint64_t k = 0; k < 5; ++k) CHECK(shard.send(last, k));
    for (uint64_t k = 0; k < 5; ++k) {
      CHECK(shard.inputs.anything());
      CHECK_EQ(shard.inputs.next(), last);
      CHECK_EQ(shard.receive(last), k);
    }
    CHECK_EQ(shard.inputs.next(), Inputs::kNoInput);
  }
}

TEST(a_mark_taken_while_old_elements_are_known_covers_the_new_ones) {
  // The consumer knows of one element when the mark for a second arrives and is taken.
  Shard shard(2, Strategy::doorbell);
  CHECK(shard.send(0, 1));
  CHECK_EQ(shard.inputs.next(), 0u);  // tail seen: 1
  CHECK(shard.send(0, 2));
  CHECK(shard.send(1, 3));
  CHECK_EQ(shard.inputs.next(), 1u);  // takes both marks on its way
  CHECK_EQ(shard.receive(1), 3u);
  CHECK_EQ(shard.inputs.next(), 0u);
  CHECK_EQ(shard.receive(0), 1u);
  CHECK_EQ(shard.inputs.next(), 0u);
  CHECK_EQ(shard.receive(0), 2u);
}

TEST(elements_from_before_the_bell_was_hung_are_found) {
  Shard shard(3, Strategy::doorbell);
  CHECK(shard.producers[2].send_one(uint64_t{7}));  // no mark
  Inputs late(shard.consumers.data(), 3, Strategy::doorbell, &shard.line);
  CHECK_EQ(late.next(), 2u);
}

TEST(control_bytes_wake_but_name_no_channel) {
  Shard shard(2, Strategy::doorbell);
  shard.line.ring(Doorbell::kControlKernel);
  CHECK(shard.inputs.anything());
  CHECK_EQ(shard.inputs.next(), Inputs::kNoInput);
  CHECK(shard.inputs.anything());  // still there: it is not for the channels to take
  CHECK(shard.line.take(Doorbell::kControlKernel));
  CHECK(!shard.inputs.anything());
}

TEST(what_to_watch) {
  for (const uint32_t count : {1u, 2u, 40u}) {
    Shard bell(count, Strategy::doorbell);
    if (count == 1)
      CHECK(bell.inputs.watch() == static_cast<const void*>(bell.consumers[0].watch()));
    else
      CHECK(bell.inputs.watch() == static_cast<const void*>(&bell.line));
    Shard rotate(count, Strategy::rotate);
    CHECK_EQ(rotate.inputs.watched(), count - 1);
    Shard primary(count, Strategy::primary, count / 2);
    CHECK_EQ(primary.inputs.watched(), count / 2);
    CHECK(primary.inputs.watch() == static_cast<const void*>(primary.consumers[count / 2].watch()));
  }
}

TEST(no_mark_is_lost_between_threads) {
  // Each producer sends only when its last element came back, so a lost mark stops the test.
  for (const uint32_t count : {2u, 32u, 33u, 512u})
    for (const Layout layout : {Layout::bulk, Layout::latency}) {
      Shard shard(count, Strategy::doorbell, 0, layout, 2);
      constexpr uint64_t kRounds = 6000;
      std::atomic<uint64_t> received{0};
      // Two producer threads share every group between them: even channels and odd ones.
      std::atomic<bool> stop{false};
      const auto produce = [&](uint32_t parity) {
        uint64_t sent = 0;
        for (uint32_t i = parity; sent < kRounds; i += 2) {
          if (i >= count) i = parity;
          while (!shard.send(i, sent) && !stop.load()) std::this_thread::yield();
          if (stop.load()) return;
          ++sent;
        }
      };
      std::thread even(produce, 0);
      std::thread odd(produce, 1);
      uint64_t idle = 0;
      while (received.load() < 2 * kRounds && idle < 20'000'000) {
        const uint32_t input = shard.inputs.next();
        if (input == Inputs::kNoInput) {
          ++idle;
          if (idle % 16 == 0) std::this_thread::yield();
          continue;
        }
        idle = 0;
        (void)shard.receive(input);
        received.fetch_add(1);
      }
      stop.store(true);
      even.join();
      odd.join();
      CHECK_EQ(received.load(), 2 * kRounds);
    }
}
