// The rings of the 82574L against a device model in memory: one that behaves, and one that writes
// whatever it likes. The real thing is in test/guest/e1000e_test.cpp.
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "check.hpp"
#include "memory/pool.hpp"
#include "port/e1000e/device.hpp"
#include "port/e1000e/queues.hpp"
#include "port/e1000e/registers.hpp"

using namespace vanity;
using namespace vanity::e1000e;

namespace {

using Bytes = std::vector<uint8_t>;
constexpr uint32_t kRing = 64;
constexpr uint32_t kBuffers = 256;

Bytes frame_of(uint32_t bytes, uint32_t seed) {
  Bytes frame(bytes);
  for (uint8_t& byte : frame) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(seed >> 24);
  }
  return frame;
}

// A pool whose buffers the device finds at the addresses that we do.
struct Buffers {
  std::unique_ptr<uint8_t[]> memory;
  Pool pool;
  PoolTable table;
  BufferMap map;
  uint64_t base;

  explicit Buffers(uint32_t bytes = 2048)
      : memory(new (std::align_val_t(64)) uint8_t[Pool::memory_bytes(kBuffers, bytes)]()),
        pool(3, kBuffers, bytes, memory.get()),
        base(reinterpret_cast<uint64_t>(pool.base())) {
    table.add(pool);
    map.add(pool, &base, 63);
  }
  ~Buffers() { ::operator delete[](memory.release(), std::align_val_t(64)); }
};

// The registers, as memory that remembers what was written last.
struct Registers {
  std::vector<uint32_t> words = std::vector<uint32_t>(kRegisterBytes / 4);
  MmioView view{words.data(), kRegisterBytes};
  uint32_t operator[](uint64_t offset) const { return words[offset / 4]; }
};

struct RxBench {
  Buffers buffers;
  Registers registers;
  std::vector<Descriptor> ring = std::vector<Descriptor>(kRing);
  QueueRecord record{};
  Rx queue;
  uint32_t head = 0;  // the device's

  explicit RxBench(uint32_t buffer_bytes = 2048)
      : buffers(buffer_bytes),
        queue(&record,
              {ring.data(), kRing, registers.view.at<uint32_t>(kRdt),
               RxInterrupt(registers.view, kCauseRx0), false,
               rx_size(buffer_bytes - VANITY_FRAME_OFFSET).bytes, &buffers.map, 5, 0, true}) {
    queue.tenure.revive();
  }

  uint32_t receive(vanity_packet* packets, uint32_t n) {
    return queue.receive(buffers.pool, packets, n);
  }
  uint32_t tail() const { return registers[kRdt]; }
  // As the device does it; false without a buffer.
  bool deliver(const Bytes& frame, uint64_t status = RxDone::kDone | RxDone::kEndOfPacket) {
    if (head == tail()) return false;
    Descriptor& descriptor = ring[head];
    if (!frame.empty())
      std::memcpy(reinterpret_cast<void*>(descriptor.low), frame.data(), frame.size());
    store(descriptor.low, 0x123456789abcdef0);  // hash and MRQ
    store(descriptor.high, status | uint64_t{frame.size()} << 32 | uint64_t{0xbeef} << 48);
    head = (head + 1) % kRing;
    return true;
  }
  // As the port does after a lie.
  void make_anew() {
    vanity_packet packet;
    queue.tenure.stop();
    CHECK(queue.tenure.stopped());
    CHECK_EQ(receive(&packet, 1), 0u);
    CHECK(!queue.tenure.drained());
    queue.tenure.release();
    CHECK_EQ(receive(&packet, 1), 0u);
    CHECK(queue.tenure.drained());
    registers.words[kRdt / 4] = head = 0;
    queue.tenure.revive();
  }
  void take_all_back() {
    vanity_packet packets[16];
    uint32_t got;
    while ((got = queue.take_back(packets, 16)) != 0) buffers.pool.give(packets, got);
  }
};

struct TxBench {
  Buffers buffers;
  Registers registers;
  std::vector<Descriptor> ring = std::vector<Descriptor>(kRing);
  QueueRecord record{};
  Tx queue;
  uint32_t head = 0;  // the device's

