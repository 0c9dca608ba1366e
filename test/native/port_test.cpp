#include "port/port.hpp"

#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <set>

#include "capture_bytes.hpp"
#include "check.hpp"
#include "platform/error.hpp"
#include "port/capture/reader.hpp"

using namespace vanity;

namespace {

struct FreeMemory {
  void operator()(void* p) const { std::free(p); }
};

// A port with one queue each way, its records and a pool, as a shard has them.
struct Rig {
  std::unique_ptr<PortRecord> port_record = std::make_unique<PortRecord>();
  std::unique_ptr<QueueRecord> rx = std::make_unique<QueueRecord>();
  std::unique_ptr<QueueRecord> tx = std::make_unique<QueueRecord>();
  std::unique_ptr<PoolRecord> pool_record = std::make_unique<PoolRecord>();
  std::unique_ptr<void, FreeMemory> memory;
  std::unique_ptr<Pool> pool;
  PoolTable table;
  std::unique_ptr<Port> port;

  explicit Rig(PortOptions options, uint32_t buffers = 64) {
    options.driver = "capture";
    options.index = 5;
    const uint64_t bytes = (Pool::memory_bytes(buffers, options.buffer_bytes) + 63) / 64 * 64;
    memory.reset(std::aligned_alloc(64, bytes));
    pool =
        std::make_unique<Pool>(3, buffers, options.buffer_bytes, memory.get(), pool_record.get());
    table.add(*pool);
    port = create_port(options, {port_record.get(), {rx.get()}, {tx.get()}});
    port->start();
  }

  std::vector<std::vector<uint8_t>> frames;
  std::vector<vanity_packet_meta> metas;
  std::vector<vanity_packet> packets;
  // One burst, looked at and given back.
  uint32_t turn(uint32_t n = 32) {
    vanity_packet burst[256];
    const uint32_t got = port->rx(0).receive(*pool, burst, n);
    for (uint32_t i = 0; i < got; ++i) {
      const uint8_t* data = table.data(burst[i]);
      frames.emplace_back(data, data + burst[i].length);
      metas.push_back(table.meta(burst[i]));
      packets.push_back(burst[i]);
    }
    pool->give(burst, got);
    return got;
  }
};

Bytes capture_of(uint32_t frames, uint32_t bytes = 60) {
  Bytes file;
  file.pcap_header(0xa1b23c4d);
  for (uint32_t i = 0; i < frames; ++i)
    file.pcap_record(i, 7, frame_of(bytes + i % 200, uint8_t(i)), i % 2 ? 1500 : 0);
  return file;
}

std::string code_of(PortOptions options) {
  try {
    Rig rig(options);
  } catch (const Error& error) {
    return error.code();
  }
  return "accepted";
}

uint64_t now_ns() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return uint64_t(t.tv_sec) * 1'000'000'000 + uint64_t(t.tv_nsec);
}

}  // namespace

TEST(a_pool_gives_every_buffer_once_and_counts) {
  const uint32_t n = 100;
  std::unique_ptr<void, FreeMemory> memory(
      std::aligned_alloc(64, (Pool::memory_bytes(n, 256) + 63) / 64 * 64));
  auto record = std::make_unique<PoolRecord>();
  Pool pool(7, n, 256, memory.get(), record.get());
  CHECK_EQ(pool.stride() % 64, 0u);
  CHECK_EQ(pool.stride() / 64 % 2, 1u);
  uint32_t ids[2 * n];
  CHECK_EQ(pool.take(ids, 2 * n), n);
  CHECK_EQ(pool.missing(), n);
  CHECK_EQ(pool.take(ids + n, 1), 0u);
  const std::set<uint32_t> distinct(ids, ids + n);
  CHECK_EQ(distinct.size(), size_t(n));
  for (const uint32_t id : distinct) {
    CHECK_EQ(id >> 24, 7u);
    std::memset(pool.buffer(id), int(id), 256);
  }
  for (const uint32_t id : distinct) CHECK_EQ(int(pool.buffer(id)[255]), int(uint8_t(id)));
  pool.give(ids, n);
  CHECK_EQ(pool.missing(), 0u);
  CHECK_EQ(record->taken.get(), n);
  CHECK_EQ(record->returned.get(), n);
  CHECK_EQ(record->empty.get(), 2u);
  uint32_t again[1];
  CHECK_EQ(pool.take(again, 1), 1u);
  CHECK_EQ(again[0], ids[n - 1]);  // last in, first out
  CHECK_THROWS(Pool(256, n, 256, memory.get()), Error);
  CHECK_THROWS(Pool(0, 0, 256, memory.get()), Error);
  CHECK_THROWS(Pool(0, (1u << 20) + 1, 256, memory.get()), Error);
  CHECK_THROWS(Pool(0, n, 192, memory.get()), Error);
  CHECK_THROWS(Pool(0, n, 65600, memory.get()), Error);
  CHECK_THROWS(Pool(0, n, 300, memory.get()), Error);
}

