// What a shard does with the queues of its ports, held on a thread of its own against queues that
// behave as a slow device does.
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "check.hpp"
#include "memory/pool.hpp"
#include "sanitized.hpp"
#include "shard/shard.hpp"

using namespace vanity;

namespace {

// An end waits 100 ms for all of them, and each takes longer by far.
constexpr uint32_t kPackets = kThreadSanitized ? 50 : 200;
constexpr uint32_t kBuffers = 256;

bool eventually(const std::function<bool()>& holds) {
  for (int ms = 0; ms < 20'000; ++ms) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// Holds `room` packets at most, and reads one each time that somebody asks, from `open` on.
class SlowTx final : public TxQueue {
 public:
  SlowTx(QueueRecord* record, uint32_t room) : TxQueue(record), room_(room) {}
  uint32_t transmit(const PoolTable&, const vanity_packet* packets, uint32_t n) noexcept override {
    uint32_t taken = 0;
    while (taken < n && held_.size() < room_) held_.push_back(packets[taken++]);
    record_->packets.add(taken);
    return taken;
  }
  bool keeps() const noexcept override { return true; }
  uint32_t completed(vanity_packet* packets, uint32_t n) noexcept override {
    if (!open.load() || n == 0 || held_.empty()) return 0;
    packets[0] = held_.front();
    held_.pop_front();
    read.fetch_add(1);
    return 1;
  }
  bool holding() const noexcept override { return !held_.empty(); }
  void flush() noexcept override { flushed.fetch_add(1); }

  std::atomic<bool> open{true};
  std::atomic<uint32_t> read{0};
  std::atomic<uint32_t> flushed{0};

 private:
  const uint32_t room_;
  std::deque<vanity_packet> held_;
};

// Gives a packet for each interrupt, and nothing until then.
class RungRx final : public RxQueue {
 public:
  explicit RungRx(QueueRecord* record) : RxQueue(record) {}
  uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept override {
    if (n == 0 || waiting.load() == 0) return 0;
    waiting.fetch_sub(1);
    return pool.take(packets, 1);
  }
  uint64_t sleep_ns_max() noexcept override { return kSleepForever; }
  bool rings() const noexcept override { return true; }

  std::atomic<uint32_t> waiting{0};
};

// Sends kPackets of the shard's own pool to output 0, then frees what comes in.
class Sender final : public Program {
 public:
  explicit Sender(uint32_t packets) : left_(packets) {}
  uint32_t poll(Shard& shard) noexcept override {
    vanity_packet packets[32];
    if (left_ != 0) {
      const uint32_t got = shard.allocate(packets, std::min(left_, 32u));
      left_ -= got;
      shard.send(0, packets, got);
      if (left_ == 0) done.store(true);
      return got;
    }
    const uint32_t got = shard.receive(packets, 32);
    shard.consume(packets, got);
    received.fetch_add(got);
    return always_busy.load() ? 1 : got;
  }
  std::atomic<bool> always_busy{false};
  std::atomic<bool> done{false};
  std::atomic<uint32_t> received{0};

 private:
  uint32_t left_;
};

struct Rig {
  std::unique_ptr<ShardRecord> record = std::make_unique<ShardRecord>();
  std::unique_ptr<QueueRecord> tx_record = std::make_unique<QueueRecord>();
  std::unique_ptr<QueueRecord> rx_record = std::make_unique<QueueRecord>();
  SlowTx tx;
  RungRx rx;
  PoolTable table;
  std::unique_ptr<Pool> pool;
  std::unique_ptr<Shard> shard;
  Sender* program;

  explicit Rig(uint32_t room, Overflow overflow, uint32_t packets = kPackets)
      : tx(tx_record.get(), room), rx(rx_record.get()) {
    ShardPlan plan;
    plan.name = "ports";
    plan.sleep_ns_max = 10'000'000'000;  // longer than a test may wait for a wake
    shard = std::make_unique<Shard>(plan, 0, record.get(), true);
    auto sender = std::make_unique<Sender>(packets);
    program = sender.get();
    shard->set_program(std::move(sender));
    shard->set_arena(std::make_unique<Arena>(4 << 20, kAnyNode, PageChoice::small));
    pool = std::make_unique<Pool>(0, kBuffers, 256,
                                  shard->arena_allocate(Pool::memory_bytes(kBuffers, 256), 64));
    table.add(*pool);
    shard->owns_pool(pool.get());
    shard->set_own_pool(pool.get());
    shard->expect_interrupts();
    shard->add_tx(&tx, overflow);
    shard->add_rx(&rx, pool.get());
    shard->wire(&table);
    shard->start();
    shard->control(Control::run);
  }
  ~Rig() { end(Control::stop_now); }
  void end(Control how) {
    shard->control(how);
    shard->join();
  }
};

}  // namespace

TEST(a_full_ring_is_waited_for_when_it_blocks) {
  Rig rig(4, Overflow::block);
  CHECK(eventually([&] { return rig.program->done.load(); }));
  rig.end(Control::finish);
  CHECK_EQ(rig.tx_record->packets.get(), kPackets);
  CHECK_EQ(rig.tx_record->dropped.get(), 0u);
  CHECK_EQ(rig.tx.read.load(), kPackets);
  CHECK_EQ(rig.pool->missing(), 0u);
}

TEST(what_a_full_ring_does_not_take_is_dropped_and_counted) {
  Rig rig(4, Overflow::drop);
  CHECK(eventually([&] { return rig.program->done.load(); }));
  rig.end(Control::finish);
  CHECK(rig.tx_record->dropped.get() > 0);
  CHECK_EQ(rig.tx_record->packets.get() + rig.tx_record->dropped.get(), kPackets);
  CHECK_EQ(rig.tx.read.load(), rig.tx_record->packets.get());
  CHECK_EQ(rig.pool->missing(), 0u);
}

TEST(a_ring_that_never_empties_blocks_until_the_stop_that_does_not_wait) {
  Rig rig(4, Overflow::block);
  rig.tx.open = false;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  rig.end(Control::stop_now);
  CHECK(rig.shard->state() == ShardState::stopped);
}

// Nothing wakes the shard but the shard itself: it has said 10 s.
TEST(packets_that_are_out_come_home_though_nobody_signals) {
  Rig rig(kPackets, Overflow::drop);
  CHECK(eventually([&] { return rig.program->done.load(); }));
  CHECK(eventually([&] { return rig.tx.read.load() == kPackets; }));
}

TEST(a_shard_that_ends_waits_for_what_its_rings_hold) {
  Rig rig(kPackets, Overflow::drop);
  rig.tx.open = false;
  CHECK(eventually([&] { return rig.program->done.load(); }));
  rig.shard->control(Control::finish);
  rig.tx.open = true;
  rig.shard->join();
  CHECK_EQ(rig.tx.read.load(), kPackets);
  CHECK_EQ(rig.pool->missing(), 0u);
}

TEST(a_ring_that_is_stuck_holds_the_end_up_for_a_while_only) {
  Rig rig(kPackets, Overflow::drop);
  rig.tx.open = false;
  CHECK(eventually([&] { return rig.program->done.load(); }));
  const auto begun = std::chrono::steady_clock::now();
  rig.end(Control::finish);
  const auto took = std::chrono::steady_clock::now() - begun;
  CHECK(took >= std::chrono::milliseconds(50));
  CHECK(took < std::chrono::seconds(5));
}

TEST(an_interrupt_wakes_a_shard_that_sleeps_on_its_queue) {
  Rig rig(kPackets, Overflow::drop, 1);
  CHECK(eventually([&] { return rig.tx.read.load() == 1; }));
  for (uint32_t round = 1; round <= 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it sleeps by now
    const auto begun = std::chrono::steady_clock::now();
    rig.rx.waiting = 1;
    rig.shard->line().doorbell.ring(Doorbell::kControlIrq);
    signal(rig.shard->line().sleeper);
    CHECK(eventually([&] { return rig.program->received.load() == round; }));
    CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(5));
  }
}

TEST(a_shard_that_is_never_idle_flushes_its_queues_all_the_same) {
  Rig rig(kBuffers, Overflow::block);
  CHECK(eventually([&] { return rig.program->done.load(); }));
  rig.program->always_busy.store(true);
  const uint64_t idle = [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // it has seen the word
    return rig.record->polls.get() - rig.record->polls_busy.get();
  }();
  const uint32_t before = rig.tx.flushed.load();
  CHECK(eventually([&] { return rig.tx.flushed.load() > before + 3; }));
  CHECK(eventually([&] { return rig.tx.read.load() == kPackets; }));  // and takes what is done with
  CHECK(rig.record->polls.get() - rig.record->polls_busy.get() <= idle + 1);
}
