// How an interrupt reaches a shard: the line between the kernel's thread and the shard, and the
// dispatcher, on real eventfds.
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "check.hpp"
#include "device/fd.hpp"
#include "device/irq_line.hpp"

using namespace vanity;

namespace {

uint64_t timed(const VectorRecord& record) {
  uint64_t all = 0;
  for (const Counter& bucket : record.latency_ticks.buckets) all += bucket.get();
  return all;
}
uint64_t slower_than(const VectorRecord& record, uint64_t ticks) {
  uint64_t all = 0;
  for (uint32_t i = Histogram::bucket_of(ticks) + 1; i < Histogram::kBuckets; ++i)
    all += record.latency_ticks.buckets[i].get();
  return all;
}

Fd make_eventfd() {
  return Fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}
uint64_t drain(int fd) {
  uint64_t value = 0;
  return read(fd, &value, sizeof value) == sizeof value ? value : 0;
}

}  // namespace

TEST(a_line_hands_over_every_interrupt_once) {
  const auto record = std::make_unique<VectorRecord>();
  IrqLine line(record.get());
  CHECK_EQ(line.take(), 0u);
  line.raise(now_ticks());
  line.raise(now_ticks(), 3);
  CHECK_EQ(line.take(), 4u);
  CHECK_EQ(line.take(), 0u);
  CHECK_EQ(record->raised.get(), 4u);
  CHECK_EQ(record->taken.get(), 4u);
}

TEST(only_the_first_interrupt_that_waits_is_timed) {
  const auto record = std::make_unique<VectorRecord>();
  IrqLine line(record.get());
  const uint64_t long_ago = now_ticks() - (uint64_t{1} << 40);
  line.raise(long_ago);
  line.raise(now_ticks());
  CHECK_EQ(line.take(), 2u);
  CHECK_EQ(timed(*record), 1u);
  CHECK_EQ(slower_than(*record, uint64_t{1} << 39),
           1u);  // the first one's time, not the last one's
  // What was taken is not timed again with what comes much later.
  line.raise(now_ticks());
  CHECK_EQ(line.take(), 1u);
  CHECK_EQ(timed(*record), 2u);
  CHECK_EQ(slower_than(*record, uint64_t{1} << 39), 1u);
}

TEST(a_delayed_line_is_ended_once_for_each_delivery) {
  const auto record = std::make_unique<VectorRecord>();
  const Fd unmask = make_eventfd();
  IrqLine line(record.get(), unmask.get());
  line.done();  // nothing was delivered
  CHECK_EQ(drain(unmask.get()), 0u);
  line.raise(now_ticks());
  CHECK_EQ(line.take(), 1u);
  CHECK_EQ(drain(unmask.get()), 0u);
  line.done();
  line.done();
  CHECK_EQ(drain(unmask.get()), 1u);
  CHECK_EQ(record->done.get(), 1u);
  CHECK(record->masked_ticks.get() > 0);
}

TEST(a_message_has_nothing_to_end) {
  const auto record = std::make_unique<VectorRecord>();
  IrqLine line(record.get());
  line.raise(now_ticks());
  line.take();
  line.done();
  CHECK_EQ(record->done.get(), 0u);
}

// Both sides at full speed: nothing is lost or counted twice, what was written before is seen, and
// no time is longer than the test.
TEST(two_threads_lose_nothing_and_time_nothing_twice) {
  constexpr uint64_t kRaises = 2'000'000;
  const auto record = std::make_unique<VectorRecord>();
  IrqLine line(record.get());
  uint64_t written[64] = {};  // by the device, before each interrupt
  const uint64_t began = now_ticks();
  std::atomic<bool> stop{false};
  std::thread kernel([&] {
    for (uint64_t i = 1; i <= kRaises; ++i) {
      __atomic_store_n(&written[i % 64], i, __ATOMIC_RELAXED);
      line.raise(now_ticks());
      if (i % 4096 == 0) std::this_thread::yield();
    }
    stop.store(true, std::memory_order_release);
  });
  uint64_t taken = 0;
  bool stale = false;
  for (;;) {
    const bool last = stop.load(std::memory_order_acquire);
    const uint64_t got = line.take();
    taken += got;
    if (got != 0) stale |= __atomic_load_n(&written[taken % 64], __ATOMIC_RELAXED) < taken;
    if (last && got == 0) break;
  }
  kernel.join();
  CHECK_EQ(taken, kRaises);
  CHECK(!stale);
  CHECK(timed(*record) <= kRaises);
  CHECK(timed(*record) > 0);
  CHECK_EQ(slower_than(*record, now_ticks() - began), 0u);
}
