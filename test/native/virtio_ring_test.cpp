// native/virtio's rings against a device written from the specification alone.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "check.hpp"
#include "virtio/packed_ring.hpp"
#include "virtio/split_ring.hpp"
#include "virtio_model.hpp"

using namespace vanity::virtio;

namespace {

struct Memory {
  explicit Memory(uint32_t bytes)
      : data(static_cast<std::byte*>(std::aligned_alloc(kLine, bytes))) {
    std::memset(data, 0, bytes);
  }
  ~Memory() { std::free(data); }
  std::byte* data;
};

template <class R, class D>
struct Rig {
  using Ring = R;
  using Device = D;

  explicit Rig(uint16_t size, bool event_index = false)
      : layout(RingLayout::of(R::kPacked, size)),
        memory(layout.bytes),
        ring(size, memory.data, {event_index, false}),
        device({at(layout.descriptors), at(layout.driver), at(layout.device), size, event_index}) {}

  uint8_t* at(uint32_t offset) const { return reinterpret_cast<uint8_t*>(memory.data) + offset; }

  RingLayout layout;
  Memory memory;
  R ring;
  D device;
};
using Split = Rig<SplitRing, model::SplitDevice>;
using Packed = Rig<PackedRing, model::PackedDevice>;

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

}  // namespace

TEST(parts_of_a_ring_share_no_line_and_are_as_large_as_said) {
  const RingLayout split = RingLayout::of(false, 256);
  CHECK_EQ(split.driver, 256u * 16);
  CHECK(split.device >= split.driver + 6 + 2 * 256);
  CHECK(split.bytes >= split.device + 6 + 8 * 256);
  CHECK_EQ(split.driver % 128 + split.device % 128 + split.bytes % 128, 0u);
  const RingLayout packed = RingLayout::of(true, 64);
  CHECK_EQ(packed.driver, 64u * 16);
  CHECK_EQ(packed.device - packed.driver, 128u);
}

TEST(the_device_finds_what_was_added_and_no_more) {
  with_both(8, [](auto& rig) {
    model::Chain chain;
    CHECK(!rig.device.pop(chain));
    rig.ring.add(part(7), 7);
    rig.ring.add(part(9, false), 9);
    CHECK(!rig.device.pop(chain));  // not published
    rig.ring.publish();
    CHECK(rig.device.pop(chain));
    CHECK_EQ(chain.parts.size(), 1u);
    CHECK_EQ(chain.parts[0].address, part(7).address);
    CHECK_EQ(chain.parts[0].bytes, part(7).bytes);
    CHECK(chain.parts[0].writes);
    CHECK(rig.device.pop(chain));
    CHECK(!chain.parts[0].writes);
    CHECK_EQ(chain.parts[0].address, part(9).address);
    CHECK(!rig.device.pop(chain));
    CHECK_EQ(rig.ring.out(), 2u);
  });
}

TEST(empty_and_full) {
  with_both(8, [](auto& rig) {
    Used used[16];
    CHECK_EQ(rig.ring.collect(used, 16), 0u);
    CHECK(!rig.ring.publish());
    for (uint32_t lap = 0; lap < 5; ++lap) {
      CHECK_EQ(rig.ring.free_count(), 8u);
      for (uint32_t i = 0; i < 8; ++i) rig.ring.add(part(i), i);
      rig.ring.publish();
      CHECK_EQ(rig.ring.free_count(), 0u);
      CHECK_EQ(rig.ring.collect(used, 16), 0u);
      model::Chain chain;
      for (uint32_t i = 0; i < 8; ++i) {
        CHECK(rig.device.pop(chain));
        rig.device.push(chain, 100 + i);
      }
      CHECK(!rig.device.pop(chain));
      CHECK(!rig.ring.pending());
      rig.device.show();
      CHECK(rig.ring.pending());
      CHECK_EQ(rig.ring.collect(used, 3), 3u);
      CHECK_EQ(rig.ring.collect(used + 3, 16), 5u);
      for (uint32_t i = 0; i < 8; ++i) {
        CHECK_EQ(used[i].token, i);
        CHECK_EQ(used[i].bytes, 100 + i);
      }
      CHECK_EQ(rig.ring.out(), 0u);
    }
  });
}

