// The events of shards: what a reader finds of them while they are written, and what a shard notes.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "check.hpp"
#include "kernel/command.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "runtime_folder.hpp"
#include "soon.hpp"
#include "vanity/events.hpp"

using namespace vanity;

namespace {

constexpr uint32_t kSmall = 8;

struct SmallRing {
  Counter written{};
  EventSlot slots[kSmall]{};
  void write(const Event& event) { write_event(written, slots, kSmall, event, event.ticks); }
  CopiedEvents copy(uint64_t from, std::vector<uint64_t>& words) {
    words.resize(kSmall * 4);
    const CopiedEvents copied = copy_events(written, slots, kSmall, from, words.data());
    words.resize(copied.count * 4);
    return copied;
  }
};

Event unpack(const uint64_t* words) {
  return {words[0],
          static_cast<EventKind>(words[1] & 0xff),
          static_cast<uint8_t>(words[1] >> 8),
          static_cast<uint16_t>(words[1] >> 16),
          static_cast<uint32_t>(words[1] >> 32),
          words[2],
          words[3]};
}

// Everything in it follows from its number.
Event numbered(uint64_t n) {
  return {n,
          EventKind::send,
          static_cast<uint8_t>(n),
          static_cast<uint16_t>(n * 3),
          static_cast<uint32_t>(n * 5),
          n * 7,
          ~n};
}
bool whole(const Event& event, uint64_t n) {
  const Event wanted = numbered(n);
  return event.ticks == wanted.ticks && event.kind == wanted.kind && event.what == wanted.what &&
         event.place == wanted.place && event.count == wanted.count && event.a == wanted.a &&
         event.b == wanted.b;
}

Plan line(const char* name) {
  runtime_folder();
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;
  const char* const programs[] = {"generate", "forward", "sink"};
  for (uint32_t s = 0; s < 3; ++s) {
    ShardPlan shard;
    shard.name = programs[s];
    shard.program = programs[s];
    plan.shards.push_back(shard);
    if (s == 0) continue;
    ChannelPlan channel;
    channel.name = programs[s];
    channel.from = s - 1;
    channel.to = s;
    channel.overflow = Overflow::block;
    plan.channels.push_back(channel);
  }
  return plan;
}

std::vector<Event> events_of(System& system, uint32_t shard) {
  const EventsRecord& record = system.segment().events(shard);
  std::vector<uint64_t> words(size_t{limits::kShardEvents} * 4);
  const CopiedEvents copied =
      copy_events(record.events_written, record.events, limits::kShardEvents, 0, words.data());
  std::vector<Event> events;
  for (uint64_t i = 0; i < copied.count; ++i) events.push_back(unpack(&words[i * 4]));
  return events;
}

uint64_t count(const std::vector<Event>& events, EventKind kind) {
  return static_cast<uint64_t>(std::count_if(
      events.begin(), events.end(), [kind](const Event& event) { return event.kind == kind; }));
}

bool entered(const std::vector<Event>& events, ShardState state) {
  return std::any_of(events.begin(), events.end(), [state](const Event& event) {
    return event.kind == EventKind::state && event.what == static_cast<uint8_t>(state);
  });
}

void stop(System& system) {
  system.stop(false);
  CHECK(soon([&] { return system.state() == SystemState::stopped; }));
}

}  // namespace

TEST(what_was_written_is_read_from_where_one_was) {
  SmallRing ring;
  std::vector<uint64_t> words;
  CHECK_EQ(ring.copy(0, words).count, 0u);
  for (uint64_t n = 0; n < 5; ++n) ring.write(numbered(n));
  CopiedEvents copied = ring.copy(0, words);
  CHECK_EQ(copied.first, 0u);
  CHECK_EQ(copied.count, 5u);
  for (uint64_t n = 0; n < 5; ++n) CHECK(whole(unpack(&words[n * 4]), n));
  copied = ring.copy(3, words);
  CHECK_EQ(copied.first, 3u);
  CHECK_EQ(copied.count, 2u);
  CHECK(whole(unpack(&words[0]), 3));
  CHECK_EQ(ring.copy(5, words).count, 0u);
  CHECK_EQ(ring.copy(500, words).count, 0u);  // of another life
}

