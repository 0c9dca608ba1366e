#include "platform/probe.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <thread>

#include "platform/clock.hpp"
#include "platform/topology.hpp"

namespace vanity {
namespace {

struct alignas(128) Word {
  std::atomic<uint64_t> value{0};
};

void move_to(uint32_t cpu) noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // where it may not, it stays
}

struct Trial {
  uint32_t wakes = 0;
  double waits_per_wake = 0;
  uint64_t median_ns = 0;  // from the store to the end of the wait
};

constexpr uint32_t kWakes = 32;
constexpr uint32_t kWakesToJudge = kWakes / 4;
constexpr uint64_t kSleepNs = 50'000;
constexpr uint64_t kBoundNs = 1'000'000;
constexpr uint64_t kRoundsMax = 8 * kWakes;  // on busy processors; else kWakes do
// UMWAIT and MWAITX sleep until the store, or until Linux's 100,000 ticks: a sleep of kSleepNs is a
// few waits. More are a monitor that doesn't arm, or a hypervisor that makes the instruction an
// exit of some microseconds and a NOP. WFE and Zawrs may return whenever they like; that is slow,
// not wrong, until it is a spin.
constexpr double kWaitsOfASleep = 5;
constexpr double kWaitsOfASpin = 100;
// A wake that the store did not bring comes with a bound of Linux, 48 to 100 us apart.
constexpr uint64_t kSlowNs = 12'000;

// One thread sleeps on a line, another stores to it: a store of one's own ends a wait on x86, and
// need not on Arm and RISC-V.
Trial try_out(const Monitor& monitor, uint32_t sleeper_cpu, uint32_t waker_cpu) {
  static constexpr uint64_t kOver = UINT64_MAX;
  Word line;    // monitored: the waker stores the round
  Word stored;  // when it did
  Word turn;    // the sleeper's round
  Trial trial;

  std::thread waker([&] {
    move_to(waker_cpu);
    for (uint64_t round = 1;; ++round) {
      uint64_t asked;
      // Pairs with the sleeper's store.
      while ((asked = turn.value.load(std::memory_order_acquire)) < round) relax();
      if (asked == kOver) return;
      const uint64_t until = now_ticks() + ns_to_ticks(kSleepNs);
      while (now_ticks() < until) relax();
      stored.value.store(now_ticks(), std::memory_order_relaxed);
      line.value.store(round, std::memory_order_release);  // pairs with the sleeper's loads
    }
  });
  std::thread sleeper([&] {
    move_to(sleeper_cpu);
    std::array<uint64_t, kWakes> took{};
    uint64_t waits = 0;
    for (uint64_t round = 1; trial.wakes < kWakes && round <= kRoundsMax; ++round) {
      // Pairs with the waker's store.
      const auto woken = [&] { return line.value.load(std::memory_order_acquire) == round; };
      const uint64_t preempted = thread_switches().involuntary;
      turn.value.store(round, std::memory_order_release);  // pairs with the waker's load
      const uint64_t bound = now_ticks() + ns_to_ticks(kBoundNs);
      uint64_t waited = 0;
      while (!woken() && now_ticks() < bound) {
        monitor.arm(&line);
        if (woken()) break;
        ++waited;
        monitor.wait(bound, false);
      }
      const uint64_t now = now_ticks();
      // Where one of the two was held up, the round says nothing of the monitor.
      const bool fair = woken() && waited != 0 && thread_switches().involuntary == preempted;
      while (!woken()) relax();
      if (!fair) continue;
      const uint64_t since = stored.value.load(std::memory_order_relaxed);
      waits += waited;
      took[trial.wakes++] = now > since ? now - since : 0;
    }
    turn.value.store(kOver, std::memory_order_release);  // pairs with the waker's load
    if (trial.wakes == 0) return;
    std::sort(took.begin(), took.begin() + trial.wakes);
    trial.median_ns = ticks_to_ns(took[trial.wakes / 2]);
    trial.waits_per_wake = static_cast<double>(waits) / trial.wakes;
  });
  sleeper.join();
  waker.join();
  return trial;
}

std::string one_decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

bool ends_by_store_only(Backend backend) {
  return backend == Backend::waitpkg || backend == Backend::monitorx;
}

BackendReport judge(const Monitor& monitor, const std::string& declared, const Trial& trial) {
  const std::string figure = one_decimal(trial.waits_per_wake) + " waits per wake";
  BackendReport report{monitor.backend, true, declared + "; " + figure, trial.waits_per_wake};
  if (trial.wakes < kWakesToJudge) {
    report.reason = declared + "; not tried, the processors are too busy";
  } else if (trial.median_ns > kSlowNs) {
    report.usable = false;
    report.reason = declared + ", but a store to the monitored line does not end the wait";
  } else if (ends_by_store_only(monitor.backend) && trial.waits_per_wake > kWaitsOfASleep) {
    report.usable = false;
    report.reason = declared + ", but the monitor does not arm: " + figure;
  } else if (trial.waits_per_wake > kWaitsOfASpin) {
    report.reason = declared + ", but the monitor does not arm: " + figure + ", a spin in disguise";
  }
  return report;
}

}  // namespace

BackendReport probe(const Monitor& monitor) {
  const Declared declared = monitor.declared();
  if (!declared.present) return {monitor.backend, false, declared.reason};
  static Word line;
  const std::string trap = trap_of([&] {
    monitor.arm(&line);
    monitor.wait(now_ticks() + 1000, false);
  });
  if (!trap.empty()) {
    return {monitor.backend, false,
            declared.reason + ", but " + monitor.instructions + " raises " + trap +
                ": hidden by the hypervisor, the kernel or the processor"};
  }
  std::vector<uint32_t> cpus;
  for (const Cpu& cpu : read_topology().cpus) {
    if (cpu.usable) cpus.push_back(cpu.id);
  }
  if (cpus.size() < 2)
    return {monitor.backend, true, declared.reason + "; not tried, one processor"};
  return judge(monitor, declared.reason, try_out(monitor, cpus.front(), cpus.back()));
}

}  // namespace vanity