  TxBench()
      : queue(&record, {ring.data(), kRing, registers.view.at<uint32_t>(kTdt), &buffers.map}) {
    queue.tenure.revive();
  }

  vanity_packet packet(const Bytes& frame) {
    vanity_packet packet{};
    CHECK_EQ(buffers.pool.take(&packet, 1), 1u);
    packet.offset = VANITY_FRAME_OFFSET;
    packet.length = static_cast<uint16_t>(frame.size());
    std::memcpy(buffers.table.data(packet), frame.data(), frame.size());
    return packet;
  }
  uint32_t transmit(const vanity_packet* packets, uint32_t n) {
    return queue.transmit(buffers.table, packets, n);
  }
  uint32_t tail() const { return registers[kTdt]; }
  // The device sends one; empty when there is none.
  Bytes send() {
    if (head == tail()) return {};
    Descriptor& descriptor = ring[head];
    CHECK_EQ(descriptor.high >> 24 & 0xff & ~0x08u, 0x03u);  // EOP, IFCS, nothing but RS beside
    const auto* const from = reinterpret_cast<const uint8_t*>(descriptor.low);
    Bytes frame(from, from + (descriptor.high & 0xffff));
    if ((descriptor.high & kTxReport) != 0) store(descriptor.high, descriptor.high | kTxDone);
    head = (head + 1) % kRing;
    return frame;
  }
};

}  // namespace

TEST(buffers_are_declared_as_what_they_hold) {
  CHECK_EQ(rx_size(176).bytes, 0u);
  CHECK_EQ(rx_size(256).bytes, 256u);
  CHECK_EQ(rx_size(1521).bytes, 1024u);
  CHECK_EQ(rx_size(1522).bytes, 1522u);  // and 2048 to the device, which refuses longer frames
  CHECK_EQ(rx_size(1522).rctl & kRctlLong, 0u);
  CHECK_EQ(rx_size(2047).bytes, 1522u);
  CHECK_EQ(rx_size(2048).bytes, 2048u);
  CHECK_EQ(rx_size(9300).bytes, 9216u);
  CHECK_EQ(rx_size(65535).bytes, 15360u);
  for (uint32_t room = 256; room < 70000; room += 7) CHECK(rx_size(room).bytes <= room);
}

TEST(the_filter_has_the_address_that_is_given_or_the_devices_own) {
  Registers registers;
  Device device(registers.view);
  registers.words[kRal0 / 4] = 0x00005452;
  registers.words[kRah0 / 4] = kRahValid | 0x0101;
  device.set_filter({}, false);
  CHECK_EQ(registers[kRal0], 0x00005452u);
  CHECK_EQ(registers[kRah0], kRahValid | 0x0101u);
  device.set_filter({2, 0, 0, 0, 8, 9}, false);
  CHECK_EQ(registers[kRal0], 0x00000002u);
  CHECK_EQ(registers[kRah0], kRahValid | 0x0908u);
}

TEST(frames_come_in_order_over_many_laps) {
  RxBench bench;
  std::mt19937 random(1);
  vanity_packet packets[40];
  CHECK_EQ(bench.receive(packets, 40), 0u);
  CHECK_EQ(bench.tail(), kRing - 1);
  uint32_t sent = 0, got = 0;
  while (got < 5000) {
    for (uint32_t i = random() % 70; i != 0; --i)
      sent += bench.deliver(frame_of(14 + sent * 7 % 1500, sent));
    const uint32_t n = bench.receive(packets, 1 + random() % 40);
    for (uint32_t i = 0; i < n; ++i, ++got) {
      const Bytes frame = frame_of(14 + got * 7 % 1500, got);
      CHECK_EQ(packets[i].length, frame.size());
      CHECK_EQ(packets[i].port, 5);
      CHECK(std::memcmp(bench.buffers.table.data(packets[i]), frame.data(), frame.size()) == 0);
    }
    bench.buffers.pool.give(packets, n);
  }
  CHECK_EQ(bench.record.packets.get(), got);
  CHECK_EQ(bench.record.invalid.get(), 0u);
  bench.take_all_back();
  CHECK_EQ(bench.buffers.pool.missing(), 0u);
}

