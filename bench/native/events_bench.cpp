// What an event costs a shard: written while it is traced, and looked for while it is not. The loop
// around it is that of a shard in small: a counter that goes up in the line that has the switch.
// The ring goes round, so its lines are cold as they are in a shard that does other things.
// And what sampled packets cost: the look at a burst without one, and one that comes in.
//   events_bench [--json] [--quick] [--rounds N]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "memory/pool.hpp"
#include "options.hpp"
#include "platform/clock.hpp"
#include "shard/event_log.hpp"
#include "shard/packet_trail.hpp"
#include "vanity/platform.hpp"
#include "vanity/segment.hpp"

using namespace vanity;

namespace {

constexpr double kTargetNs = 20;
constexpr uint32_t kBurst = 32;
constexpr uint32_t kBufferBytes = 512;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Setting {
  std::unique_ptr<ShardRecord> shard = std::make_unique<ShardRecord>();
  std::unique_ptr<EventsRecord> events = std::make_unique<EventsRecord>();
  EventLog log;
};

// A burst of packets, as a shard has it that looks for sampled ones.
struct Burst {
  alignas(64) uint8_t memory[Pool::memory_bytes(kBurst, kBufferBytes)];
  Pool pool{0, kBurst, kBufferBytes, memory};
  PoolTable table;
  PacketTrail trail;
  vanity_packet packets[kBurst] = {};

  explicit Burst(EventsRecord& record) {
    table.add(pool);
    pool.take(packets, kBurst);
    for (vanity_packet& packet : packets) {
      packet.offset = VANITY_FRAME_OFFSET;
      packet.length = limits::kPacketBytes;
    }
    trail.write_to(record, 0);
    trail.wire(&table);
  }
};

[[gnu::noinline]] void sampled(Setting& at, Burst& burst, uint64_t turns) {
  ShardRecord& record = *at.shard;
  for (uint64_t i = 0; i < turns; ++i) {
    record.sent.add(kBurst);
    if (record.tracing.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      burst.trail.took(burst.packets, kBurst, 1);
    }
  }
}

[[gnu::noinline]] void marked(Setting& at, Burst& burst, uint64_t turns) {
  ShardRecord& record = *at.shard;
  for (uint64_t i = 0; i < turns; ++i) {
    record.sent.add(1);
    burst.trail.mark(burst.packets, 1, 1);
    burst.trail.came(burst.packets, 1);
  }
}

// As in Shard::offer(): counted, and noted when somebody wants to know.
[[gnu::noinline]] void traced(Setting& at, uint64_t turns) {
  ShardRecord& record = *at.shard;
  for (uint64_t i = 0; i < turns; ++i) {
    record.sent.add(32);
    if (record.tracing.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      at.log.note({.kind = EventKind::send, .place = 1, .count = 32, .a = record.sent.get()});
    }
  }
}

[[gnu::noinline]] void bare(Setting& at, uint64_t turns) {
  ShardRecord& record = *at.shard;
  for (uint64_t i = 0; i < turns; ++i) {
    record.sent.add(32);
    asm volatile("" ::: "memory");
  }
}

template <class Body>
double ns_each(uint64_t turns, Body&& body) {
  const uint64_t since = now_ticks();
  body(turns);
  return static_cast<double>(ticks_to_ns(now_ticks() - since)) / static_cast<double>(turns);
}

void print_samples(const char* name, const std::vector<double>& values, bool last) {
  std::printf("\"%s\":[", name);
  for (size_t i = 0; i < values.size(); ++i) std::printf("%s%.3f", i == 0 ? "" : ",", values[i]);
  std::printf("]%s", last ? "" : ",");
}

}  // namespace

int main(int argc, char** argv) {
  const BenchOptions options(argc, argv, 31, 5);
  const uint64_t turns = options.quick ? 200'000 : 2'000'000;
  ticks_to_ns(1);  // calibrated before, not within
  Setting at;
  at.log.write_to(*at.events);
  std::vector<double> loop;
  std::vector<double> off;
  std::vector<double> on;
  std::vector<double> clock;
  const auto burst = std::make_unique<Burst>(*at.events);
  std::vector<double> none;
  std::vector<double> mark;
  uint64_t sum = 0;
  for (uint32_t round = 0; round < options.rounds; ++round) {
    loop.push_back(ns_each(turns, [&](uint64_t n) { bare(at, n); }));
    at.shard->tracing.store(0, std::memory_order_relaxed);
    off.push_back(ns_each(turns, [&](uint64_t n) { traced(at, n); }));
    at.shard->tracing.store(1, std::memory_order_relaxed);
    on.push_back(ns_each(turns, [&](uint64_t n) { traced(at, n); }));
    none.push_back(ns_each(turns, [&](uint64_t n) { sampled(at, *burst, n); }));
    mark.push_back(ns_each(turns / 8, [&](uint64_t n) { marked(at, *burst, n); }));
    burst->packets[0].flags = 0;
    clock.push_back(ns_each(turns, [&](uint64_t n) {
      for (uint64_t i = 0; i < n; ++i) sum += now_ticks();
    }));
  }
  const double event = median(on) - median(loop);
  const double look = median(off) - median(loop);
  const double unmarked = median(none) - median(loop);
  const double packet = median(mark) - median(loop);
  if (options.json) {
    std::printf("{\"figures\":[");
    std::printf(
        "{\"name\":\"an event, traced\",\"value\":%.2f,\"unit\":\"ns\",\"target\":\"<= "
        "%.0f\",\"met\":%s},",
        event, kTargetNs, event <= kTargetNs ? "true" : "false");
    std::printf(
        "{\"name\":\"of it, reading the clock\",\"value\":%.2f,\"unit\":\"ns\",\"target\":null,"
        "\"met\":null},",
        median(clock));
    std::printf(
        "{\"name\":\"an event, not traced\",\"value\":%.2f,\"unit\":\"ns\",\"target\":\"<= "
        "1\",\"met\":%s},",
        look, look <= 1 ? "true" : "false");
    std::printf(
        "{\"name\":\"a burst of 32 without a sampled packet\",\"value\":%.2f,\"unit\":\"ns\","
        "\"target\":null,\"met\":null},",
        unmarked);
    std::printf(
        "{\"name\":\"a sampled packet of 128 bytes that comes in\",\"value\":%.2f,\"unit\":"
        "\"ns\",\"target\":null,\"met\":null}",
        packet);
    std::printf("],\"ns\":{");
    print_samples("loop", loop, false);
    print_samples("off", off, false);
    print_samples("on", on, false);
    print_samples("none", none, false);
    print_samples("mark", mark, false);
    print_samples("clock", clock, true);
    std::printf("}}\n");
  } else {
    std::printf("an event: %.2f ns traced (%.2f of them the clock), %.2f ns not traced\n", event,
                median(clock), look);
    std::printf("packets: %.2f ns a burst of 32 without a sampled one, %.2f ns a sampled one\n",
                unmarked, packet);
  }
  return sum == 0 ? 1 : 0;
}
