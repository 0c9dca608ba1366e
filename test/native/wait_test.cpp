// The waiter: on a clock and a processor of the test's own where the outcome must be exact, and
// between real threads where wakes could be lost. A mutant is a policy that leaves a step out.
#include "platform/wait.hpp"

#include <atomic>
#include <memory>
#include <thread>

#include "check.hpp"
#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "platform/topology.hpp"

using namespace vanity;

namespace {

// ---- a processor that does what the test says
// -----------------------------------------------------

struct Script {
  uint64_t now = 1000;
  uint64_t relaxes = 0;
  uint64_t monitors = 0;
  uint64_t deep = 0;
  bool fence_free = true;
  Wake wake = Wake::deadline;
  uint64_t wake_after = UINT64_MAX;  // ticks until the hardware wakes for its own reason
  void (*on_wait)(BasicSleeper<struct Scripted>&) = nullptr;
  BasicSleeper<struct Scripted>* sleeper = nullptr;
};
Script script;

struct Scripted {
  template <class T>
  using Atomic = std::atomic<T>;
  static uint64_t now() { return ++script.now; }
  static uint64_t ticks_of_ns(uint64_t ns) { return ns / 100; }
  static void relax() { ++script.relaxes; }
  static void light_fence() {}
  static bool try_heavy_fence() { return script.fence_free; }
  static Wake futex_wait(const Atomic<uint32_t>& word, uint32_t expected, uint64_t deadline) {
    if (script.on_wait != nullptr) script.on_wait(*script.sleeper);
    if (word.load() != expected) return Wake::spurious;
    return wait(Backend::futex, deadline, false);
  }
  static void futex_wake(Atomic<uint32_t>&) {}
  static void monitor(Backend, const volatile void*) { ++script.monitors; }
  static Wake wait(Backend, uint64_t deadline, bool deep) {
    if (deep) ++script.deep;
    if (script.wake_after < deadline - script.now) {
      script.now += script.wake_after;
      return script.wake;
    }
    script.now = deadline;
    return Wake::deadline;
  }
};

struct Fixture {
  explicit Fixture(Backend backend, WaitTuning tuning = {0, 1'000'000})
      : waiter(backend, tuning, &sleeper) {
    script = {};
    script.sleeper = &sleeper;
  }
  BasicSleeper<Scripted> sleeper;
  BasicWaiter<Scripted> waiter;
  uint64_t word = 0;
};

constexpr auto kNever = [] { return false; };

}  // namespace

TEST(work_that_is_there_needs_no_wait) {
  Fixture f(Backend::futex);
  CHECK(f.waiter.idle(
            &f.word, [] { return true; }, UINT64_MAX) == Wake::signalled);
  CHECK_EQ(f.waiter.counters().waits, 0u);
}

TEST(every_sleep_ends_at_the_deadline_or_at_the_longest_sleep) {
  for (const Backend backend : {Backend::spin, Backend::futex, Backend::waitpkg}) {
    Fixture f(backend, {0, 5000});
    const uint64_t start = script.now;
    CHECK(f.waiter.idle(&f.word, kNever, start + 300) == Wake::deadline);
    CHECK(script.now >= start + 300 && script.now < start + 400);
    const uint64_t again = script.now;
    CHECK(f.waiter.idle(&f.word, kNever, UINT64_MAX) == Wake::deadline);
    CHECK(script.now >= again + 5000 && script.now < again + 5100);
    CHECK_EQ(f.waiter.counters().late, 0u);
  }
}

TEST(a_deadline_that_has_passed_still_looks_once) {
  Fixture f(Backend::futex);
  int looks = 0;
  const auto look = [&] { return ++looks > 100; };
  CHECK(f.waiter.idle(&f.word, look, 5) == Wake::deadline);
  CHECK_EQ(looks, 1);
}

TEST(work_between_monitor_and_wait_is_seen_without_a_wait) {
  for (const Backend backend : {Backend::futex, Backend::waitpkg}) {
    Fixture f(backend);
    int looks = 0;
    // The first look is the spin's; the second comes after monitor().
    CHECK(f.waiter.idle(
              &f.word, [&] { return ++looks == 2; }, UINT64_MAX) == Wake::signalled);
    CHECK_EQ(f.waiter.counters().waits, 0u);
    CHECK_EQ(f.sleeper.sleeping.load(), 0u);
  }
}

