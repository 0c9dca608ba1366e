// native/virtio's device rings: against the driver's rings of the same folder, which the model of
// the specification has tried, and against drivers that write what cannot be.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "virtio/packed_device.hpp"
#include "virtio/packed_ring.hpp"
#include "virtio/split_device.hpp"
#include "virtio/split_ring.hpp"

using namespace vanity::virtio;

namespace {

struct Memory {
  explicit Memory(uint32_t bytes)
      : data(static_cast<std::byte*>(std::aligned_alloc(kLine, bytes))) {
    std::memset(data, 0, bytes);
  }
  ~Memory() { std::free(data); }
  Memory(const Memory&) = delete;
  std::byte* data;
};

template <class R, class D>
struct Rig {
  using Device = D;

  explicit Rig(uint16_t size, bool event_index = false,
               Direction direction = Direction::device_writes)
      : features{event_index, false},
        layout(RingLayout::of(R::kPacked, size)),
        memory(layout.bytes),
        parts{at(layout.descriptors), at(layout.driver), at(layout.device)},
        ring(size, memory.data, features),
        device(size, parts, features, direction) {}

  std::byte* at(uint32_t offset) const { return memory.data + offset; }
  template <class T>
  void write(uint32_t offset, T value) {
    std::memcpy(at(offset), &value, sizeof value);
  }

  RingFeatures features;
  RingLayout layout;
  Memory memory;
  RingParts parts;
  R ring;
  D device;
};
using Split = Rig<SplitRing, SplitDevice>;
using Packed = Rig<PackedRing, PackedDevice>;

template <class Body>
void with_both(uint16_t size, Body body) {
  for (const bool event_index : {false, true}) {
    Split split(size, event_index);
    body(split);
    Packed packed(size, event_index);
    body(packed);
  }
}

Part part(uint32_t token, bool writes = true) {
  return {0x1000 + uint64_t{token} * 64, 40 + token % 8, writes};
}

// A descriptor as a hostile driver writes it, and an available index of a split ring.
void place(Split& rig, uint32_t at, uint16_t flags, uint16_t next, uint32_t bytes = 64) {
  const SplitDescriptor descriptor{0x5000, bytes, flags, next};
  rig.write(rig.layout.descriptors + 16 * at, descriptor);
}
void offer(Split& rig, uint16_t slot, uint16_t head, uint16_t index) {
  rig.write(rig.layout.driver + 4 + 2u * slot, head);
  rig.write(rig.layout.driver + 2, index);
}
void place(Packed& rig, uint32_t at, uint16_t flags, uint16_t id = 0) {
  const PackedDescriptor descriptor{0x5000, 64, id, flags};
  rig.write(rig.layout.descriptors + 16 * at, descriptor);
}

constexpr uint16_t kNext = 1, kWrites = 2, kIndirect = 4;
constexpr uint16_t kThere = PackedDescriptor::kAvailable;  // on the first lap

}  // namespace

TEST(what_was_offered_is_taken_once_and_comes_back) {
  with_both(8, [](auto& rig) {
    Offer offers[8];
    CHECK_EQ(rig.device.take(offers, 8), 0u);
    rig.ring.add(part(7), 7);
    rig.ring.add(part(9), 9);
    CHECK_EQ(rig.device.take(offers, 8), 0u);  // not published
    rig.ring.publish();
    CHECK(rig.device.pending());
    CHECK_EQ(rig.device.take(offers, 8), 2u);
    CHECK(!rig.device.pending());
    CHECK_EQ(rig.device.take(offers + 2, 6), 0u);
    CHECK_EQ(offers[0].address, part(7).address);
    CHECK_EQ(offers[0].bytes, part(7).bytes);
    CHECK_EQ(offers[0].parts, 1);
    CHECK_EQ(offers[1].address, part(9).address);
    rig.device.give(offers[0], 11);
    Used used[8];
    CHECK_EQ(rig.ring.collect(used, 8), 0u);  // not published
    rig.device.give(offers[1], 0);
    rig.device.publish();
    CHECK_EQ(rig.ring.collect(used, 8), 2u);
    CHECK_EQ(used[0].token, 7u);
    CHECK_EQ(used[0].bytes, 11u);
    CHECK_EQ(used[1].token, 9u);
    CHECK_EQ(used[1].bytes, 0u);
    CHECK(!rig.device.publish());
  });
}