TEST(what_is_done_out_of_order_waits_for_its_turn) {
  RxBench bench;
  vanity_packet packets[8];
  bench.receive(packets, 8);
  for (const uint32_t slot : {3u, 1u}) {
    const uint64_t high = RxDone::kDone | RxDone::kEndOfPacket | uint64_t{60} << 32;
    store(bench.ring[slot].high, high);
    CHECK_EQ(bench.receive(packets, 8), 0u);
  }
  CHECK(bench.deliver(frame_of(60, 1)));
  CHECK_EQ(bench.receive(packets, 8), 2u);  // 0 and 1; 2 is missing
  bench.buffers.pool.give(packets, 2);
  bench.take_all_back();
  CHECK_EQ(bench.buffers.pool.missing(), 0u);
}

TEST(a_length_beyond_the_buffer_is_counted_and_ends_the_trust) {
  RxBench bench;
  vanity_packet packets[8];
  bench.receive(packets, 8);
  const uint64_t whole = RxDone::kDone | RxDone::kEndOfPacket;
  store(bench.ring[0].high, whole | uint64_t{1522} << 32);
  store(bench.ring[1].high, whole | uint64_t{13} << 32);
  CHECK_EQ(bench.receive(packets, 8), 1u);
  CHECK_EQ(packets[0].length, 1522);
  CHECK(!bench.queue.tenure.trouble());
  CHECK_EQ(bench.record.invalid.get(), 1u);
  bench.buffers.pool.give(packets, 1);
  store(bench.ring[2].high, whole | uint64_t{1523} << 32);
  CHECK_EQ(bench.receive(packets, 8), 0u);
  CHECK(bench.queue.tenure.trouble());
  CHECK_EQ(bench.record.invalid.get(), 2u);
  bench.make_anew();
  CHECK_EQ(bench.buffers.pool.missing(), 0u);
  CHECK_EQ(bench.receive(packets, 8), 0u);
  CHECK(bench.deliver(frame_of(100, 1)));
  CHECK_EQ(bench.receive(packets, 8), 1u);
  bench.buffers.pool.give(packets, 1);
  bench.take_all_back();
  CHECK_EQ(bench.buffers.pool.missing(), 0u);
}

TEST(damaged_frames_and_pieces_never_reach_the_program) {
  RxBench bench;
  vanity_packet packets[8];
  bench.receive(packets, 8);
  const Bytes piece = frame_of(1000, 1);
  for (const uint32_t bit : {24u, 25u, 26u, 28u, 31u})
    CHECK(bench.deliver(piece, RxDone::kDone | RxDone::kEndOfPacket | uint64_t{1} << bit));
  for (uint32_t i = 0; i < 3; ++i) CHECK(bench.deliver(piece, RxDone::kDone));
  CHECK(bench.deliver(piece));  // the end of the long one
  CHECK(bench.deliver(frame_of(60, 9),
                      RxDone::kDone | RxDone::kEndOfPacket | RxDone::kTransportSummed));
  CHECK(bench.deliver(frame_of(60, 9), RxDone::kDone | RxDone::kEndOfPacket |
                                           RxDone::kTransportSummed | RxDone::kTransportWrong));
  CHECK_EQ(bench.receive(packets, 8), 2u);
  CHECK_EQ(packets[0].flags, VANITY_PACKET_CHECKSUM_VALID);
  CHECK_EQ(packets[1].flags, 0);
  CHECK_EQ(bench.record.invalid.get(), 5u);
  CHECK_EQ(bench.record.oversize.get(), 1u);
  CHECK(!bench.queue.tenure.trouble());
}

TEST(smaller_buffers_than_the_device_was_told_of_are_never_posted) {
  RxBench bench(4096);
  Buffers small(1024);
  vanity_packet packets[8];
  CHECK_EQ(bench.queue.receive(small.pool, packets, 8), 0u);
  CHECK_EQ(bench.tail(), 0u);
  CHECK_EQ(small.pool.missing(), 0u);
}