TEST(spurious_and_os_limited_returns_are_counted_and_waited_through) {
  for (const Wake wake : {Wake::spurious, Wake::os_limit}) {
    Fixture f(Backend::waitpkg);
    script.wake = wake;
    script.wake_after = 100;
    const uint64_t start = script.now;
    CHECK(f.waiter.idle(&f.word, kNever, start + 1000) == Wake::deadline);
    const WaitCounters& c = f.waiter.counters();
    CHECK((wake == Wake::spurious ? c.spurious : c.os_limit) >= 9);
    CHECK_EQ(c.waits, c.spurious + c.os_limit + c.deadline);
    CHECK_EQ(script.monitors, c.waits);
  }
}

TEST(the_deeper_state_comes_after_a_long_idle) {
  Fixture f(Backend::waitpkg);
  script.wake = Wake::spurious;
  script.wake_after = 100;
  f.waiter.idle(&f.word, kNever, script.now + 900);
  CHECK_EQ(script.deep, 0u);
  f.waiter.idle(&f.word, kNever, script.now + 5000);
  CHECK(script.deep > 20);
}

TEST(the_deeper_state_can_be_had_always_or_never) {
  for (const uint64_t after : {uint64_t{0}, UINT64_MAX}) {
    Fixture f(Backend::waitpkg, {0, 1'000'000, after});
    script.wake = Wake::spurious;
    script.wake_after = 100;
    f.waiter.idle(&f.word, kNever, script.now + 50'000);
    CHECK(f.waiter.counters().waits > 400);
    CHECK_EQ(script.deep, after == 0 ? f.waiter.counters().waits : 0u);
  }
}

TEST(a_signal_during_the_sleep_is_counted_as_one) {
  Fixture f(Backend::futex);
  bool work = false;
  static bool* arrives;
  arrives = &work;
  script.on_wait = [](BasicSleeper<Scripted>& sleeper) {
    *arrives = true;
    signal(sleeper);
  };
  CHECK(f.waiter.idle(
            &f.word, [&] { return work; }, UINT64_MAX) == Wake::signalled);
  CHECK_EQ(f.waiter.counters().signalled, 1u);
  CHECK_EQ(f.waiter.counters().late, 0u);
  CHECK_EQ(f.sleeper.sleeping.load(), 0u);
}

TEST(work_without_a_signal_is_a_lost_wake_and_is_counted_late) {
  for (const Backend backend : {Backend::futex, Backend::monitorx}) {
    Fixture f(backend);
    int looks = 0;
    const auto look = [&] { return ++looks == 3; };  // spin, after monitor, after the wait
    CHECK(f.waiter.idle(&f.word, look, script.now + 500) == Wake::signalled);
    CHECK_EQ(f.waiter.counters().late, 1u);
    CHECK_EQ(f.waiter.counters().deadline, 1u);
  }
}

TEST(work_that_the_watched_line_does_not_stand_for_is_not_late) {
  for (const bool watched : {false, true}) {
    Fixture f(Backend::monitorx);
    int looks = 0;
    const auto look = [&] { return ++looks == 3; };
    CHECK(f.waiter.idle(&f.word, look, script.now + 500, [&] { return watched; }) ==
          Wake::signalled);
    CHECK_EQ(f.waiter.counters().late, watched ? 1u : 0u);
    CHECK_EQ(f.waiter.counters().deadline, 1u);
  }
}

TEST(dated_work_is_late_when_it_was_published_before_the_bound_ended_the_wait) {
  for (const Wake wake : {Wake::os_limit, Wake::deadline, Wake::spurious}) {
    for (const bool before : {false, true}) {
      Fixture f(Backend::waitpkg);
      script.wake = wake;
      script.wake_after = 500;
      // A store that ended its wait is found in the same moment: what is on its way is not late.
      const uint64_t published = script.now + (before ? 100 : 500);
      int looks = 0;
      const auto look = [&] { return ++looks == 3; };
      CHECK(f.waiter.idle(&f.word, look, UINT64_MAX,
                          [&](uint64_t tick) { return published < tick; }) == Wake::signalled);
      const WaitCounters& c = f.waiter.counters();
      const bool late = before && wake != Wake::spurious;
      CHECK_EQ(c.late, late ? 1u : 0u);
      CHECK_EQ(c.os_limit, late && wake == Wake::os_limit ? 1u : 0u);
      CHECK_EQ(c.deadline, wake == Wake::deadline ? 1u : 0u);
      CHECK_EQ(c.waits, c.signalled + c.deadline + c.os_limit + c.spurious);
    }
  }
}

TEST(where_a_wait_ends_without_a_reason_a_slow_wake_is_not_late) {
  for (const Backend backend : {Backend::wfe, Backend::zawrs, Backend::waitpkg}) {
    Fixture f(backend);
    script.wake = Wake::os_limit;
    script.wake_after = 500;
    const uint64_t published = script.now + 400;  // 10 us before the end
    int looks = 0;
    const auto look = [&] { return ++looks == 3; };
    f.waiter.idle(&f.word, look, UINT64_MAX, [&](uint64_t tick) { return published < tick; });
    CHECK_EQ(f.waiter.counters().late, backend == Backend::waitpkg ? 1u : 0u);
  }
}

TEST(dated_work_that_is_signalled_as_the_deadline_passes_is_not_late) {
  for (const bool follows : {false, true}) {
    Fixture f(Backend::futex);
    static bool signal_follows;
    signal_follows = follows;
    int looks = 0;
    const auto look = [&] {
      if (++looks < 3) return false;
      if (signal_follows) signal(f.sleeper);  // after the deadline, before the grace is over
      return true;
    };
    CHECK(f.waiter.idle(&f.word, look, script.now + 500, [&](uint64_t) { return true; }) ==
          Wake::signalled);
    CHECK_EQ(f.waiter.counters().late, follows ? 0u : 1u);
    CHECK_EQ(f.waiter.counters().signalled, follows ? 1u : 0u);
  }
}

TEST(while_another_holds_the_heavy_fence_nobody_sleeps) {
  Fixture f(Backend::futex);
  script.fence_free = false;
  int looks = 0;
  CHECK(f.waiter.idle(
            &f.word, [&] { return ++looks == 50; }, UINT64_MAX) == Wake::signalled);
  CHECK_EQ(f.waiter.counters().waits, 0u);
  CHECK_EQ(f.sleeper.sleeping.load(), 0u);
}

TEST(the_spin_shrinks_when_it_finds_nothing_and_grows_when_it_would_have) {
  Fixture f(Backend::futex, {3200, 1'000'000});
  CHECK_EQ(f.waiter.spin_budget(), 3200u);
  for (int i = 0; i < 10; ++i) f.waiter.idle(&f.word, kNever, script.now + 100'000);
  CHECK_EQ(f.waiter.spin_budget(), 0u);
  // Work 100 ticks into each sleep: a longer spin would have found it.
  script.wake = Wake::spurious;
  script.wake_after = 100;
  for (int i = 0; i < 10; ++i) {
    int looks = 0;
    f.waiter.idle(
        &f.word, [&] { return ++looks >= 3; }, UINT64_MAX);
  }
  CHECK(f.waiter.spin_budget() > 0);
  CHECK(f.waiter.spin_budget() <= 3200);
}

// A wake by futex comes late itself: that must not keep a spin short that would have found the
// work.
TEST(the_time_that_a_futex_takes_to_wake_does_not_end_spinning) {
  for (const Backend backend : {Backend::futex, Backend::waitpkg}) {
    Fixture f(backend, {3200, 1'000'000});
    script.wake = Wake::spurious;
    const auto sleep_for = [&](uint64_t ticks) {
      script.wake_after = ticks;
      bool slept = false;
      const uint64_t waits = f.waiter.counters().waits;
      f.waiter.idle(
          &f.word, [&] { return slept = f.waiter.counters().waits != waits; }, UINT64_MAX);
      return slept;
    };
    CHECK(sleep_for(50'000));
    CHECK_EQ(f.waiter.spin_budget(), 1600u);
    CHECK(sleep_for(3000));
    CHECK_EQ(f.waiter.spin_budget(), backend == Backend::futex ? 3200u : 800u);
    if (backend != Backend::futex) continue;
    // All of the longest spin found nothing: there is no doubt.
    CHECK(sleep_for(2000));
    CHECK_EQ(f.waiter.spin_budget(), 1600u);
  }
}

TEST(spin_never_sleeps) {
  Fixture f(Backend::spin, {10, 1'000'000});
  f.waiter.idle(&f.word, kNever, script.now + 10'000);
  CHECK_EQ(f.waiter.counters().waits, 0u);
  CHECK(script.relaxes > 1000);
}

TEST(a_spin_looks_often_but_ends_in_time_whatever_a_look_costs) {
  for (const uint64_t cost : {uint64_t{0}, uint64_t{50}}) {
    Fixture f(Backend::spin);
    uint64_t looks = 0;
    const uint64_t end = script.now + 10'000;
    f.waiter.idle(
        &f.word,
        [&] {
          ++looks;
          script.now += cost;
          return false;
        },
        end);
    CHECK(script.now < end + 100);
    CHECK(cost == 0 ? looks > 32 * script.relaxes : looks == script.relaxes);
  }
}

namespace {

// ---- between threads
// -------------------------------------------------------------------------------

// A mutant leaves out what its name says.
struct NoHeavyFence : Hardware {
  static bool try_heavy_fence() noexcept { return true; }
};

thread_local bool blind = false;
struct NoSecondLook : Hardware {
  // A slow clock widens the way from the first look to the announcement of the sleep.
  static uint64_t now() noexcept {
    const uint64_t start = now_ticks();
    while (now_ticks() - start < 1000) continue;
    return now_ticks();
  }
  static bool try_heavy_fence() noexcept {
    blind = true;
    return Hardware::try_heavy_fence();
  }
};

struct alignas(128) Word {
  std::atomic<uint32_t> value{0};
};

struct Outcome {
  uint32_t handed_over = 0;
  WaitCounters counters;
};

class Jitter {
 public:
  explicit Jitter(uint32_t seed) : state_(seed) {}
  uint32_t below(uint32_t limit) {
    state_ = state_ * 1664525 + 1013904223;
    return static_cast<uint32_t>(static_cast<uint64_t>(state_) * limit >> 32);
  }
  void pause(uint32_t ns_max) {
    const uint64_t until = now_ticks() + ns_to_ticks(below(ns_max));
    while (now_ticks() < until) continue;
  }

 private:
  uint32_t state_;
};

// The producer hands numbers over, each at another moment of the consumer's way into its sleep, and
// waits for each to be taken. A lost wake costs the consumer its whole sleep and shows as `late`.
template <class Policy>
Outcome hand_over(Backend backend, uint32_t handovers, uint64_t sleep_ns, bool until_late) {
  platform_init();
  BasicSleeper<Policy> sleeper;
  Word mail;
  Word taken;
  std::atomic<bool> stop{false};
  Outcome outcome;

  std::thread consumer([&] {
    BasicWaiter<Policy> waiter(backend, {0, ns_to_ticks(sleep_ns)}, &sleeper);
    uint32_t seen = 0;
    Jitter jitter(2);
    while (!stop.load(std::memory_order_relaxed)) {
      const auto look = [&] {
        if (blind) {
          blind = false;
          return false;
        }
        return mail.value.load(std::memory_order_acquire) != seen;
      };
      jitter.pause(500);
      waiter.idle(&mail, look, UINT64_MAX);
      const uint32_t next = mail.value.load(std::memory_order_acquire);
      if (next == seen) continue;
      seen = next;
      if (until_late && waiter.counters().late != 0) stop.store(true, std::memory_order_relaxed);
      taken.value.store(seen, std::memory_order_release);
    }
    outcome.counters = waiter.counters();
  });

  Jitter jitter(1);
  uint32_t sent = 0;
  const uint64_t limit = monotonic_ns() + 20'000'000'000;
  for (; sent < handovers && !stop.load(std::memory_order_relaxed); ++sent) {
    // Some while it falls asleep, some when it sleeps.
    jitter.pause(jitter.below(8) == 0 ? 40'000 : 500);
    mail.value.store(sent + 1, std::memory_order_release);
    signal(sleeper);
    while (taken.value.load(std::memory_order_acquire) != sent + 1 &&
           !stop.load(std::memory_order_relaxed)) {
      if (monotonic_ns() > limit) stop.store(true, std::memory_order_relaxed);
    }
  }
  stop.store(true, std::memory_order_relaxed);
  consumer.join();
  outcome.handed_over = sent;
  return outcome;
}

void print(const char* name, const Outcome& o) {
  std::printf(
      "  %s: %u handed over, %lu waits, %lu signalled, %lu spurious, %lu deadline, %lu late\n",
      name, o.handed_over, static_cast<unsigned long>(o.counters.waits),
      static_cast<unsigned long>(o.counters.signalled),
      static_cast<unsigned long>(o.counters.spurious),
      static_cast<unsigned long>(o.counters.deadline), static_cast<unsigned long>(o.counters.late));
}

uint32_t processors() {
  uint32_t count = 0;
  for (const Cpu& cpu : read_topology().cpus) count += cpu.usable;
  return count;
}

}  // namespace

TEST(no_wake_is_lost_in_100000_handovers_on_any_backend) {
  for (const BackendReport& report : probe_backends()) {
    if (!report.usable) continue;
    // A spinner on a shared machine waits for the scheduler, so it hands over less.
    const uint32_t handovers = report.backend == Backend::spin ? 10'000 : 100'000;
    const Outcome outcome = hand_over<Hardware>(report.backend, handovers, 100'000'000, false);
    print(backend_name(report.backend), outcome);
    CHECK_EQ(outcome.handed_over, handovers);
    CHECK_EQ(outcome.counters.late, 0u);
  }
}

TEST(the_hand_over_finds_the_missing_second_look) {
  if (processors() < 2) return;
  const Outcome outcome = hand_over<NoSecondLook>(Backend::futex, 1'000'000, 2'000'000, true);
  print("mutant", outcome);
  CHECK(outcome.counters.late > 0);
}

TEST(the_hand_over_finds_the_missing_heavy_fence) {
  // Where the producer pays for a full fence itself, or the threads share a processor, half of the
  // protocol still stands and hides the mutant.
  if (processors() < 2 || detail::light_fence_is_full.load()) return;
  const Outcome outcome = hand_over<NoHeavyFence>(Backend::futex, 1'000'000, 2'000'000, true);
  print("mutant", outcome);
  CHECK(outcome.counters.late > 0);
}

TEST(many_producers_wake_one_consumer) {
  platform_init();
  constexpr uint32_t kProducers = 3;
  constexpr uint32_t kEach = 3000;
  Sleeper sleeper;
  Word mails[kProducers];
  std::thread producers[kProducers];
  Waiter waiter(Backend::futex, {ns_to_ticks(2000), ns_to_ticks(100'000'000)}, &sleeper);
  for (uint32_t p = 0; p < kProducers; ++p) {
    producers[p] = std::thread([&, p] {
      for (uint32_t i = 1; i <= kEach; ++i) {
        mails[p].value.store(i, std::memory_order_release);
        signal(sleeper);
        if (i % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    });
  }
  uint32_t seen[kProducers] = {};
  const uint64_t limit = monotonic_ns() + 20'000'000'000;
  const auto left = [&] {
    for (const uint32_t last : seen) {
      if (last != kEach) return true;
    }
    return false;
  };
  while (left() && monotonic_ns() < limit) {
    waiter.idle(
        mails,
        [&] {
          for (uint32_t p = 0; p < kProducers; ++p) {
            if (mails[p].value.load(std::memory_order_acquire) != seen[p]) return true;
          }
          return false;
        },
        UINT64_MAX);
    for (uint32_t p = 0; p < kProducers; ++p) seen[p] = mails[p].value.load();
  }
  for (std::thread& producer : producers) producer.join();
  CHECK(!left());
  CHECK_EQ(waiter.counters().late, 0u);
}

TEST(many_sleepers_share_the_heavy_fence) {
  platform_init();
  std::thread sleepers[4];
  std::atomic<uint32_t> ended{0};
  for (std::thread& thread : sleepers) {
    thread = std::thread([&] {
      Sleeper sleeper;
      Waiter waiter(Backend::futex, {0, ns_to_ticks(100'000)}, &sleeper);
      for (int i = 0; i < 500; ++i)
        waiter.idle(
            &sleeper, [] { return false; }, UINT64_MAX);
      ended += waiter.counters().late == 0;
    });
  }
  for (std::thread& thread : sleepers) thread.join();
  CHECK_EQ(ended.load(), 4u);
}