TEST(a_full_ring_is_taken_whole_for_many_laps) {
  with_both(64, [](auto& rig) {
    Offer offers[64];
    Used used[64];
    for (uint32_t lap = 0; lap < 3000; ++lap) {
      for (uint32_t i = 0; i < 64; ++i) rig.ring.add(part(i), i);
      rig.ring.publish();
      CHECK_EQ(rig.device.take(offers, 33), 33u);
      CHECK_EQ(rig.device.take(offers + 33, 64), 31u);
      for (uint32_t i = 0; i < 64; ++i) {
        CHECK_EQ(offers[i].address, part(i).address);
        rig.device.give(offers[i], lap + i);
      }
      rig.device.publish();
      CHECK_EQ(rig.ring.collect(used, 64), 64u);
      for (uint32_t i = 0; i < 64; ++i) CHECK_EQ(used[i].bytes, lap + i);
    }
    CHECK(!rig.device.broken());
  });
}

// Chains of all lengths, bursts of all sizes, and a part of each burst is put back.
TEST(every_buffer_is_seen_once_and_in_order_whatever_the_burst) {
  with_both(64, [](auto& rig) {
    std::mt19937 random(7);
    uint32_t next = 0, seen = 0, back = 0;
    std::deque<uint32_t> lengths;
    while (back < 200'000) {
      for (uint32_t n = random() % 40; n != 0; --n) {
        const uint32_t parts = random() % 6 == 0 ? 2 + random() % 9 : 1;
        if (rig.ring.free_count() < parts) break;
        Part chain[10];
        for (uint32_t i = 0; i < parts; ++i) chain[i] = part(next + i);
        if (parts == 1) {
          rig.ring.add(chain[0], next);
        } else {
          rig.ring.add_chain(chain, parts, next);
        }
        lengths.push_back(parts);
        ++next;
      }
      rig.ring.publish();
      Offer offers[40];
      const uint32_t got = rig.device.take(offers, random() % 41);
      const uint32_t kept = got == 0 ? 0 : random() % (got + 1);
      for (uint32_t i = 0; i < got; ++i) {
        CHECK_EQ(offers[i].address, part(seen + i).address);
        CHECK_EQ(offers[i].parts, lengths[i]);
        for (uint32_t k = 1; k < offers[i].parts; ++k) {
          CHECK_EQ(rig.device.more(offers[i].more + k - 1).address, part(seen + i + k).address);
          CHECK_EQ(rig.device.more(offers[i].more + k - 1).bytes, part(seen + i + k).bytes);
        }
      }
      rig.device.untake(offers + kept, got - kept);
      for (uint32_t i = 0; i < kept; ++i) {
        rig.device.give(offers[i], (seen + i) % 1000);
        lengths.pop_front();
      }
      rig.device.publish();
      seen += kept;
      Used used[40];
      const uint32_t collected = rig.ring.collect(used, random() % 41);
      for (uint32_t i = 0; i < collected; ++i, ++back) {
        CHECK_EQ(used[i].token, back);
        CHECK_EQ(used[i].bytes, back % 1000);
      }
      CHECK(!rig.device.broken() && !rig.ring.broken());
    }
    CHECK(next > 2u << 16);
  });
}

TEST(more_chains_than_one_take_holds_come_with_the_next) {
  with_both(1024, [](auto& rig) {
    Part chain[Pieces::kChainMax];
    for (uint32_t i = 0; i < Pieces::kChainMax; ++i) chain[i] = part(i);
    for (uint32_t i = 0; i < 16; ++i) rig.ring.add_chain(chain, Pieces::kChainMax, i);
    rig.ring.publish();
    uint32_t seen = 0;
    while (seen < 16) {
      Offer offers[32];
      const uint32_t got = rig.device.take(offers, 32);
      CHECK(got != 0);
      CHECK(got < 16);
      for (uint32_t i = 0; i < got; ++i) {
        CHECK_EQ(offers[i].parts, Pieces::kChainMax);
        CHECK_EQ(rig.device.more(offers[i].more + Pieces::kChainMax - 2).address,
                 part(Pieces::kChainMax - 1).address);
        rig.device.give(offers[i], 1);
      }
      rig.device.publish();
      seen += got;
    }
    CHECK(!rig.device.broken());
  });
}

TEST(a_chain_that_is_too_long_breaks_the_ring) {
  with_both(256, [](auto& rig) {
    Part chain[Pieces::kChainMax + 1];
    for (uint32_t i = 0; i <= Pieces::kChainMax; ++i) chain[i] = part(i);
    rig.ring.add(part(0), 0);
    rig.ring.add_chain(chain, Pieces::kChainMax + 1, 1);
    rig.ring.publish();
    Offer offers[8];
    CHECK_EQ(rig.device.take(offers, 8), 1u);  // what came before is right
    CHECK(rig.device.broken());
    CHECK_EQ(rig.device.take(offers, 8), 0u);
  });
}

