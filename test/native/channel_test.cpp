// Channels: every element size and both layouts, the ends of the ring, indices that wrap, limits.
#include "vanity/channel.hpp"

#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"

using namespace vanity;

namespace {

struct Aligned {
  explicit Aligned(size_t bytes)
      : at(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{kIsolationBytes}))) {}
  ~Aligned() { ::operator delete (at, std::align_val_t{kIsolationBytes}); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  std::byte* at;
};

// Exactly the bytes that the layout asks for, so that AddressSanitizer sees one past the end.
struct Ring {
  explicit Ring(ChannelSpec spec, uint32_t first = 0)
      : memory(Channel::bytes_needed(spec)), channel(Channel::create(memory.at, spec, first)) {
    producer = channel.producer();
    consumer = channel.consumer();
  }
  Aligned memory;
  Channel channel;
  Producer producer;
  Consumer consumer;
};

// An element of any size whose every word tells its number.
void write(std::byte* to, uint32_t bytes, uint64_t number) {
  for (uint32_t i = 0; i < bytes; i += 8) {
    const uint64_t word = number * 0x9e3779b97f4a7c15u + i;
    std::memcpy(to + i, &word, 8);
  }
}
bool holds(const std::byte* from, uint32_t bytes, uint64_t number) {
  for (uint32_t i = 0; i < bytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, from + i, 8);
    if (word != number * 0x9e3779b97f4a7c15u + i) return false;
  }
  return true;
}

constexpr uint32_t kSizes[] = {8, 16, 24, 32, 40, 56, 64, 72, 128, 1024, 2048, 65536};
constexpr Layout kLayouts[] = {Layout::bulk, Layout::latency};
constexpr uint32_t kStarts[] = {0, 0xfffffffdu};  // the second wraps after three elements

template <class Body>
void for_all(uint32_t capacity, Body body) {
  for (const Layout layout : kLayouts)
    for (const uint32_t bytes : kSizes)
      for (const uint32_t first : kStarts) {
        Ring ring({capacity, bytes, layout}, first);
        CHECK(ring.channel);
        body(ring, bytes);
      }
}

}  // namespace

TEST(empty_gives_nothing_and_full_takes_nothing) {
  for_all(4, [](Ring& ring, uint32_t bytes) {
    std::vector<std::byte> element(bytes);
    for (uint64_t lap = 0; lap < 5; ++lap) {
      CHECK(!ring.consumer.ready());
      CHECK(!ring.consumer.watch_fired());
      CHECK_EQ(ring.consumer.receive(element.data()), 0u);
      for (uint64_t i = 0; i < 4; ++i) {
        write(element.data(), bytes, lap * 4 + i);
        CHECK_EQ(ring.producer.send(element.data()), 1u);
      }
      CHECK_EQ(ring.producer.send(element.data()), 0u);
      CHECK_EQ(ring.producer.depth(), 4u);
      CHECK(ring.consumer.watch_fired());
      for (uint64_t i = 0; i < 4; ++i) {
        CHECK_EQ(ring.consumer.receive(element.data()), 1u);
        CHECK(holds(element.data(), bytes, lap * 4 + i));
      }
      CHECK_EQ(ring.producer.depth_now(), 0u);
    }
  });
}

TEST(full_at_both_ends_of_the_array) {
  // Filled to the last slot from every starting slot: the wrap falls at every place, twice over.
  for_all(8, [](Ring& ring, uint32_t bytes) {
    std::vector<std::byte> many(size_t{bytes} * 8);
    uint64_t in = 0;
    uint64_t out = 0;
    for (uint32_t lap = 0; lap < 20; ++lap) {
      for (uint64_t i = 0; i < 8; ++i) write(&many[i * bytes], bytes, in + i);
      CHECK_EQ(ring.producer.send(many.data(), 8), 8u);
      in += 8;
      CHECK_EQ(ring.producer.claim(1).count, 0u);
      CHECK_EQ(ring.consumer.receive(many.data(), 8), 8u);
      for (uint64_t i = 0; i < 8; ++i) CHECK(holds(&many[i * bytes], bytes, out + i));
      out += 8;
      CHECK_EQ(ring.consumer.peek(1).count, 0u);
      write(many.data(), bytes, in++);  // shift the next lap by one slot
      CHECK_EQ(ring.producer.send(many.data()), 1u);
      CHECK_EQ(ring.consumer.receive(many.data()), 1u);
      CHECK(holds(many.data(), bytes, out++));
    }
  });
}