// As a device that writes all over the memory that it reaches.
TEST(what_is_written_into_buffers_makes_no_buffer_two) {
  const uint64_t bytes = (Pool::memory_bytes(8, 256) + 63) / 64 * 64;
  std::unique_ptr<void, FreeMemory> memory(std::aligned_alloc(64, bytes));
  Pool pool(2, 8, 256, memory.get());
  PoolTable table;
  table.add(pool);
  vanity_packet shared{};
  CHECK_EQ(pool.take(&shared, 1), 1u);
  table.share(shared, 2);
  for (const int byte : {0x00, 0x01, 0xff}) {
    std::memset(memory.get(), byte, bytes);
    uint32_t ids[8];
    CHECK_EQ(pool.take(ids, 8), 7u);
    std::set<uint32_t> distinct(ids, ids + 7);
    distinct.insert(shared.buffer);
    CHECK_EQ(distinct.size(), size_t(8));
    for (const uint32_t id : distinct) CHECK((id & kPoolIndexMask) < 8);
    pool.give(ids, 7);
  }
  CHECK(!table.release(shared));
  CHECK(table.release(shared));
}

TEST(a_shared_buffer_is_released_by_its_last_owner) {
  std::unique_ptr<void, FreeMemory> memory(std::aligned_alloc(64, 4096));
  Pool pool(0, 1, 2048, memory.get());
  PoolTable table;
  table.add(pool);
  vanity_packet packet{};
  CHECK_EQ(pool.take(&packet, 1), 1u);
  CHECK(table.release(packet));  // not shared: the only owner
  table.share(packet, 2);
  vanity_packet copy = packet;
  table.share(copy, 2);  // one of the two multiplies again
  CHECK(!table.release(packet));
  CHECK(!table.release(copy));
  CHECK(table.release(copy));
}

TEST(replay_as_fast_gives_every_packet_once) {
  TemporaryFile file(".pcap", capture_of(500).bytes);
  Rig rig({.rx_queues = 1, .file = file.path});
  CHECK(rig.port->state() == PortState::up);
  while (!rig.port->rx(0).finished()) rig.turn();
  CHECK_EQ(rig.frames.size(), 500u);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < 500; ++i) {
    CHECK(rig.frames[i] == frame_of(60 + i % 200, uint8_t(i)));
    CHECK_EQ(rig.metas[i].timestamp_ns, i * 1'000'000'000ull + 7);
    CHECK_EQ(rig.metas[i].wire_length, i % 2 ? 1500u : 60 + i % 200);
    CHECK_EQ(rig.packets[i].flags, i % 2 ? VANITY_PACKET_TRUNCATED : 0u);
    CHECK_EQ(rig.packets[i].port, 5);
    CHECK_EQ(rig.packets[i].hash, 0u);
    bytes += rig.frames[i].size();
  }
  CHECK_EQ(rig.rx->packets.get(), 500u);
  CHECK_EQ(rig.rx->bytes.get(), bytes);
  CHECK(rig.port->state() == PortState::finished);
  CHECK_EQ(rig.turn(), 0u);
  CHECK_EQ(rig.port->rx(0).sleep_ns_max(), kSleepForever);
  CHECK_EQ(rig.pool->missing(), 0u);
}