TEST(the_oldest_gives_way_and_is_missed) {
  SmallRing ring;
  std::vector<uint64_t> words;
  for (uint64_t n = 0; n < 100; ++n) ring.write(numbered(n));
  const CopiedEvents copied = ring.copy(2, words);
  // The slot of the next one may be half written at any time.
  CHECK_EQ(copied.first, 100 - kSmall + 1);
  CHECK_EQ(copied.count, kSmall - 1);
  for (uint64_t i = 0; i < copied.count; ++i) {
    CHECK(whole(unpack(&words[i * 4]), copied.first + i));
  }
}

// The writer laps the reader again and again, and no half event is ever seen.
TEST(no_event_is_read_that_is_half_another) {
  SmallRing ring;
  std::atomic<bool> over{false};
  std::atomic<uint64_t> torn{0};
  uint64_t seen = 0;
  uint64_t missed = 0;
  std::thread reader([&] {
    std::vector<uint64_t> words;
    uint64_t from = 0;
    while (!over.load()) {
      const CopiedEvents copied = ring.copy(from, words);
      for (uint64_t i = 0; i < copied.count; ++i) {
        if (!whole(unpack(&words[i * 4]), copied.first + i)) torn.fetch_add(1);
      }
      seen += copied.count;
      missed += copied.first - from;
      from = copied.first + copied.count;
    }
  });
  const uint64_t until = monotonic_ns() + 300'000'000;
  uint64_t n = 0;
  while (monotonic_ns() < until) {
    for (uint32_t i = 0; i < 1000; ++i) ring.write(numbered(n++));
    if (n % 8000 == 0) std::this_thread::yield();
  }
  over = true;
  reader.join();
  CHECK_EQ(torn.load(), 0u);
  CHECK(seen > 0);
  CHECK(missed > 0);
}

TEST(a_shard_that_is_not_traced_notes_its_life_and_nothing_else) {
  System system(line("not-traced"), {});
  system.start();
  CHECK(soon([&] { return system.segment().shard(2).received.get() > 10000; }));
  command_shard(system.segment().path(), 1, Command::hold, 0);
  CHECK(soon([&] { return system.shard(1).state() == ShardState::held; }));
  command_shard(system.segment().path(), 1, Command::hold, 2);
  CHECK(soon([&] { return system.segment().shard(1).steps_taken.get() == 2; }));
  stop(system);
  const std::vector<Event> events = events_of(system, 1);
  CHECK(entered(events, ShardState::ready));
  CHECK(entered(events, ShardState::running));
  CHECK(entered(events, ShardState::held));
  CHECK(entered(events, ShardState::stopped));
  CHECK_EQ(count(events, EventKind::step), 2u);
  CHECK_EQ(count(events, EventKind::step) + count(events, EventKind::state), events.size());
}

TEST(a_traced_shard_notes_each_burst_and_wait_in_order) {
  Plan plan = line("traced");
  plan.shards[0].options["rate"] = "20000";
  for (ShardPlan& shard : plan.shards) shard.trace = true;
  System system(plan, {});
  system.start();
  // On a busy machine work is there before it comes to sleep.
  CHECK(soon([&] {
    const ShardRecord& end = system.segment().shard(2);
    return end.received.get() > 4000 && end.waits.get() > 20;
  }));
  stop(system);
  for (uint32_t s = 0; s < 3; ++s) {
    const std::vector<Event> events = events_of(system, s);
    uint64_t last = system.segment().events(s).epoch_ticks.get();
    uint64_t sent = 0;
    uint64_t received = 0;
    for (const Event& event : events) {
      CHECK(event.ticks >= last);
      last = event.ticks;
      if (event.kind == EventKind::turn) CHECK(event.a < event.ticks && event.count != 0);
      const bool by_channel = event.what == 0;
      // Each goes on where the one before it ended.
      if (event.kind == EventKind::send && by_channel) {
        CHECK_EQ(event.place, s);
        CHECK(sent == 0 || event.a == sent + event.count);
        sent = event.a;
      }
      if (event.kind == EventKind::receive && by_channel) {
        CHECK_EQ(event.place, s - 1);
        CHECK(received == 0 || event.a == received + event.count);
        received = event.a;
      }
      if (event.kind == EventKind::wake && event.what == static_cast<uint8_t>(Wake::signalled)) {
        CHECK(event.a != 0);  // somebody had work for it
      }
    }
    CHECK(count(events, EventKind::turn) > 10);
    CHECK_EQ(sent, s == 2 ? 0u : system.segment().channel(s).sent.get());
    CHECK_EQ(received, s == 0 ? 0u : system.segment().channel(s - 1).received.get());
  }
  CHECK(count(events_of(system, 2), EventKind::sleep) > 0);
  CHECK(count(events_of(system, 2), EventKind::wake) > 0);
}

