// The ways of sampled packets: which are marked, and what each shard that sees one notes of it.
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "check.hpp"
#include "kernel/command.hpp"
#include "kernel/system.hpp"
#include "memory/pool.hpp"
#include "platform/error.hpp"
#include "runtime_folder.hpp"
#include "shard/packet_trail.hpp"
#include "soon.hpp"

using namespace vanity;

namespace {

constexpr uint32_t kBuffers = 64;

std::vector<Event> events_of(const EventsRecord& record) {
  std::vector<uint64_t> words(size_t{limits::kPacketEvents} * 4);
  const CopiedEvents copied = copy_events(record.packet_events_written, record.packet_events,
                                          limits::kPacketEvents, 0, words.data());
  std::vector<Event> events;
  for (uint64_t i = 0; i < copied.count; ++i) {
    const uint64_t* const four = &words[i * 4];
    events.push_back({four[0], static_cast<EventKind>(four[1] & 0xff),
                      static_cast<uint8_t>(four[1] >> 8), static_cast<uint16_t>(four[1] >> 16),
                      static_cast<uint32_t>(four[1] >> 32), four[2], four[3]});
  }
  return events;
}

std::vector<Event> only(const std::vector<Event>& events, EventKind kind) {
  std::vector<Event> found;
  for (const Event& event : events) {
    if (event.kind == kind) found.push_back(event);
  }
  return found;
}

// Some packets of a pool, and the trail of the shard that has them.
struct Held {
  static constexpr uint32_t kBytes = 1024;
  std::unique_ptr<uint8_t[]> memory{new uint8_t[Pool::memory_bytes(kBuffers, kBytes) + 64]};
  Pool pool{0, kBuffers, kBytes,
            reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) & ~63ull)};
  PoolTable table;
  std::unique_ptr<EventsRecord> record = std::make_unique<EventsRecord>();
  PacketTrail trail;
  vanity_packet packets[kBuffers] = {};

  Held() {
    table.add(pool);
    pool.take(packets, kBuffers);
    trail.write_to(*record, 3);
    trail.wire(&table);
    for (uint32_t i = 0; i < kBuffers; ++i) {
      packets[i].offset = VANITY_FRAME_OFFSET;
      packets[i].length = 100;
      packets[i].port = 5;
      table.meta(packets[i]) = {1000 + i, 200, 0};
      std::memset(table.data(packets[i]), static_cast<int>(i), 200);
    }
  }
  std::vector<Event> events() const { return events_of(*record); }
  uint32_t marked() const {
    uint32_t n = 0;
    for (const vanity_packet& packet : packets) n += (packet.flags & VANITY_PACKET_SAMPLED) != 0;
    return n;
  }
};

}  // namespace

TEST(one_of_so_many_is_marked_however_they_come) {
  Held held;
  held.trail.mark(held.packets, 1, 10);
  held.trail.mark(held.packets + 1, 5, 10);
  held.trail.mark(held.packets + 6, 30, 10);
  for (uint32_t i = 0; i < 36; ++i) {
    CHECK_EQ(held.packets[i].flags != 0, i % 10 == 0);
  }
  held.trail.mark(held.packets + 36, 2, 1);  // from now on
  CHECK(held.packets[36].flags != 0 && held.packets[37].flags != 0);
  held.trail.mark(held.packets + 38, 26, 0);
  CHECK_EQ(held.marked(), 6u);
}

TEST(one_that_came_in_is_noted_with_its_first_bytes) {
  Held held;
  held.packets[0].length = 20;
  held.packets[1].length = 400;  // more than are kept
  held.trail.mark(held.packets, 2, 1);
  held.trail.came(held.packets, kBuffers);
  const std::vector<Event> came = only(held.events(), EventKind::packet);
  CHECK_EQ(came.size(), 2u);
  CHECK_EQ(came[0].count, 3u << 24);  // its shard, and the first of it
  CHECK_EQ(came[1].count, (3u << 24) + 1);
  CHECK_EQ(came[0].place, 5u);
  CHECK_EQ(came[0].a, 20 | uint64_t{200} << 32);
  CHECK_EQ(came[1].a, 400 | uint64_t{400} << 32);
  CHECK_EQ(came[1].b, 1001u);
  const std::vector<Event> bytes = only(held.events(), EventKind::bytes);
  CHECK_EQ(bytes.size(), 2 + limits::kPacketBytes / 16);
  CHECK_EQ(bytes[0].place, 16u);
  CHECK_EQ(bytes[1].place, 4u);  // behind them nothing of what lies in the buffer
  CHECK_EQ(bytes[1].what, 1u);
  CHECK_EQ(bytes[2].a, 0x0101010101010101u);
}

TEST(one_that_is_made_is_noted_when_it_is_given_away) {
  Held held;
  held.trail.mark(held.packets, 2, 2);
  CHECK_EQ(held.events().size(), 0u);
  held.trail.about_to_give(held.packets, 2);
  const size_t before = held.events().size();
  held.trail.gave(held.packets, 0, Event::Target::channel, 7, 99);  // none of them had room
  CHECK_EQ(held.events().size(), before);
  held.trail.about_to_give(held.packets, 2);
  held.trail.gave(held.packets, 2, Event::Target::channel, 7, 99);
  const std::vector<Event> events = held.events();
  CHECK_EQ(only(events, EventKind::packet).size(), 1u);  // not once more
  CHECK_EQ(events[0].what, static_cast<uint8_t>(Event::Source::made));
  CHECK_EQ(events[1].kind == EventKind::bytes, true);
  const Event gave = events.back();
  CHECK(gave.kind == EventKind::gave && gave.place == 7 && gave.ticks == 99);
  CHECK_EQ(gave.count, events[0].count);
}

