// Which ways to wait are found, forced and refused, and that finding out never kills the process.
#include <linux/membarrier.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>

#include "check.hpp"
#include "platform/backends.hpp"
#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"
#include "platform/probe.hpp"

using namespace vanity;

namespace {

class Variable {
 public:
  explicit Variable(const char* value) { setenv("VANITY_WAIT", value, 1); }
  ~Variable() { unsetenv("VANITY_WAIT"); }
};

std::string refused(const char* wanted) {
  try {
    choose_backend(wanted);
  } catch (const Error& error) {
    if (std::string(error.code()) == "VANITY_E_WAIT_UNAVAILABLE" && !error.hint().empty()) {
      return error.what();
    }
  }
  return "";
}

}  // namespace

TEST(every_backend_is_reported_with_a_reason) {
  const auto reports = probe_backends();
  CHECK_EQ(reports.size(), kBackends);
  for (uint32_t i = 0; i < kBackends; ++i) {
    CHECK_EQ(static_cast<uint32_t>(reports[i].backend), i);
    CHECK(!reports[i].reason.empty());
    std::printf("  %-8s %-3s %s\n", backend_name(reports[i].backend),
                reports[i].usable ? "yes" : "no", reports[i].reason.c_str());
  }
  CHECK(reports[0].usable);
  CHECK(reports[1].usable);
}

TEST(probing_gives_the_signal_handlers_back) {
  struct sigaction before {
  }, after{};
  sigaction(SIGILL, nullptr, &before);
  probe_backends();
  sigaction(SIGILL, nullptr, &after);
  CHECK(before.sa_handler == after.sa_handler);
}

TEST(an_instruction_that_traps_is_survived_and_reported) {
  // Whatever this processor hides: the instruction itself is executed under the guard.
  const std::string text = trap_of([] {
#if defined(__x86_64__)
    asm volatile("ud2");
#elif defined(__aarch64__)
    asm volatile("udf #0");
#else
    asm volatile("unimp");
#endif
  });
  CHECK_EQ(text, "SIGILL");
  static volatile uintptr_t nowhere = 64;  // not null, or a sanitizer sees it first
  CHECK_EQ(trap_of([] { *reinterpret_cast<volatile int*>(nowhere) = 1; }), "a fault");
  CHECK_EQ(trap_of([] {}), "");
  CHECK_EQ(trap_of([] { asm volatile("" ::: "memory"); }), "");
}

TEST(hidden_instructions_are_tried_and_survived) {
  for (const BackendReport& report : probe_backends()) {
    if (report.usable) continue;
    const std::string text = trap_of([&] {
      Hardware::monitor(report.backend, &report);
      Hardware::wait(report.backend, now_ticks() + 1000, false);
    });
    std::printf("  %-8s executed all the same: %s\n", backend_name(report.backend),
                text.empty() ? "no trap" : text.c_str());
  }
}

namespace {

// ---- monitors of the test's own, for the probe
Declared declared() {
  return {true, "declared"};
}

thread_local const volatile std::atomic<uint64_t>* armed = nullptr;
thread_local uint64_t held = 0;

void arm(const volatile void* address) noexcept {
  armed = static_cast<const volatile std::atomic<uint64_t>*>(address);
  held = armed->load();
}
// What a good processor does.
Wake until_stored(uint64_t deadline, bool) noexcept {
  while (armed->load() == held) {
    if (now_ticks() >= deadline) return Wake::deadline;
  }
  return Wake::spurious;
}
Wake at_once(uint64_t, bool) noexcept {
  return Wake::spurious;
}
// A NOP that a hypervisor makes of it.
Wake after_an_exit(uint64_t, bool) noexcept {
  const uint64_t until = now_ticks() + ns_to_ticks(5000);
  while (now_ticks() < until) continue;
  return Wake::spurious;
}
// Blind to the store; a bound of the system ends it.
Wake until_bound(uint64_t deadline, bool) noexcept {
  static const uint64_t bound = ns_to_ticks(100'000);
  const uint64_t until = std::min(deadline, now_ticks() + bound);
  while (now_ticks() < until) relax();
  return Wake::os_limit;
}
Wake until_deadline(uint64_t deadline, bool) noexcept {
  while (now_ticks() < deadline) relax();
  return Wake::deadline;
}
void trap(const volatile void*) noexcept {
#if defined(__x86_64__)
  asm volatile("ud2");
#elif defined(__aarch64__)
  asm volatile("udf #0");
#else
  asm volatile("unimp");
#endif
}

bool two_processors() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 1;
}

BackendReport probed(Backend backend, Wake (*wait)(uint64_t, bool) noexcept) {
  BackendReport report = probe({backend, "FAKE", declared, arm, wait});
  for (int i = 0; i < 20 && report.reason.find("too busy") != std::string::npos; ++i) {
    report = probe({backend, "FAKE", declared, arm, wait});
  }
  std::printf("  %s, %.1f\n", report.reason.c_str(), report.waits_per_wake);
  return report;
}

}  // namespace