TEST(claims_are_neighbours_and_short_at_the_end) {
  for_all(8, [](Ring& ring, uint32_t bytes) {
    (void)bytes;
    const uint32_t at = ring.channel.memory()->first & 7;
    CHECK_EQ(ring.producer.claim(100).count, 8 - at);
    const WritableSlots slots = ring.producer.claim(3);
    CHECK_EQ(slots.count, std::min(3u, 8 - at));
    ring.producer.commit(slots.count);
    CHECK_EQ(ring.consumer.peek(100).count, slots.count);
  });
}

TEST(a_claim_without_commit_is_nothing) {
  for_all(4, [](Ring& ring, uint32_t bytes) {
    write(ring.producer.claim(1)[0], bytes, 1);
    CHECK(!ring.consumer.ready());
    write(ring.producer.claim(1)[0], bytes, 2);
    ring.producer.commit(1);
    const ReadableSlots slots = ring.consumer.peek(4);
    CHECK_EQ(slots.count, 1u);
    CHECK(holds(slots[0], bytes, 2));
    CHECK_EQ(ring.consumer.peek(4).count, 1u);  // peek takes nothing
  });
}

TEST(slots_come_back_once_per_drain_or_quarter) {
  for (const Layout layout : kLayouts) {
    Ring ring({16, 8, layout});
    uint64_t many[16] = {};
    CHECK_EQ(ring.producer.send(many, 16), 16u);
    CHECK_EQ(ring.consumer.peek(16).count, 16u);
    ring.consumer.release(3);
    CHECK_EQ(ring.producer.depth_now(), 16u);
    ring.consumer.release(1);  // a quarter
    CHECK_EQ(ring.producer.depth_now(), 12u);
    ring.consumer.release(1);
    CHECK_EQ(ring.producer.depth_now(), 12u);
    ring.consumer.flush();
    CHECK_EQ(ring.producer.depth_now(), 11u);
    CHECK_EQ(ring.consumer.peek(16).count, 11u);
    ring.consumer.release(11);
    CHECK_EQ(ring.producer.depth_now(), 0u);
  }
}

TEST(depth_of_both_sides) {
  for_all(16, [](Ring& ring, uint32_t bytes) {
    std::vector<std::byte> element(bytes);
    for (uint32_t i = 1; i <= 16; ++i) {
      CHECK_EQ(ring.producer.send(element.data()), 1u);
      CHECK_EQ(ring.producer.depth(), i);
      CHECK_EQ(ring.consumer.depth_now(), i);
    }
    for (uint32_t i = 16; i-- > 0;) {
      CHECK_EQ(ring.consumer.receive(element.data()), 1u);
      CHECK_EQ(ring.consumer.depth_now(), i);
    }
  });
}

TEST(a_new_half_continues_where_the_old_one_stopped) {
  for_all(8, [](Ring& ring, uint32_t bytes) {
    std::vector<std::byte> element(bytes);
    for (uint64_t i = 0; i < 5; ++i) {
      write(element.data(), bytes, i);
      CHECK_EQ(ring.producer.send(element.data()), 1u);
    }
    CHECK_EQ(ring.consumer.receive(element.data()), 1u);
    ring.consumer.flush();
    const Channel again = Channel::attach(ring.memory.at);
    CHECK(again);
    Producer producer = again.producer();
    Consumer consumer = again.consumer();
    write(element.data(), bytes, 5);
    CHECK_EQ(producer.send(element.data()), 1u);
    CHECK_EQ(producer.depth_now(), 5u);
    for (uint64_t i = 1; i < 6; ++i) {
      CHECK_EQ(consumer.receive(element.data()), 1u);
      CHECK(holds(element.data(), bytes, i));
    }
    CHECK(!consumer.ready());
  });
}

TEST(typed_elements) {
  struct Point {
    double x, y;
  };
  for (const Layout layout : kLayouts) {
    Ring ring({2, sizeof(Point), layout});
    CHECK(ring.producer.send_one(Point{1, 2}));
    CHECK(ring.producer.send_one(Point{3, 4}));
    CHECK(!ring.producer.send_one(Point{5, 6}));
    CHECK_EQ(ring.consumer.peek(1).at<Point>(0).y, 2.0);
    Point point;
    CHECK(ring.consumer.receive_one(point));
    CHECK(ring.consumer.receive_one(point));
    CHECK_EQ(point.x, 3.0);
    CHECK(!ring.consumer.receive_one(point));
  }
}