TEST(tracing_is_switched_from_outside) {
  System system(line("switched"), {});
  const std::string path = system.segment().path();
  system.start();
  CHECK(soon([&] { return system.segment().shard(2).received.get() > 1000; }));
  CHECK_EQ(count(events_of(system, 1), EventKind::turn), 0u);
  trace_shard(path, 1, true);
  CHECK(soon([&] { return count(events_of(system, 1), EventKind::send) > 100; }));
  CHECK_EQ(count(events_of(system, 2), EventKind::turn), 0u);
  trace_shard(path, 1, false);
  // A turn that was under way may note some more.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const uint64_t written = system.segment().events(1).events_written.get();
  const uint64_t received = system.segment().shard(2).received.get();
  CHECK(soon([&] { return system.segment().shard(2).received.get() > received + 10000; }));
  CHECK_EQ(system.segment().events(1).events_written.get(), written);
  CHECK_THROWS(trace_shard(path, 3, true), Error);
  CHECK_THROWS(trace_shard("/nowhere", 0, true), Error);
  stop(system);
}

TEST(a_full_channel_is_seen_by_who_waits_for_it) {
  Plan plan = line("blocked");
  plan.channels[0].high_watermark = 512;
  plan.channels[0].low_watermark = 16;
  plan.shards[0].options["rate"] = "200000";  // so that it fills while it is watched, not before
  plan.shards[0].trace = true;
  System system(plan, {});
  system.start();
  CHECK(soon([&] { return system.segment().shard(2).received.get() > 1000; }));
  command_shard(system.segment().path(), 1, Command::hold, 0);
  CHECK(soon([&] { return system.segment().channel(0).blocked.get() != 0; }));
  const auto last = [&](EventKind kind) {
    Event found;
    for (const Event& event : events_of(system, 0)) {
      if (event.kind == kind) found = event;
    }
    return found;
  };
  CHECK(soon([&] { return last(EventKind::block).ticks > last(EventKind::unblock).ticks; }));
  CHECK_EQ(last(EventKind::block).place, 0u);
  CHECK_EQ(static_cast<uint32_t>(last(EventKind::watermark).what), 1u);
  CHECK(last(EventKind::watermark).count >= 512);
  command_shard(system.segment().path(), 1, Command::run, 0);
  stop(system);
}

// Else a wait that was never seen to end would last until the end of another.
TEST(what_was_seen_to_begin_is_seen_to_end) {
  System system(line("pairs"), {});
  const std::string path = system.segment().path();
  // When the source was last seen to begin to wait for room, and to have it.
  const auto last = [&](EventKind kind) {
    uint64_t ticks = 0;
    for (const Event& event : events_of(system, 0)) {
      if (event.kind == kind) ticks = event.ticks;
    }
    return ticks;
  };
  system.start();
  CHECK(soon([&] { return system.segment().shard(2).received.get() > 1000; }));
  trace_shard(path, 0, true);
  CHECK(soon([&] { return last(EventKind::turn) != 0; }));
  command_shard(path, 1, Command::hold, 0);
  CHECK(soon([&] { return system.shard(1).state() == ShardState::held; }));
  CHECK(soon([&] { return last(EventKind::block) > last(EventKind::unblock); }));
  trace_shard(path, 0, false);
  command_shard(path, 1, Command::run, 0);
  CHECK(soon([&] { return last(EventKind::unblock) > last(EventKind::block); }));
  stop(system);
}