// 16-bit indexes wrap twice, chains of all lengths, any order of completion.
TEST(every_buffer_comes_back_once_in_the_order_of_the_device) {
  with_both(64, [](auto& rig) {
    std::mt19937 random(11);
    std::vector<model::Chain> held;
    std::deque<std::pair<uint32_t, uint32_t>> due;  // token, bytes
    std::set<uint32_t> out;
    uint32_t next = 0, back = 0;
    while (back < 200'000) {
      for (uint32_t n = random() % 40; n != 0; --n) {
        const uint32_t parts = random() % 8 == 0 ? 1 + random() % 4 : 1;
        if (rig.ring.free_count() < parts) break;
        Part chain[4];
        for (uint32_t i = 0; i < parts; ++i) chain[i] = part(next + i, i + 1 == parts);
        if (parts == 1) {
          rig.ring.add(chain[0], next, static_cast<uint16_t>(next));
        } else {
          rig.ring.add_chain(chain, parts, next, static_cast<uint16_t>(next));
        }
        out.insert(next);
        ++next;
      }
      rig.ring.publish();
      model::Chain chain;
      while (rig.device.pop(chain)) {
        for (size_t i = 0; i < chain.parts.size(); ++i)
          CHECK_EQ(chain.parts[i].writes, i + 1 == chain.parts.size());
        held.push_back(chain);
      }
      for (uint32_t n = random() % 40; n != 0 && !held.empty(); --n) {
        const size_t which = random() % 4 == 0 ? random() % held.size() : 0;
        const uint32_t token = static_cast<uint32_t>((held[which].parts[0].address - 0x1000) / 64);
        const uint32_t bytes = random() % 2000;
        rig.device.push(held[which], bytes);
        due.push_back({token, bytes});
        held.erase(held.begin() + static_cast<long>(which));
      }
      rig.device.show();
      Used used[32];
      const uint32_t got = rig.ring.collect(used, random() % 33);
      CHECK(!rig.ring.broken());
      for (uint32_t i = 0; i < got; ++i) {
        CHECK_EQ(used[i].token, due.front().first);
        CHECK_EQ(used[i].bytes, due.front().second);
        CHECK_EQ(used[i].note, static_cast<uint16_t>(used[i].token));
        CHECK_EQ(out.erase(used[i].token), 1u);
        due.pop_front();
        ++back;
      }
      CHECK_EQ(rig.ring.out(), out.size());
    }
    CHECK(next > 2u << 16);
  });
}

TEST(a_burst_is_shown_whole_and_told_once) {
  with_both(64, [](auto& rig) {
    CHECK(rig.device.listen(true));
    for (uint32_t lap = 0; lap < 300; ++lap) {
      for (uint32_t i = 0; i < 32; ++i) rig.ring.add(part(i), i);
      CHECK(rig.ring.publish());   // it listens
      CHECK(!rig.ring.publish());  // nothing new
      rig.device.listen(false);
      for (uint32_t i = 0; i < 16; ++i) rig.ring.add(part(i), 32 + i);
      CHECK(!rig.ring.publish());  // it polls
      model::Chain chain;
      uint32_t n = 0;
      for (; rig.device.pop(chain); ++n) rig.device.push(chain, 0);
      CHECK_EQ(n, 48u);
      rig.device.show();
      Used used[64];
      CHECK_EQ(rig.ring.collect(used, 64), 48u);
      CHECK(rig.device.listen(true));
    }
  });
}

TEST(interrupts_come_when_armed_and_not_before) {
  with_both(64, [](auto& rig) {
    Used used[64];
    model::Chain chain;
    for (uint32_t lap = 0; lap < 5000; ++lap) {
      rig.ring.add(part(0), 0);
      rig.ring.add(part(1), 1);
      rig.ring.publish();
      rig.ring.suppress();
      CHECK(rig.device.pop(chain));
      rig.device.push(chain, 1);
      CHECK(!rig.device.show());
      CHECK(!rig.ring.arm());  // one came before
      CHECK_EQ(rig.ring.collect(used, 64), 1u);
      CHECK(rig.ring.arm());
      CHECK(rig.device.pop(chain));
      rig.device.push(chain, 1);
      CHECK(rig.device.show());
      CHECK_EQ(rig.ring.collect(used, 64), 1u);
    }
  });
}

TEST(notification_data_names_the_place_that_follows) {
  Split split(8);
  CHECK_EQ(split.ring.notification(3), 3u);
  Packed packed(8);
  CHECK_EQ(packed.ring.notification(3), 3u | 1u << 31);
  Used used[8];
  for (uint32_t i = 0; i < 0x8001; ++i) {
    for (auto* rig : {&split}) {
      rig->ring.add(part(0), 0);
      rig->ring.publish();
      model::Chain chain;
      rig->device.pop(chain);
      rig->device.push(chain, 0);
      rig->device.show();
      CHECK_EQ(rig->ring.collect(used, 8), 1u);
    }
  }
  CHECK_EQ(split.ring.notification(1), 1u | 0x8001u << 16);
  for (uint32_t i = 0; i < 5; ++i) packed.ring.add(part(0), 0);
  CHECK_EQ(packed.ring.notification(2), 2u | 5u << 16 | 1u << 31);
  for (uint32_t i = 0; i < 3; ++i) packed.ring.add(part(0), 0);
  CHECK_EQ(packed.ring.notification(2), 2u);  // the next lap
}