TEST(an_idle_queue_arms_its_vector_and_a_busy_one_disarms_it) {
  RxBench bench;
  VectorRecord vector{};
  IrqLine line(&vector);
  bench.queue.set_line(&line);
  vanity_packet packets[8];
  bench.receive(packets, 8);
  CHECK(!bench.queue.rings());
  CHECK_EQ(bench.queue.sleep_ns_max(), kSleepForever);
  CHECK(bench.queue.rings());
  CHECK_EQ(bench.registers[kIcr], kCauseRx0);
  CHECK_EQ(bench.registers[kIms], kCauseRx0);
  CHECK_EQ(bench.registers[kImc], 0u);
  CHECK(bench.deliver(frame_of(60, 1)));
  CHECK_EQ(bench.queue.sleep_ns_max(), 0u);  // found although it is armed
  CHECK_EQ(bench.receive(packets, 8), 1u);
  CHECK_EQ(bench.registers[kImc], kCauseRx0);
  CHECK(!bench.queue.rings());
  bench.buffers.pool.give(packets, 1);
  CHECK_EQ(bench.queue.sleep_ns_max(), kSleepForever);
  line.raise(1);  // it fired, and the message masked it
  CHECK_EQ(bench.receive(packets, 8), 0u);
  CHECK(!bench.queue.rings());
  CHECK_EQ(vector.taken.get(), 1u);
  uint32_t ids[kBuffers];
  bench.buffers.pool.take(ids, kBuffers);  // nothing left to post
  for (uint32_t i = 0; i < 40; ++i) CHECK(bench.deliver(frame_of(60, i)));
  for (uint32_t i = 0; i < 5; ++i) CHECK_EQ(bench.receive(packets, 8), 8u);
  const uint64_t ns = bench.queue.sleep_ns_max();
  CHECK(ns != 0 && ns < 1'000'000);  // buffers come home without a doorbell
}

// Whatever the device writes, and whenever: no buffer twice, none that was not posted, no length
// that the buffer does not have, and all of them home in the end.
TEST(a_hostile_device_costs_frames_and_no_memory) {
  std::mt19937_64 random(2);
  uint32_t lies = 0;
  for (uint32_t round = 0; round < 200; ++round) {
    RxBench bench(round % 2 == 0 ? 2048 : 512);
    const uint32_t most = rx_size(bench.buffers.pool.frame_bytes_max()).bytes;
    std::set<uint32_t> ours;
    vanity_packet packets[48];
    for (uint32_t turn = 0; turn < 500; ++turn) {
      for (uint32_t i = random() % 20; i != 0; --i) {
        Descriptor& descriptor = bench.ring[random() % kRing];
        switch (random() % 4) {
          case 0:
            store(descriptor.low, random());
            break;
          case 1:
            store(descriptor.high, random());
            break;
          case 2:  // plausible
            store(descriptor.high, (random() & 0xffff00000000) | (random() & 3));
            break;
          default:
            bench.deliver({});
        }
      }
      const uint32_t got = bench.receive(packets, 1 + random() % 48);
      for (uint32_t i = 0; i < got; ++i) {
        CHECK(packets[i].length <= most);
        CHECK_EQ(packets[i].offset, VANITY_FRAME_OFFSET);
        CHECK((packets[i].buffer & kPoolIndexMask) < kBuffers);
        CHECK_EQ(packets[i].buffer >> kPoolShift, 3u);
        CHECK(ours.insert(packets[i].buffer).second);
      }
      while (!ours.empty() && random() % 3 != 0) {
        bench.buffers.pool.give(&*ours.begin(), 1);
        ours.erase(ours.begin());
      }
      bench.queue.sleep_ns_max();
      if (bench.queue.tenure.trouble()) {
        ++lies;
        bench.make_anew();
        CHECK_EQ(bench.buffers.pool.missing(), ours.size());
      }
    }
    bench.take_all_back();
    CHECK_EQ(bench.buffers.pool.missing(), ours.size());
  }
  CHECK(lies > 100);
}

