// How an interrupt reaches a shard: the line between the kernel's thread and the shard, and the
// dispatcher, on real eventfds.
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "device/irq_line.hpp"
#include "kernel/interrupts.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "platform/fd.hpp"
#include "platform/wait.hpp"
#include "shard/grant.hpp"

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
void add_to(int fd, uint64_t n) {
  if (write(fd, &n, sizeof n) != sizeof n) throw std::runtime_error("an eventfd");
}
uint64_t drain(int fd) {
  uint64_t value = 0;
  return read(fd, &value, sizeof value) == sizeof value ? value : 0;
}

// A vector as VFIO has it: an eventfd that Linux writes, and for a level line one that unmasks it.
struct Vector {
  Fd trigger = make_eventfd();
  Fd unmask = make_eventfd();
  std::unique_ptr<VectorRecord> record = std::make_unique<VectorRecord>();
  ShardLine shard;
  IrqLine* line = nullptr;

  void join(Interrupts& interrupts, bool level, Eoi eoi, uint32_t owner = 1) {
    std::snprintf(record->name, sizeof record->name, "nic0.3");
    record->vector = 3;
    record->eoi = static_cast<uint32_t>(eoi);
    VectorSpec spec;
    spec.fd = trigger.get();
    spec.unmask_fd = level ? unmask.get() : -1;
    spec.record = record.get();
    spec.shard = &shard;
    spec.shard_name = "rx";
    spec.owner = owner;
    line = &interrupts.add(spec);
  }
  void fire() { add_to(trigger.get(), 1); }
  bool marked() { return shard.doorbell.take(Doorbell::kControlIrq) != 0; }
  // The line is unmasked, and the device still holds it.
  bool refire() {
    if (drain(unmask.get()) == 0) return false;
    fire();
    return true;
  }
};

constexpr uint64_t kSoonNs = 2'000'000'000;
const auto kNoWarning = [](const std::string& text) {
  check::fail(__FILE__, __LINE__, std::string("warned: ").append(text));
};

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

// In another process the same line is another object, and the next process has one more.
TEST(a_line_goes_over_to_the_next_process_with_nothing_on_it) {
  const auto record = std::make_unique<VectorRecord>();
  const Fd unmask = make_eventfd();
  const auto words = std::make_unique<IrqWords>();
  IrqLine kernel(record.get(), unmask.get(), words.get());
  kernel.raise(now_ticks(), 2);
  {
    IrqLine first(record.get(), unmask.get(), words.get());
    CHECK_EQ(first.take(), 2u);  // what came before it began is its, too
    CHECK_EQ(first.take(), 0u);
    first.done();
    CHECK_EQ(drain(unmask.get()), 1u);
  }
  // Neither taken nor ended.
  kernel.raise(now_ticks(), 3);
  kernel.settle();
  IrqLine second(record.get(), unmask.get(), words.get());
  CHECK_EQ(second.take(), 0u);
  second.done();
  CHECK_EQ(drain(unmask.get()), 0u);
  kernel.raise(now_ticks());
  CHECK_EQ(second.take(), 1u);
  second.done();
  CHECK_EQ(drain(unmask.get()), 1u);
  CHECK_EQ(record->raised.get(), 6u);
  CHECK_EQ(record->taken.get(), 6u);
  CHECK_EQ(timed(*record), 2u);
}