TEST(an_id_that_is_not_out_breaks_the_ring) {
  for (const uint32_t id : {8u, 0xffffu, 3u, 0u}) {  // 0 is out once; the second time it isn't
    Split split(8);
    Packed packed(8);
    const auto go = [&](auto& rig) {
      rig.ring.add(part(0), 10);
      rig.ring.add(part(1), 11);
      rig.ring.publish();
      model::Chain chain;
      CHECK(rig.device.pop(chain));
      rig.device.push(chain, 0);
      CHECK(rig.device.pop(chain));
      chain.id = static_cast<uint16_t>(id);
      rig.device.push(chain, 0);
      rig.device.show();
      Used used[8];
      CHECK_EQ(rig.ring.collect(used, 8), 1u);
      CHECK_EQ(used[0].token, 10u);
      CHECK(rig.ring.broken());
      CHECK_EQ(rig.ring.collect(used, 8), 0u);
      CHECK_EQ(rig.ring.take_back(used, 8), 1u);
      CHECK_EQ(used[0].token, 11u);
      CHECK_EQ(rig.ring.take_back(used, 8), 0u);
    };
    go(split);
    go(packed);
  }
}

TEST(more_used_than_were_out_breaks_a_split_ring) {
  Split rig(8);
  rig.ring.add(part(0), 10);
  rig.ring.publish();
  model::Chain chain;
  CHECK(rig.device.pop(chain));
  rig.device.push(chain, 0);
  rig.device.push(chain, 0);
  rig.device.show();
  Used used[8];
  CHECK_EQ(rig.ring.collect(used, 8), 0u);
  CHECK(rig.ring.broken());
}

TEST(the_inside_of_a_chain_is_nobodys_head) {
  Split rig(8);
  const Part parts[3] = {part(0, false), part(1, false), part(2)};
  rig.ring.add_chain(parts, 3, 10);
  rig.ring.publish();
  model::Chain chain;
  CHECK(rig.device.pop(chain));
  chain.id = 1;  // its second descriptor
  rig.device.push(chain, 0);
  rig.device.show();
  Used used[8];
  CHECK_EQ(rig.ring.collect(used, 8), 0u);
  CHECK(rig.ring.broken());
}

#if !defined(__SANITIZE_THREAD__)  // which knows no fences in assembler
// Two processors, each asleep when it has nothing to do: a lost edge would hang this for good.
TEST(no_edge_is_lost_between_two_threads) {
  with_both(64, [](auto& rig) {
    constexpr uint32_t kBuffers = 200'000;
    std::vector<uint32_t> buffers(64);
    std::atomic<uint32_t> doorbell{0}, vector{0};
    std::thread device([&] {
      model::Chain chain;
      for (uint32_t done = 0; done < kBuffers;) {
        uint32_t n = 0;
        for (; rig.device.pop(chain); ++n) {
          uint32_t word;
          std::memcpy(&word, chain.parts[0].data(), 4);
          word = ~word;
          std::memcpy(chain.parts[0].data(), &word, 4);
          rig.device.push(chain, 4);
        }
        done += n;
        if (n != 0) {
          if (rig.device.show()) {
            vector.fetch_add(1);
            vector.notify_one();
          }
          continue;
        }
        const uint32_t before = doorbell.load();
        if (done == kBuffers || !rig.device.listen(true)) continue;
        doorbell.wait(before);
        rig.device.listen(false);
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
        doorbell.fetch_add(1);
        doorbell.notify_one();
      }
      Used used[32];
      const uint32_t before = vector.load();
      const uint32_t got = rig.ring.collect(used, 32);
      for (uint32_t i = 0; i < got; ++i) {
        wrong += buffers[used[i].token] != ~(taken + i);  // it works in order
        free.push_back(used[i].token);
      }
      taken += got;
      if (got != 0) continue;
      if (rig.ring.arm()) vector.wait(before);
      rig.ring.suppress();
    }
    device.join();
    CHECK_EQ(wrong, 0u);
    CHECK(!rig.ring.broken());
  });
}
#endif