TEST(a_wild_descriptor_is_noted_without_bytes) {
  Held held;
  held.trail.mark(held.packets, 2, 1);
  held.packets[0].offset = 65535;
  held.packets[1].offset = 1000;  // ends behind its buffer
  held.trail.about_to_give(held.packets, 2);
  CHECK_EQ(only(held.events(), EventKind::packet).size(), 2u);
  CHECK_EQ(only(held.events(), EventKind::bytes).size(), 0u);
}

TEST(what_a_shard_waited_for_is_noted_with_the_next_packet_only) {
  Held held;
  held.trail.waited(Event::Wait::slept, 0, 10, 20, 1);
  held.trail.waited(Event::Wait::slept, 0, 21, 30, 1);  // had no work since
  held.trail.waited(Event::Wait::blocked, 4, 40, 50, 40);
  CHECK_EQ(held.events().size(), 0u);
  held.trail.mark(held.packets, 1, 1);
  held.trail.came(held.packets, 1);
  held.trail.waited(Event::Wait::blocked, 4, 40, 60, 40);  // still
  held.trail.ended(held.packets, 1, Event::Ending::dropped);
  held.trail.ended(held.packets, 1, Event::Ending::dropped);
  const std::vector<Event> waits = only(held.events(), EventKind::waited);
  CHECK_EQ(waits.size(), 3u);
  CHECK(waits[0].a == 10 && waits[0].ticks == 30);
  CHECK(waits[1].a == 40 && waits[1].ticks == 50 && waits[1].place == 4);
  CHECK(waits[2].a == 40 && waits[2].ticks == 60);
  for (uint64_t n = 0; n < 100; ++n) held.trail.waited(Event::Wait::held, 0, n, n + 1, n);
  held.trail.ended(held.packets, 1, Event::Ending::dropped);
  CHECK_EQ(only(held.events(), EventKind::waited).size(), 3u + 16);  // the last ones
}

TEST(each_sampled_packet_is_seen_all_its_way) {
  runtime_folder();
  constexpr uint64_t kPackets = 20000;
  constexpr uint32_t kEvery = 100;
  Plan plan;
  plan.name = "trail";
  plan.oversubscribe = true;
  const char* const programs[] = {"generate", "forward", "sink"};
  for (uint32_t s = 0; s < 3; ++s) {
    ShardPlan shard;
    shard.name = shard.program = programs[s];
    plan.shards.push_back(shard);
    if (s == 0) continue;
    ChannelPlan channel;
    channel.name = programs[s];
    channel.from = s - 1;
    channel.to = s;
    channel.overflow = Overflow::block;
    plan.channels.push_back(channel);
  }
  plan.shards[0].options["count"] = std::to_string(kPackets);
  System system(plan, {});
  const std::string path = system.segment().path();
  for (uint32_t s = 0; s < 3; ++s) sample_packets(path, s, kEvery);
  CHECK_THROWS(sample_packets(path, 3, 1), Error);
  system.start();
  CHECK(soon([&] { return system.segment().shard(2).consumed.get() == kPackets; }));
  for (uint32_t s = 0; s < 3; ++s) {
    trace_shard(path, s, true);  // which is another matter
    trace_shard(path, s, false);
    CHECK_EQ(system.segment().shard(s).tracing.load(), uint32_t{kTracePackets});
    sample_packets(path, s, 0);
    CHECK_EQ(system.segment().shard(s).tracing.load(), 0u);
  }
  system.stop(false);
  CHECK(soon([&] { return system.state() == SystemState::stopped; }));

  const auto of = [&](uint32_t shard, EventKind kind) {
    std::map<uint32_t, Event> found;
    for (const Event& event : only(events_of(system.segment().events(shard)), kind)) {
      CHECK(found.emplace(event.count, event).second);
    }
    CHECK_EQ(found.size(), kPackets / kEvery);
    return found;
  };
  const auto gave = of(0, EventKind::gave);
  const auto took = of(1, EventKind::took);
  const auto passed = of(1, EventKind::gave);
  const auto arrived = of(2, EventKind::took);
  const auto ended = of(2, EventKind::ended);
  for (const auto& [number, packet] : of(0, EventKind::packet)) {
    CHECK_EQ(packet.what, static_cast<uint8_t>(Event::Source::made));
    CHECK(packet.ticks <= gave.at(number).ticks);
    CHECK(gave.at(number).ticks <= took.at(number).ticks);
    CHECK(took.at(number).ticks <= passed.at(number).ticks);
    CHECK(passed.at(number).ticks <= arrived.at(number).ticks);
    CHECK(arrived.at(number).ticks <= ended.at(number).ticks);
    CHECK_EQ(took.at(number).place, 0u);
    CHECK_EQ(arrived.at(number).place, 1u);
    CHECK_EQ(ended.at(number).what, static_cast<uint8_t>(Event::Ending::consumed));
  }
}