TEST(a_device_goes_on_where_another_stopped) {
  const auto go = []<class Rig>(Rig& rig) {
    Used used[16];
    Offer offers[16];
    for (uint32_t lap = 0; lap < 40; ++lap) {
      for (uint32_t i = 0; i < 3; ++i) rig.ring.add(part(i), i);
      rig.ring.publish();
      typename Rig::Device other(8, rig.parts, rig.features, Direction::device_writes,
                                 rig.device.base());
      CHECK_EQ(other.take(offers, 16), 3u);
      for (uint32_t i = 0; i < 3; ++i) other.give(offers[i], 1);
      other.publish();
      CHECK_EQ(rig.ring.collect(used, 16), 3u);
      rig.device =
          typename Rig::Device(8, rig.parts, rig.features, Direction::device_writes, other.base());
      rig.ring.add(part(5), 5);
      rig.ring.publish();
      CHECK_EQ(rig.device.take(offers, 16), 1u);
      rig.device.give(offers[0], 1);
      rig.device.publish();
      CHECK_EQ(rig.ring.collect(used, 16), 1u);
    }
  };
  with_both(8, go);
}

TEST(the_driver_is_told_when_it_listens_and_not_when_it_polls) {
  with_both(64, [](auto& rig) {
    Offer offers[64];
    Used used[64];
    const auto burst = [&](uint32_t n) {
      for (uint32_t i = 0; i < n; ++i) rig.ring.add(part(i), i);
      rig.ring.publish();
      CHECK_EQ(rig.device.take(offers, 64), n);
      for (uint32_t i = 0; i < n; ++i) rig.device.give(offers[i], 1);
      const bool tell = rig.device.publish();
      CHECK_EQ(rig.ring.collect(used, 64), n);
      return tell;
    };
    CHECK(rig.ring.arm());
    CHECK(burst(32));
    for (uint32_t lap = 0; lap < 500; ++lap) {
      rig.ring.suppress();
      CHECK(!burst(1 + lap % 32));
      CHECK(rig.ring.arm());
      CHECK(burst(1 + lap % 32));
    }
  });
}

TEST(kicks_come_when_armed_and_not_before) {
  with_both(64, [](auto& rig) {
    Offer offers[64];
    Used used[64];
    for (uint32_t lap = 0; lap < 5000; ++lap) {
      rig.device.suppress();
      rig.ring.add(part(0), 0);
      CHECK(!rig.ring.publish());
      CHECK(!rig.device.arm());  // one came before
      rig.device.suppress();
      CHECK_EQ(rig.device.take(offers, 64), 1u);
      CHECK(rig.device.arm());
      rig.ring.add(part(1), 1);
      CHECK(rig.ring.publish());
      CHECK_EQ(rig.device.take(offers + 1, 63), 1u);
      rig.device.give(offers[0], 1);
      rig.device.give(offers[1], 1);
      rig.device.publish();
      CHECK_EQ(rig.ring.collect(used, 64), 2u);
    }
  });
}

// ---- drivers that lie

TEST(more_offered_than_the_ring_holds_breaks_a_split_ring) {
  Split rig(8);
  offer(rig, 0, 0, 9);
  Offer offers[16];
  CHECK_EQ(rig.device.take(offers, 16), 0u);
  CHECK(rig.device.broken());
  Split whole(8);
  for (uint16_t i = 0; i < 8; ++i) place(whole, i, kWrites, 0), offer(whole, i, i, 8);
  CHECK_EQ(whole.device.take(offers, 16), 8u);
  offer(whole, 0, 0, 7);  // and back again
  CHECK_EQ(whole.device.take(offers, 16), 0u);
  CHECK(whole.device.broken());
}

TEST(a_head_beyond_the_ring_breaks_it) {
  for (const uint16_t head : {8, 9, 0x8000, 0xffff}) {
    Split rig(8);
    place(rig, 0, kWrites, 0);
    offer(rig, 0, 0, 2);
    offer(rig, 1, head, 2);
    Offer offers[8];
    CHECK_EQ(rig.device.take(offers, 8), 1u);
    CHECK(rig.device.broken());
  }
}

TEST(a_chain_that_leaves_the_ring_or_runs_in_a_circle_breaks_it) {
  for (const uint16_t next : {0, 1, 8, 0xffff}) {
    Split rig(8);
    place(rig, 0, kWrites | kNext, 1);
    place(rig, 1, kWrites | kNext, next);
    offer(rig, 0, 0, 1);
    Offer offers[8];
    CHECK_EQ(rig.device.take(offers, 8), 0u);
    CHECK(rig.device.broken());
  }
  Packed rig(8);
  for (uint32_t i = 0; i < 8; ++i) place(rig, i, kWrites | kNext | kThere);
  Offer offers[8];
  CHECK_EQ(rig.device.take(offers, 8), 0u);
  CHECK(rig.device.broken());
}