TEST(packets_leave_in_order_and_come_home_once) {
  TxBench bench;
  std::mt19937 random(3);
  uint32_t made = 0, sent = 0, home = 0;
  std::vector<vanity_packet> waiting;
  while (home < 5000) {
    while (waiting.size() < 40 && bench.buffers.pool.free_count() != 0) {
      waiting.push_back(bench.packet(frame_of(17 + made * 7 % 1500, made)));
      ++made;
    }
    const uint32_t before = bench.tail();
    const uint32_t taken =
        bench.transmit(waiting.data(), static_cast<uint32_t>(random() % (waiting.size() + 1)));
    if (taken != 0) {
      CHECK_EQ((bench.tail() - before) % kRing, taken);
      CHECK((bench.ring[(bench.tail() - 1) % kRing].high & kTxReport) != 0);
    }
    waiting.erase(waiting.begin(), waiting.begin() + taken);
    for (uint32_t i = random() % 50; i != 0; --i) {
      const Bytes frame = bench.send();
      if (frame.empty()) break;
      CHECK(frame == frame_of(17 + sent * 7 % 1500, sent));
      ++sent;
    }
    vanity_packet back[16];
    const uint32_t got = bench.queue.completed(back, 16);
    for (uint32_t i = 0; i < got; ++i, ++home) CHECK_EQ(back[i].length, 17 + home * 7 % 1500);
    CHECK(home <= sent);
    bench.buffers.pool.give(back, got);
  }
}

TEST(every_thirty_second_descriptor_and_the_last_report) {
  TxBench bench;
  std::vector<vanity_packet> packets;
  for (uint32_t i = 0; i < 50; ++i) packets.push_back(bench.packet(frame_of(60, i)));
  CHECK_EQ(bench.transmit(packets.data(), 50), 50u);
  uint32_t reports = 0;
  for (const Descriptor& descriptor : bench.ring) reports += (descriptor.high & kTxReport) != 0;
  CHECK_EQ(reports, 2u);
  for (uint32_t i = 0; i < 31; ++i) bench.send();
  vanity_packet back[50];
  CHECK(bench.queue.holding());
  CHECK_EQ(bench.queue.completed(back, 50), 0u);
  bench.send();
  CHECK_EQ(bench.queue.completed(back, 50), 32u);
  for (uint32_t i = 0; i < 18; ++i) bench.send();
  CHECK_EQ(bench.queue.completed(back, 50), 18u);
  CHECK(!bench.queue.holding());
}

TEST(what_can_never_go_waits_for_what_was_before_it) {
  TxBench bench;
  const vanity_packet good = bench.packet(frame_of(60, 1));
  vanity_packet tiny = bench.packet(frame_of(60, 2)), huge = bench.packet(frame_of(60, 3));
  tiny.length = 16;
  huge.length = 9231;
  vanity_packet stranger = good;
  stranger.buffer = 9u << kPoolShift;
  vanity_packet back[8];
  const vanity_packet bad[] = {tiny, huge, stranger};
  CHECK_EQ(bench.transmit(bad, 3), 3u);
  CHECK_EQ(bench.tail(), 0u);
  CHECK_EQ(bench.queue.completed(back, 8), 3u);  // there was nothing to wait for
  CHECK_EQ(bench.transmit(&good, 1), 1u);
  CHECK_EQ(bench.transmit(bad, 3), 3u);
  CHECK_EQ(bench.queue.completed(back, 8), 0u);
  bench.send();
  CHECK_EQ(bench.queue.completed(back, 8), 4u);
  CHECK_EQ(back[0].buffer, good.buffer);
  CHECK_EQ(back[3].buffer, stranger.buffer);
  CHECK_EQ(bench.record.invalid.get(), 2u);
  CHECK_EQ(bench.record.oversize.get(), 2u);
  CHECK_EQ(bench.record.dropped.get(), 2u);
  CHECK_EQ(bench.record.packets.get(), 1u);
}

TEST(a_partial_checksum_is_finished_before_the_device_reads_it) {
  TxBench bench;
  Bytes frame(64, 1);
  frame[40] = 0x12;
  frame[41] = 0x34;  // the sum of the pseudo header
  vanity_packet packet = bench.packet(frame);
  packet.flags = VANITY_PACKET_CHECKSUM_PARTIAL;
  const vanity_packet_offload offload = {VANITY_FRAME_OFFSET + 34, VANITY_FRAME_OFFSET + 40};
  std::memcpy(bench.buffers.pool.buffer(packet.buffer) + VANITY_OFFLOAD_OFFSET, &offload,
              sizeof offload);
  CHECK_EQ(bench.transmit(&packet, 1), 1u);
  const Bytes sent = bench.send();
  uint32_t sum = 0x1234;  // RFC 1071: with the pseudo header, all of it adds up to ones
  for (size_t i = 34; i < 64; i += 2) sum += static_cast<uint32_t>(sent[i] << 8 | sent[i + 1]);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  CHECK_EQ(sum, 0xffffu);
}