TEST(replay_in_a_loop_repeats_exactly) {
  TemporaryFile file(".pcap", capture_of(300).bytes);
  Rig rig({.rx_queues = 1, .file = file.path, .replay = ReplayMode::loop});
  while (rig.frames.size() < 1000) CHECK(rig.turn(1 + uint32_t(rig.frames.size()) % 256) > 0);
  for (uint32_t i = 0; i < 1000; ++i) {
    const uint32_t k = i % 300;
    CHECK(rig.frames[i] == frame_of(60 + k % 200, uint8_t(k)));
    CHECK_EQ(rig.metas[i].timestamp_ns, k * 1'000'000'000ull + 7);
  }
  CHECK(!rig.port->rx(0).finished());
  CHECK_EQ(rig.port->rx(0).sleep_ns_max(), 0u);
}

TEST(an_empty_capture_is_finished_in_every_mode) {
  TemporaryFile file(".pcap", capture_of(0).bytes);
  for (const auto mode : {ReplayMode::as_fast, ReplayMode::loop, ReplayMode::timed}) {
    Rig rig({.rx_queues = 1, .file = file.path, .replay = mode});
    CHECK_EQ(rig.turn(), 0u);
    CHECK(rig.port->rx(0).finished());
    CHECK(rig.port->state() == PortState::finished);
    CHECK(rig.port->error().empty());
  }
}

TEST(a_capture_that_ends_in_the_middle_gives_what_it_has_and_fails) {
  auto content = capture_of(40).bytes;
  content.resize(content.size() - 5);
  TemporaryFile file(".pcap", content);
  for (const auto mode : {ReplayMode::as_fast, ReplayMode::loop}) {
    Rig rig({.rx_queues = 1, .file = file.path, .replay = mode});
    while (!rig.port->rx(0).finished()) rig.turn();
    CHECK_EQ(rig.frames.size(), 39u);
    CHECK(rig.port->state() == PortState::failed);
    CHECK_EQ(rig.port_record->errors.get(), 1u);
    const uint64_t offset = content.size() + 5 - 16 - 99;
    CHECK_EQ(rig.port->error(),
             file.path + ": offset " + std::to_string(offset) + ": the file ends inside a record");
  }
}

TEST(frames_that_do_not_fit_and_runts_are_counted) {
  Bytes content;
  content.pcap_header();
  content.pcap_record(1, 0, frame_of(256 - 80, 1));
  content.pcap_record(1, 0, frame_of(256 - 79, 2));
  content.pcap_record(1, 0, frame_of(13, 3)).pcap_record(1, 0, {});
  content.pcap_record(1, 0, frame_of(100'000, 4));
  TemporaryFile file(".pcap", content.bytes);
  for (const auto mode : {ReplayMode::as_fast, ReplayMode::loop, ReplayMode::timed}) {
    Rig rig({.rx_queues = 1, .file = file.path, .replay = mode, .buffer_bytes = 256});
    rig.turn();
    if (mode != ReplayMode::loop) rig.turn();
    CHECK_EQ(rig.frames.size(), 1u);
    CHECK(rig.frames[0] == frame_of(176, 1));
    CHECK_EQ(rig.rx->oversize.get(), 2u);
    CHECK_EQ(rig.rx->invalid.get(), 2u);
  }
}

TEST(an_empty_pool_holds_the_replay_back_and_loses_nothing) {
  TemporaryFile file(".pcap", capture_of(100).bytes);
  for (const auto mode : {ReplayMode::as_fast, ReplayMode::loop}) {
    Rig rig({.rx_queues = 1, .file = file.path, .replay = mode}, 10);
    vanity_packet held[32];
    CHECK_EQ(rig.port->rx(0).receive(*rig.pool, held, 32), 10u);
    CHECK_EQ(rig.turn(), 0u);
    CHECK(!rig.port->rx(0).finished());
    rig.pool->give(held, 10);
    for (int i = 0; i < 9; ++i) CHECK_EQ(rig.turn(10), 10u);
    CHECK(rig.frames[0] == frame_of(70, 10));
    CHECK(rig.frames[89] == frame_of(159, 99));
    CHECK_EQ(rig.rx->no_buffer.get(), 0u);
  }
}

TEST(replay_at_captured_time_keeps_the_gaps) {
  Bytes content;
  content.pcap_header(0xa1b23c4d);
  content.pcap_record(9, 0, frame_of(60, 0)).pcap_record(9, 30'000'000, frame_of(60, 1));
  content.pcap_record(5, 0, frame_of(60, 2));  // the clock was set back: at once
  content.pcap_record(5, 20'000'000, frame_of(60, 3));
  TemporaryFile file(".pcap", content.bytes);
  Rig rig({.rx_queues = 1, .file = file.path, .replay = ReplayMode::timed});
  const uint64_t start = now_ns();
  std::vector<uint64_t> at;
  while (!rig.port->rx(0).finished()) {
    if (rig.turn() == 0 && !rig.port->rx(0).finished()) {
      CHECK(rig.port->rx(0).sleep_ns_max() <= 30'000'000);
    }
    while (at.size() < rig.frames.size()) at.push_back(now_ns() - start);
  }
  CHECK_EQ(at.size(), 4u);
  CHECK(at[0] < 20'000'000);
  CHECK(at[1] >= 30'000'000);
  CHECK(at[2] < at[1] + 15'000'000);
  CHECK(at[3] >= 50'000'000);
}

TEST(what_is_written_is_read_back_the_same) {
  TemporaryFile in(".pcap", capture_of(3000).bytes);
  for (const char* suffix : {".pcap", ".pcapng"}) {
    TemporaryFile out(suffix);
    {
      Rig rig({.rx_queues = 1, .tx_queues = 1, .file = in.path, .write = out.path});
      vanity_packet burst[32];
      while (!rig.port->rx(0).finished()) {
        const uint32_t got = rig.port->rx(0).receive(*rig.pool, burst, 32);
        CHECK_EQ(rig.port->tx(0).transmit(rig.table, burst, got), got);
        rig.pool->give(burst, got);
      }
      CHECK_EQ(rig.tx->packets.get(), 3000u);
      CHECK_EQ(rig.tx->bytes.get(), rig.rx->bytes.get());
      rig.port->close();
    }
    auto before = CaptureReader::open(in.path);
    auto after = CaptureReader::open(out.path);
    CaptureRecord a, b;
    for (int i = 0; i < 3000; ++i) {
      CHECK(before.next(a) == CaptureReader::Next::record);
      CHECK(after.next(b) == CaptureReader::Next::record);
      CHECK_EQ(a.length, b.length);
      CHECK_EQ(a.wire_length, b.wire_length);
      CHECK_EQ(a.timestamp_ns, b.timestamp_ns);
      CHECK_EQ(std::memcmp(a.data, b.data, a.length), 0);
    }
    CHECK(after.next(b) == CaptureReader::Next::end);
  }
}

TEST(a_full_disk_fails_the_port_once_and_leaves_whole_records) {
  TemporaryFile in(".pcap", capture_of(3000, 1000).bytes);
  TemporaryFile out(".pcap");
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1'500'000, RLIM_INFINITY};
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  ::setrlimit(RLIMIT_FSIZE, &small);
  Rig rig({.rx_queues = 1, .tx_queues = 1, .file = in.path, .write = out.path});
  vanity_packet burst[32];
  while (!rig.port->rx(0).finished()) {
    const uint32_t got = rig.port->rx(0).receive(*rig.pool, burst, 32);
    CHECK_EQ(rig.port->tx(0).transmit(rig.table, burst, got), got);
    rig.pool->give(burst, got);
  }
  rig.port->tx(0).flush();
  rig.port->close();
  ::setrlimit(RLIMIT_FSIZE, &before);
  CHECK(rig.port->state() == PortState::failed);
  CHECK_EQ(rig.port_record->errors.get(), 1u);
  CHECK(rig.port->error().find("File too large") != std::string::npos);
  auto reader = CaptureReader::open(out.path);
  CaptureRecord record;
  uint64_t records = 0;
  while (reader.next(record) == CaptureReader::Next::record) ++records;
  CHECK(reader.error_reason() == nullptr);
  CHECK(records > 0 && records < 3000);
  CHECK_EQ(rig.tx->dropped.get(), 3000 - records);
}

TEST(what_cannot_be_opened_is_refused_before_anything_starts) {
  TemporaryFile good(".pcap", capture_of(1).bytes);
  TemporaryFile raw_ip(".pcap",
                       Bytes{}.pcap_header(0xa1b2c3d4, 101).pcap_record(1, 0, frame_of(60)).bytes);
  TemporaryFile text(".pcap", frame_of(300));
  CHECK_EQ(code_of({.rx_queues = 1, .file = "/nowhere/in.pcap"}), "VANITY_E_CAPTURE_OPEN");
  CHECK_EQ(code_of({.rx_queues = 1, .file = raw_ip.path}), "VANITY_E_CAPTURE_LINKTYPE");
  CHECK_EQ(code_of({.rx_queues = 1, .file = text.path}), "VANITY_E_CAPTURE_FORMAT");
  CHECK_EQ(code_of({.tx_queues = 1, .write = "/nowhere/out.pcap"}), "VANITY_E_CAPTURE_WRITE");
  CHECK_EQ(code_of({.rx_queues = 1, .tx_queues = 1, .file = good.path, .write = good.path}),
           "VANITY_E_CAPTURE_WRITE");
  CHECK_EQ(code_of({.rx_queues = 1, .file = good.path}), "accepted");
  TemporaryFile out(".pcap");
  Rig first({.tx_queues = 1, .write = out.path});
  CHECK_EQ(code_of({.tx_queues = 1, .write = out.path}), "VANITY_E_CAPTURE_WRITE");
  CHECK_THROWS(create_port({.name = "a", .driver = "tap"}, {}), Error);
}