TEST(a_buffer_of_the_wrong_direction_or_a_table_breaks_the_ring) {
  struct {
    Direction direction;
    uint16_t flags;
    bool right;
  } const cases[] = {
      {Direction::device_writes, kWrites, true},
      {Direction::device_writes, 0, false},
      {Direction::device_writes, kWrites | kIndirect, false},
      {Direction::device_reads, 0, true},
      {Direction::device_reads, kWrites, false},
      {Direction::device_reads, kIndirect, false},
      {Direction::device_reads, kIndirect | kNext, false},
  };
  for (const auto& each : cases) {
    const auto go = [&](auto& rig) {
      Offer offers[8];
      CHECK_EQ(rig.device.take(offers, 8), each.right ? 1u : 0u);
      CHECK_EQ(rig.device.broken(), !each.right);
    };
    Split split(8, false, each.direction);
    place(split, 0, each.flags, 1);
    place(split, 1, each.flags & kWrites, 0);
    offer(split, 0, 0, 1);
    go(split);
    Packed packed(8, false, each.direction);
    place(packed, 0, each.flags | kThere);
    place(packed, 1, each.flags & kWrites);
    go(packed);
    // The same at the end of a chain.
    Split behind(8, false, each.direction);
    const uint16_t right = each.direction == Direction::device_writes ? kWrites : 0;
    place(behind, 0, right | kNext, 1);
    place(behind, 1, each.flags & ~kNext, 1);
    offer(behind, 0, 0, 1);
    go(behind);
  }
}

TEST(more_than_a_packed_ring_holds_is_never_taken) {
  Packed rig(8);
  // Both laps at once are available to who does not count.
  for (uint32_t i = 0; i < 8; ++i) place(rig, i, kWrites | kThere);
  Offer offers[32];
  CHECK_EQ(rig.device.take(offers, 32), 8u);
  for (uint32_t i = 0; i < 8; ++i) place(rig, i, kWrites | PackedDescriptor::kUsed);
  CHECK_EQ(rig.device.take(offers + 8, 8), 0u);
  rig.device.untake(offers, 8);
  CHECK_EQ(rig.device.base() & 0xffff, PackedDevice::kBaseOfNew);
}

TEST(a_base_beyond_a_packed_ring_breaks_it) {
  Memory memory(RingLayout::of(true, 8).bytes);
  const RingLayout layout = RingLayout::of(true, 8);
  const RingParts parts{memory.data, memory.data + layout.driver, memory.data + layout.device};
  CHECK(PackedDevice(8, parts, {}, Direction::device_reads, 8).broken());
  CHECK(!PackedDevice(8, parts, {}, Direction::device_reads, 7).broken());
}

#if !defined(__SANITIZE_THREAD__)  // which knows no fences in assembler
// Two processors, each asleep when it has nothing to do: a lost edge would hang this for good.
TEST(no_edge_is_lost_between_driver_and_device) {
  with_both(64, [](auto& rig) {
    constexpr uint32_t kBuffers = 200'000;
    std::vector<uint32_t> buffers(64);
    std::atomic<uint32_t> kick{0}, call{0};
    std::thread device([&] {
      for (uint32_t done = 0; done < kBuffers;) {
        const uint32_t before = kick.load();
        Offer offers[32];
        const uint32_t got = rig.device.take(offers, 32);
        for (uint32_t i = 0; i < got; ++i) {
          uint32_t& word = *reinterpret_cast<uint32_t*>(offers[i].address);
          word = ~word;
          rig.device.give(offers[i], 4);
        }
        done += got;
        if (rig.device.publish()) {
          call.fetch_add(1);
          call.notify_one();
        }
        if (got != 0) continue;
        if (rig.device.arm()) kick.wait(before);
        rig.device.suppress();
      }
    });
    std::vector<uint32_t> free(64);
    for (uint32_t i = 0; i < 64; ++i) free[i] = i;
    uint32_t given = 0, taken = 0, wrong = 0;
    while (taken < kBuffers) {
      for (; !free.empty() && given < kBuffers; ++given) {
        const uint32_t at = free.back();
        free.pop_back();
        buffers[at] = given;
        rig.ring.add({reinterpret_cast<uint64_t>(&buffers[at]), 4, true}, at);
      }
      if (rig.ring.publish()) {
        kick.fetch_add(1);
        kick.notify_one();
      }
      Used used[32];
      const uint32_t before = call.load();
      const uint32_t got = rig.ring.collect(used, 32);
      for (uint32_t i = 0; i < got; ++i) {
        wrong += buffers[used[i].token] != ~(taken + i);  // it works in order
        free.push_back(used[i].token);
      }
      taken += got;
      if (got != 0) continue;
      if (rig.ring.arm()) call.wait(before);
      rig.ring.suppress();
    }
    device.join();
    CHECK_EQ(wrong, 0u);
    CHECK(!rig.ring.broken() && !rig.device.broken());
  });
}
#endif