TEST(a_monitor_that_arms_takes_about_one_wait_per_wake) {
  if (!two_processors()) return;
  const BackendReport report = probed(Backend::waitpkg, until_stored);
  CHECK(report.usable);
  CHECK(report.waits_per_wake >= 1 && report.waits_per_wake < 3);
  CHECK(report.reason.find("waits per wake") != std::string::npos);
}

TEST(a_monitor_that_never_arms_is_refused_on_x86_and_named_elsewhere) {
  if (!two_processors()) return;
  for (const Backend backend : {Backend::waitpkg, Backend::zawrs}) {
    const BackendReport report = probed(backend, at_once);
    CHECK_EQ(report.usable, backend == Backend::zawrs);
    CHECK(report.waits_per_wake > 100);
    CHECK(report.reason.find("does not arm") != std::string::npos);
  }
}

TEST(a_monitor_that_a_hypervisor_makes_a_nop_is_refused_on_x86) {
  if (!two_processors()) return;
  CHECK(!probed(Backend::monitorx, after_an_exit).usable);
  CHECK(probed(Backend::wfe, after_an_exit).usable);
}

TEST(a_monitor_that_no_store_ends_is_refused_whatever_bounds_it) {
  if (!two_processors()) return;
  for (const auto wait : {until_bound, until_deadline}) {
    const BackendReport report = probed(Backend::wfe, wait);
    CHECK(!report.usable);
    CHECK(report.reason.find("does not end the wait") != std::string::npos);
  }
}

TEST(a_monitor_that_traps_is_refused_while_other_threads_go_on) {
  std::atomic<uint64_t> turns{0};
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop.load()) turns.fetch_add(1);
  });
  const uint64_t before = turns.load();
  for (int i = 0; i < 100; ++i) {
    const BackendReport report = probe({Backend::waitpkg, "FAKE", declared, trap, at_once});
    CHECK(!report.usable);
    CHECK(report.reason.find("FAKE raises SIGILL") != std::string::npos);
  }
  while (turns.load() == before) std::this_thread::yield();
  stop.store(true);
  other.join();
}

TEST(a_monitor_that_is_not_declared_is_never_executed) {
  const BackendReport report = probe({Backend::waitpkg, "FAKE",
                                      [] {
                                        return Declared{false, "absent"};
                                      },
                                      trap, until_stored});
  CHECK(!report.usable);
  CHECK_EQ(report.reason, "absent");
}

TEST(a_trap_of_another_thread_goes_where_it_went_before) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGILL, [](int) { _exit(7); });
    trap_of([] {
      // The guard of this thread is up; the trap is that of another one.
      std::thread([] { raise(SIGILL); }).join();
    });
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 7);
}

TEST(membarrier_is_registered_and_works_when_the_first_thread_asks) {
  std::thread threads[4];
  std::atomic<uint32_t> unready{0};
  for (std::thread& thread : threads) {
    thread = std::thread([&] {
      for (int i = 0; i < 1000; ++i) platform_init();
      unready += ticks_per_second() == 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(unready.load(), 0u);
  CHECK(try_heavy_fence());
  constexpr int kGetRegistrations = 1 << 9;  // Linux 6.3
  const long registered = syscall(__NR_membarrier, kGetRegistrations, 0, 0);
  if (registered < 0 || detail::light_fence_is_full.load()) return;
  CHECK((registered & MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0);
}

TEST(auto_takes_a_usable_backend) {
  const Backend backend = choose_backend("auto");
  CHECK(backend != Backend::spin);
  CHECK(probe_backends()[static_cast<size_t>(backend)].usable);
}

TEST(the_variable_overrides_auto_only) {
  const Variable variable("spin");
  CHECK(choose_backend("auto") == Backend::spin);
  CHECK(choose_backend("futex") == Backend::futex);
}

TEST(an_empty_variable_and_auto_say_nothing) {
  const Backend otherwise = choose_backend("auto");
  for (const char* value : {"", "auto"}) {
    const Variable variable(value);
    CHECK(choose_backend("auto") == otherwise);
  }
}

TEST(what_the_host_lacks_is_refused_with_the_reason) {
  for (const BackendReport& report : probe_backends()) {
    if (report.usable) {
      CHECK(choose_backend(backend_name(report.backend)) == report.backend);
    } else {
      CHECK(refused(backend_name(report.backend)).find(report.reason) != std::string::npos);
    }
  }
}

TEST(a_name_that_nobody_knows_is_refused) {
  CHECK(refused("mwait").find("wait = \"mwait\"") != std::string::npos);
  CHECK(!refused("").empty());
  const Variable variable("sleep");
  CHECK(refused("auto").find("VANITY_WAIT=sleep") != std::string::npos);
}