TEST(a_device_that_marks_what_it_likes_gets_every_packet_once) {
  std::mt19937_64 random(4);
  for (uint32_t round = 0; round < 200; ++round) {
    TxBench bench;
    std::vector<uint32_t> in_order;
    size_t home = 0;
    for (uint32_t turn = 0; turn < 500; ++turn) {
      vanity_packet packets[20];
      const uint32_t n = bench.buffers.pool.take(packets, random() % 20);
      for (uint32_t i = 0; i < n; ++i) {
        packets[i].offset = VANITY_FRAME_OFFSET;
        packets[i].length = static_cast<uint16_t>(random() % 1600);
        packets[i].flags = 0;
      }
      const uint32_t taken = bench.transmit(packets, n);
      for (uint32_t i = 0; i < taken; ++i) in_order.push_back(packets[i].buffer);
      bench.buffers.pool.give(packets + taken, n - taken);
      for (uint32_t i = random() % 10; i != 0; --i)
        store(bench.ring[random() % kRing].high, random());
      const uint32_t got = bench.queue.completed(packets, 20);
      for (uint32_t i = 0; i < got; ++i) CHECK_EQ(packets[i].buffer, in_order[home++]);
      bench.buffers.pool.give(packets, got);
    }
    vanity_packet back[kRing];
    const uint32_t got = bench.queue.take_back(back, kRing);
    for (uint32_t i = 0; i < got; ++i) CHECK_EQ(back[i].buffer, in_order[home++]);
    CHECK_EQ(home, in_order.size());
    bench.buffers.pool.give(back, got);
    CHECK_EQ(bench.buffers.pool.missing(), 0u);
  }
}

TEST(a_queue_that_is_taken_away_keeps_what_it_has_until_the_device_is_stopped) {
  RxBench rx;
  vanity_packet packets[8];
  rx.receive(packets, 8);
  const uint32_t posted = rx.buffers.pool.missing();
  CHECK(posted != 0);
  CHECK(rx.deliver(frame_of(60, 1)));
  rx.queue.tenure.stop();
  CHECK(!rx.queue.tenure.stopped());
  CHECK_EQ(rx.receive(packets, 8), 0u);
  CHECK(rx.queue.tenure.stopped());
  CHECK_EQ(rx.buffers.pool.missing(), posted);
  rx.queue.tenure.release();
  CHECK_EQ(rx.receive(packets, 8), 0u);
  CHECK_EQ(rx.buffers.pool.missing(), 0u);

  TxBench tx;
  const vanity_packet one = tx.packet(frame_of(60, 1)), two = tx.packet(frame_of(60, 2));
  CHECK_EQ(tx.transmit(&one, 1), 1u);
  tx.queue.tenure.stop();
  CHECK_EQ(tx.transmit(&two, 1), 1u);
  CHECK_EQ(tx.tail(), 1u);
  CHECK_EQ(tx.record.dropped.get(), 1u);
  CHECK_EQ(tx.queue.completed(packets, 8), 0u);
  tx.queue.tenure.release();
  CHECK_EQ(tx.queue.completed(packets, 8), 2u);
  CHECK(tx.queue.tenure.drained());
  CHECK_EQ(tx.transmit(&two, 1), 1u);  // there is no device to wait for
  CHECK_EQ(tx.queue.completed(packets, 8), 1u);
  tx.registers.words[kTdt / 4] = 0;
  tx.queue.tenure.revive();
  CHECK_EQ(tx.transmit(&one, 1), 1u);
  CHECK(tx.send() == frame_of(60, 1));
  CHECK_EQ(tx.queue.completed(packets, 8), 1u);
}