TEST(nothing_is_held_back_for_a_process_that_has_ended) {
  Interrupts interrupts(kNoWarning);
  Vector vector;
  vector.join(interrupts, true, Eoi::delayed);
  vector.fire();
  interrupts.wait(kSoonNs);
  CHECK_EQ(vector.record->raised.get(), 1u);
  interrupts.settle(2);  // another's
  CHECK_EQ(vector.record->taken.get(), 0u);
  interrupts.settle(1);
  CHECK_EQ(vector.record->taken.get(), 1u);
  vector.line->done();
  CHECK_EQ(drain(vector.unmask.get()), 0u);
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

TEST(a_vector_is_handed_to_its_shard_only) {
  Interrupts interrupts(kNoWarning);
  Vector mine;
  Vector other;
  mine.join(interrupts, false, Eoi::immediate);
  other.join(interrupts, false, Eoi::immediate);
  CHECK(!interrupts.wait(0));
  CHECK(!mine.marked());
  mine.fire();
  mine.fire();
  CHECK(!interrupts.wait(kSoonNs));
  CHECK(mine.marked());
  CHECK(!other.marked());
  CHECK_EQ(mine.line->take(), 2u);
  CHECK_EQ(other.line->take(), 0u);
  CHECK_EQ(mine.record->raised.get(), 2u);
}

TEST(other_descriptors_end_the_wait_and_vectors_do_not) {
  Interrupts interrupts(kNoWarning);
  const Fd wake = make_eventfd();
  uint64_t called = 0;
  interrupts.add(wake.get(), 0, [&](uint64_t times) { called += times; });
  Vector vector;
  vector.join(interrupts, false, Eoi::immediate);
  vector.fire();
  CHECK(!interrupts.wait(kSoonNs));
  add_to(wake.get(), 3);
  CHECK(interrupts.wait(kSoonNs));
  CHECK_EQ(called, 3u);
}

TEST(an_immediate_line_is_ended_at_dispatch_and_a_delayed_one_by_the_shard) {
  Interrupts interrupts(kNoWarning);
  Vector now;
  Vector later;
  now.join(interrupts, true, Eoi::immediate);
  later.join(interrupts, true, Eoi::delayed);
  now.fire();
  later.fire();
  interrupts.wait(kSoonNs);
  CHECK_EQ(drain(now.unmask.get()), 1u);
  CHECK_EQ(now.record->done.get(), 1u);
  CHECK_EQ(drain(later.unmask.get()), 0u);
  CHECK_EQ(now.line->take(), 1u);
  CHECK_EQ(later.line->take(), 1u);
  now.line->done();  // was done already
  CHECK_EQ(drain(now.unmask.get()), 0u);
  later.line->done();
  CHECK_EQ(drain(later.unmask.get()), 1u);
  CHECK_EQ(later.record->done.get(), 1u);
}

TEST(an_immediate_line_that_no_shard_takes_is_held_back_and_blamed) {
  std::vector<std::string> warnings;
  Interrupts interrupts([&](const std::string& text) { warnings.push_back(text); });
  Vector vector;
  vector.join(interrupts, true, Eoi::immediate);
  const uint64_t began = monotonic_ns();
  vector.fire();
  while (monotonic_ns() - began < 400'000'000) {
    interrupts.wait(10'000'000);
    vector.refire();  // at once, as a device that nobody acknowledges
  }
  const VectorRecord& record = *vector.record;
  CHECK_EQ(record.storms.get(), 1u);
  CHECK(record.raised.get() >= 64);
  CHECK(record.raised.get() < 64 + 16);  // 1 + 2 + 4 ... 64 ms and a hundred each from there on
  CHECK(record.suppressed.get() >= 5);
  CHECK_EQ(warnings.size(), 1u);
  for (const char* part : {"device nic0,", "vector 3", "shard rx", "interrupts in", "took none"})
    CHECK(warnings[0].find(part) != std::string::npos);
  // The shard does its part: the line is quick again.
  for (uint32_t i = 0; i < 8; ++i) {
    if (vector.line->take() == 0) CHECK(i > 0);
    for (int turn = 0; turn < 30 && !vector.refire(); ++turn) interrupts.wait(10'000'000);
    interrupts.wait(kSoonNs);
  }
  CHECK(record.done.get() + 1 >= record.raised.get());
  CHECK_EQ(record.storms.get(), 1u);
}

TEST(a_rate_that_no_device_has_is_held_back_for_both_policies) {
  for (const Eoi eoi : {Eoi::immediate, Eoi::delayed}) {
    uint32_t warnings = 0;
    StormLimits limits;
    limits.in_window = 50;
    limits.window_ns = 100'000'000;
    Interrupts interrupts([&](const std::string&) { ++warnings; }, limits);
    Vector vector;
    vector.join(interrupts, true, eoi);
    const uint64_t began = monotonic_ns();
    vector.fire();
    while (monotonic_ns() - began < 400'000'000) {
      interrupts.wait(10'000'000);
      // Taken and ended at once, but the device was not told.
      if (vector.line->take() != 0) vector.line->done();
      vector.refire();
    }
    CHECK_EQ(vector.record->storms.get(), 1u);
    CHECK_EQ(warnings, 1u);
    CHECK(vector.record->raised.get() >= 99);
    CHECK(vector.record->raised.get() <= 5 * 50);
    CHECK(vector.record->suppressed.get() >= 2);
    // Once it is quiet for a while, it is over.
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    interrupts.wait(0);
    if (vector.line->take() != 0) vector.line->done();
    drain(vector.unmask.get());
    const uint64_t raised = vector.record->raised.get();
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    vector.fire();
    interrupts.wait(kSoonNs);
    CHECK_EQ(vector.record->raised.get(), raised + 1);
    CHECK_EQ(vector.line->take(), 1u);
  }
}

TEST(what_is_removed_is_not_looked_at_and_its_eoi_does_no_harm) {
  Interrupts interrupts(kNoWarning);
  Vector vector;
  Vector other;
  vector.join(interrupts, true, Eoi::delayed, 1);
  other.join(interrupts, false, Eoi::immediate, 2);
  vector.fire();
  interrupts.wait(kSoonNs);
  CHECK_EQ(vector.line->take(), 1u);
  interrupts.remove(1);
  vector.trigger.reset();
  vector.unmask.reset();
  const Fd taken_over[] = {make_eventfd(), make_eventfd()};  // by others, under the same numbers
  vector.line->done();
  for (const Fd& fd : taken_over) CHECK_EQ(drain(fd.get()), 0u);
  other.fire();
  interrupts.wait(kSoonNs);
  CHECK_EQ(other.line->take(), 1u);
}

// A device that raises as soon as its line allows, the dispatcher, and a shard that sleeps on its
// doorbell: none is lost on the way, or the three would wait for each other for ever.
TEST(no_interrupt_is_lost_on_the_way_to_a_shard_that_sleeps) {
  platform_init();
  constexpr uint64_t kInterrupts = 5'000;
  for (const bool level : {true, false}) {
    Interrupts interrupts([](const std::string&) {});
    Vector vector;
    vector.join(interrupts, level, level ? Eoi::delayed : Eoi::immediate);
    std::atomic<bool> over{false};
    std::thread kernel([&] {
      while (!over.load()) interrupts.wait(1'000'000);
    });
    Waiter waiter(Backend::futex, WaitTuning{0, ns_to_ticks(20'000'000'000)},
                  &vector.shard.sleeper);
    uint64_t taken = 0;
    bool lost = false;
    vector.fire();
    while (taken < kInterrupts && !lost) {
      const Wake wake = waiter.idle(
          &vector.shard.doorbell, [&] { return vector.shard.doorbell.any(); }, UINT64_MAX);
      lost = wake == Wake::deadline;
      vector.marked();
      const uint64_t got = vector.line->take();
      taken += got;
      if (got == 0 || taken == kInterrupts) continue;
      vector.line->done();
      if (!level)
        vector.fire();
      else if (!vector.refire())
        lost = true;
    }
    over.store(true);
    kernel.join();
    CHECK(!lost);
    CHECK_EQ(taken, kInterrupts);
    CHECK_EQ(vector.record->raised.get(), kInterrupts);
    CHECK_EQ(waiter.counters().late, 0u);
    if (level) CHECK_EQ(vector.record->done.get(), kInterrupts - 1);
  }
}

TEST(a_grant_is_its_ranges_and_no_byte_more) {
  alignas(4096) static uint8_t bar[4096] = {};
  DeviceRecord record{};
  vanity_device device("nic0", &record);
  device.add(vanity_device::Registers{2, 0x100, MmioView(bar, 0x40)});
  device.add(vanity_device::Registers{2, 0x800, MmioView(bar + 0x800, 0x10)});
  CHECK(device.write(2, 0x100, 8, 0x1122334455667788));
  uint64_t value = 0;
  CHECK(device.read(2, 0x104, 4, &value));
  CHECK_EQ(value, 0x11223344u);
  CHECK(device.read(2, 0x107, 1, &value));
  CHECK_EQ(value, 0x11u);
  CHECK(device.write(2, 0x80e, 2, 0xffff));
  CHECK_EQ(record.refused.get(), 0u);
  CHECK(!device.read(2, 0xff, 1, &value));
  CHECK(!device.read(2, 0x140, 1, &value));
  CHECK(!device.read(2, 0x13c, 8, &value));
  CHECK(!device.write(2, 0x810, 4, 0));
  CHECK(!device.read(1, 0x100, 4, &value));
  CHECK(!device.read(2, UINT64_MAX - 3, 4, &value));
  CHECK(device.range(2, 0x100, 0x41) == nullptr);
  CHECK(device.range(2, 0x100, 0) == nullptr);
  CHECK(device.range(2, 0x108, UINT64_MAX) == nullptr);
  CHECK(device.range(2, 0x108, 0x38) == bar + 8);
  CHECK_EQ(record.refused.get(), 8u);
  CHECK(!device.read(2, 0x102, 4, &value));
  CHECK(!device.read(2, 0x100, 5, &value));
  CHECK_EQ(device.take(0), 0u);
  device.done(0);
}

TEST(a_device_goes_down_when_its_program_was_told_and_not_before) {
  alignas(4096) static uint8_t bar[4096] = {};
  DeviceRecord record{};
  vanity_device device("nic0", &record);
  device.add(vanity_device::Registers{0, 0, MmioView(bar, 4096)});
  uint64_t value = 0;
  CHECK(device.news() == device.state());
  device.want_back(false);
  CHECK(device.news() == VANITY_DEVICE_WANTED);
  CHECK(device.state() == VANITY_DEVICE_GRANTED);
  CHECK(!device.let_go());
  CHECK(device.read(0, 0, 4, &value));  // the program may still stop what it has under way
  device.follow(VANITY_DEVICE_WANTED);
  CHECK(device.let_go());
  CHECK(!device.read(0, 0, 4, &value));
  CHECK(!device.write(0, 0, 4, 1));
  device.give_back();
  CHECK(device.news() == VANITY_DEVICE_RETURNED);
}

TEST(a_device_that_is_not_there_ends_the_start_and_leaves_nothing) {
  char folder[] = "/tmp/vanity-interrupts-test-XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  setenv("VANITY_RUNTIME_DIR", folder, 1);
  Plan plan;
  plan.name = std::string("absent");
  plan.oversubscribe = true;
  plan.shards.resize(1);
  plan.shards[0].name = std::string("a");
  plan.shards[0].program = std::string("sink");
  plan.devices.resize(1);
  plan.devices[0].name = std::string("ghost");
  plan.devices[0].address = std::string("ffff:ff:1f.7");
  std::string code;
  try {
    System system(plan, {});
  } catch (const Error& error) {
    code = error.code();
  }
  CHECK_EQ(code, "VANITY_E_DEVICE_NONE");
  CHECK_EQ(rmdir(folder), 0);  // empty
  unsetenv("VANITY_RUNTIME_DIR");
}