TEST(random_bursts_against_a_deque) {
  std::mt19937 random(20260101);
  const auto below = [&random](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  for (uint32_t round = 0; round < 400; ++round) {
    const ChannelSpec spec{2u << below(6), (1 + below(20)) * 8, kLayouts[below(2)]};
    Ring ring(spec, below(2) == 0 ? 0u - below(200) : random());
    CHECK(ring.channel);
    std::deque<uint64_t> model;
    std::vector<std::byte> many(size_t{spec.element_bytes} * 100);
    uint64_t number = 0;
    for (uint32_t step = 0; step < 300; ++step) {
      const uint32_t n = 1 + below(below(4) == 0 ? 100 : 8);
      switch (below(4)) {
        case 0: {
          const WritableSlots slots = ring.producer.claim(n);
          CHECK(slots.count <= n);
          CHECK(slots.count + model.size() <= spec.capacity);
          const uint32_t used = below(slots.count + 1);
          for (uint32_t i = 0; i < used; ++i) {
            write(slots[i], spec.element_bytes, number);
            model.push_back(number++);
          }
          ring.producer.commit(used);
          break;
        }
        case 1: {
          for (uint32_t i = 0; i < n; ++i)
            write(&many[size_t{i} * spec.element_bytes], spec.element_bytes, number + i);
          const uint32_t sent = ring.producer.send(many.data(), n);
          const size_t room = spec.capacity - model.size();
          CHECK(sent <= room);  // slots that the consumer still holds count as used
          if (sent < n) CHECK(room - sent <= spec.capacity / 4);
          for (uint32_t i = 0; i < sent; ++i) model.push_back(number++);
          break;
        }
        case 2: {
          const ReadableSlots slots = ring.consumer.peek(n);
          CHECK((slots.count == 0) == model.empty());
          const uint32_t used = below(slots.count + 1);
          for (uint32_t i = 0; i < used; ++i) {
            CHECK(holds(slots[i], spec.element_bytes, model.front()));
            model.pop_front();
          }
          ring.consumer.release(used);
          break;
        }
        case 3: {
          const uint32_t got = ring.consumer.receive(many.data(), n);
          CHECK_EQ(got, std::min<size_t>(n, model.size()));
          for (uint32_t i = 0; i < got; ++i) {
            CHECK(holds(&many[size_t{i} * spec.element_bytes], spec.element_bytes, model.front()));
            model.pop_front();
          }
          break;
        }
      }
      CHECK_EQ(ring.consumer.depth_now(), model.size());
    }
  }
}

TEST(two_threads_keep_the_order) {
  for (const Layout layout : kLayouts)
    for (const uint32_t bytes : {8u, 16u, 32u, 56u, 64u, 2048u})
      for (const uint32_t capacity : {2u, 64u, 1024u}) {
        Ring ring({capacity, bytes, layout}, 0u - 500);
        const uint64_t count = bytes > 64 ? 4000 : 40000;
        std::thread writer([&] {
          std::mt19937 random(bytes);
          std::vector<std::byte> many(size_t{bytes} * 40);
          for (uint64_t i = 0; i < count;) {
            const auto n = static_cast<uint32_t>(std::min<uint64_t>(1 + random() % 40, count - i));
            uint32_t done = 0;
            if (random() % 2 == 0) {
              const WritableSlots slots = ring.producer.claim(n);
              for (; done < slots.count; ++done) write(slots[done], bytes, i + done);
              ring.producer.commit(done);
            } else {
              for (uint32_t k = 0; k < n; ++k) write(&many[size_t{k} * bytes], bytes, i + k);
              done = ring.producer.send(many.data(), n);
            }
            if (done == 0) std::this_thread::yield();
            i += done;
          }
        });
        std::mt19937 random(capacity);
        std::vector<std::byte> many(size_t{bytes} * 40);
        bool ordered = true;
        uint32_t deepest = 0;
        for (uint64_t i = 0; i < count;) {
          const uint32_t n = 1 + static_cast<uint32_t>(random() % 40);
          uint32_t done = 0;
          if (random() % 2 == 0) {
            const ReadableSlots slots = ring.consumer.peek(n);
            for (; done < slots.count; ++done) ordered &= holds(slots[done], bytes, i + done);
            ring.consumer.release(done);
          } else {
            done = ring.consumer.receive(many.data(), n);
            for (uint32_t k = 0; k < done; ++k)
              ordered &= holds(&many[size_t{k} * bytes], bytes, i + k);
          }
          if (done == 0) std::this_thread::yield();
          deepest = std::max(deepest, ring.consumer.found());
          i += done;
        }
        writer.join();
        CHECK(ordered);
        CHECK(deepest > 0 && deepest <= capacity);
        CHECK(!ring.consumer.ready());
      }
}

TEST(limits_hold_at_and_past) {
  const auto valid = [](uint32_t capacity, uint32_t bytes) {
    return ChannelSpec{capacity, bytes, Layout::bulk}.valid();
  };
  CHECK(valid(limits::kCapacityMin, 8));
  CHECK(!valid(limits::kCapacityMin / 2, 8));
  CHECK(valid(limits::kCapacityMax, 8));
  CHECK(!valid(limits::kCapacityMax * 2, 8));
  CHECK(!valid(0, 8));
  CHECK(!valid(3, 8));
  CHECK(!valid(1000, 8));
  CHECK(valid(2, limits::kElementBytesMin));
  CHECK(!valid(2, 0));
  CHECK(!valid(2, 4));
  CHECK(!valid(2, 12));
  CHECK(valid(2, limits::kElementBytesMax));
  CHECK(!valid(2, limits::kElementBytesMax + 8));
  const ChannelSpec strange{2, 8, static_cast<Layout>(2)};
  CHECK(!strange.valid());

  Aligned memory(4096);
  CHECK(!Channel::create(memory.at, {3, 8, Layout::bulk}));
  CHECK(!Channel::create(memory.at + 64, {2, 8, Layout::bulk}));  // not on its own pair of lines
  std::memset(memory.at, 0, 4096);
  CHECK(!Channel::attach(memory.at));
}

TEST(the_largest_channel_works_past_its_end) {
  for (const Layout layout : kLayouts) {
    Ring ring({limits::kCapacityMax, 8, layout}, 0u - 7);
    uint64_t in = 0;
    while (ring.producer.send_one(in)) ++in;
    CHECK_EQ(in, uint64_t{limits::kCapacityMax});
    uint64_t value = 0;
    for (uint64_t out = 0; out < in; ++out) {
      CHECK(ring.consumer.receive_one(value));
      CHECK_EQ(value, out);
    }
    CHECK(!ring.consumer.ready());
  }
}

TEST(the_byte_map_is_the_one_documented) {
  CHECK_EQ(ChannelLayout<>::slot_bytes_of(8, Layout::bulk), 8u);
  CHECK_EQ(ChannelLayout<>::slot_bytes_of(24, Layout::bulk), 24u);
  CHECK_EQ(ChannelLayout<>::slot_bytes_of(8, Layout::latency), 16u);
  CHECK_EQ(ChannelLayout<>::slot_bytes_of(16, Layout::latency), 32u);
  CHECK_EQ(ChannelLayout<>::slot_bytes_of(56, Layout::latency), 64u);
  CHECK_EQ(ChannelLayout<>::slot_bytes_of(64, Layout::latency), 128u);
  CHECK_EQ(ChannelLayout<>::slot_bytes_of(128, Layout::latency), 192u);
  CHECK_EQ(ChannelLayout<>::bytes_needed(1024, 64, Layout::bulk), 384u + 65536u);
  CHECK_EQ(ChannelLayout<>::bytes_needed(2, 8, Layout::bulk), 384u + 128u);

  Ring ring({4, 16, Layout::latency}, 9);
  const uint64_t element[2] = {0x1111, 0x2222};
  CHECK_EQ(ring.producer.send(element), 1u);
  const auto word = [&ring](size_t offset) {
    uint32_t value;
    std::memcpy(&value, ring.memory.at + offset, 4);
    return value;
  };
  CHECK_EQ(word(0), 0x48434e56u);
  CHECK_EQ(word(8), 4u);
  CHECK_EQ(word(12), 16u);
  CHECK_EQ(word(16), 32u);
  CHECK_EQ(word(20), 1u);
  CHECK_EQ(word(24), 384u);
  CHECK_EQ(word(28), 9u);
  CHECK_EQ(word(128), 10u);
  CHECK_EQ(word(256), 9u);
  CHECK_EQ(word(384 + 32 * 1), 0x1111u);   // index 9 is slot 1
  CHECK_EQ(word(384 + 32 * 1 + 28), 10u);  // its sequence word
}
