#include "platform/detect.hpp"

#include <setjmp.h>
#include <signal.h>

#include <cstdlib>
#include <mutex>
#include <thread>

#include "platform/backends.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

// ---- executing what may trap ------------------------------------------------------------------

constexpr int kTraps[] = {SIGILL, SIGSEGV, SIGBUS};
constexpr size_t kTrapCount = sizeof kTraps / sizeof *kTraps;

thread_local sigjmp_buf* guarded = nullptr;
struct sigaction previous[kTrapCount];

// A trap of the probing thread goes back to it. One of another thread, which may trap while the
// probe runs, goes where it would have gone.
void on_trap(int number, siginfo_t* info, void* context) {
  if (guarded != nullptr) siglongjmp(*guarded, number);
  for (size_t i = 0; i < kTrapCount; ++i) {
    if (kTraps[i] != number) continue;
    if ((previous[i].sa_flags & SA_SIGINFO) != 0 && previous[i].sa_sigaction != nullptr) {
      return previous[i].sa_sigaction(number, info, context);
    }
    if (previous[i].sa_handler != SIG_DFL && previous[i].sa_handler != SIG_IGN) {
      return previous[i].sa_handler(number);
    }
    sigaction(number, &previous[i], nullptr);  // the instruction traps again, to the default
  }
}

}  // namespace

std::string trap_of(const std::function<void()>& run) {
  static std::mutex one;  // the handlers are the process's
  const std::lock_guard<std::mutex> lock(one);
  struct sigaction action {};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kTrapCount; ++i) sigaction(kTraps[i], &action, &previous[i]);
  sigjmp_buf back;
  const int raised = sigsetjmp(back, 1);
  if (raised == 0) {
    guarded = &back;
    run();
  }
  guarded = nullptr;
  for (size_t i = 0; i < kTrapCount; ++i) sigaction(kTraps[i], &previous[i], nullptr);
  if (raised == 0) return "";
  return raised == SIGILL ? "SIGILL" : "a fault";
}

namespace {

// ---- the probe ----------------------------------------------------------------------------------

struct Trial {
  bool usable;
  std::string text;
};

struct Primitives {
  Backend backend;
  const char* instructions;
  Declared (*declared)();
  void (*monitor)(const volatile void*) noexcept;
  Wake (*wait)(uint64_t, bool) noexcept;
};

constexpr Primitives kMonitors[] = {
    {Backend::waitpkg, "UMONITOR", waitpkg::declared, waitpkg::monitor, waitpkg::wait},
    {Backend::monitorx, "MONITORX", monitorx::declared, monitorx::monitor, monitorx::wait},
    {Backend::wfe, "LDAXR and WFE", wfe::declared, wfe::monitor, wfe::wait},
    {Backend::zawrs, "WRS.STO", zawrs::declared, zawrs::monitor, zawrs::wait},
};

struct alignas(128) Line {
  std::atomic<uint32_t> word{0};
};

// An armed monitor must let time pass when nothing is stored, and must come back at once when the
// store came between arming and waiting. Wakes for no reason are allowed, so the best of some
// tries.
Trial self_test(const Primitives& by) {
  constexpr int kTries = 16;
  static Line line;
  const uint64_t nap = ns_to_ticks(20'000);
  uint64_t longest = 0;
  uint64_t shortest = UINT64_MAX;
  for (int i = 0; i < kTries; ++i) {
    uint64_t start = now_ticks();
    by.monitor(&line);
    by.wait(start + nap, false);
    longest = std::max(longest, now_ticks() - start);
    start = now_ticks();
    by.monitor(&line);
    line.word.store(static_cast<uint32_t>(i), std::memory_order_seq_cst);
    by.wait(start + nap * 50, false);
    shortest = std::min(shortest, now_ticks() - start);
  }
  if (shortest > nap * 25) return {false, "a store to the monitored line does not end the wait"};
  // WFE and Zawrs choose their own bound, which may be short; that is slow, not wrong.
  if ((by.backend == Backend::waitpkg || by.backend == Backend::monitorx) && longest < nap / 4) {
    return {false, "the monitor does not arm: every wait returns at once"};
  }
  return {true, ""};
}

BackendReport probe(const Primitives& by) {
  const Declared declared = by.declared();
  if (!declared.present) return {by.backend, false, declared.reason};
  static Line line;
  const std::string trap = trap_of([&] {
    by.monitor(&line);
    by.wait(now_ticks() + 1000, false);
  });
  if (!trap.empty()) {
    return {by.backend, false,
            declared.reason + ", but " + by.instructions + " raises " + trap +
                ": hidden by the hypervisor, the kernel or the processor"};
  }
  const Trial trial = self_test(by);
  return {by.backend, trial.usable,
          trial.usable ? declared.reason : declared.reason + ", but " + trial.text};
}

std::vector<BackendReport> probe_all() {
  platform_init();
  std::vector<BackendReport> reports = {
      {Backend::spin, true, "works everywhere; keeps its core busy"},
      {Backend::futex, true,
       detail::light_fence_is_full.load(std::memory_order_relaxed)
           ? "Linux wakes; no membarrier, so every signal costs a fence"
           : "Linux wakes; membarrier keeps signal() free of fences"},
  };
  for (const Primitives& by : kMonitors) reports.push_back(probe(by));
  return reports;
}

std::string names() {
  std::string all = "auto";
  for (uint32_t i = 0; i < kBackends; ++i) {
    all += std::string(", ") + backend_name(static_cast<Backend>(i));
  }
  return all;
}

Backend best(const std::vector<BackendReport>& reports) {
  for (const Backend backend :
       {Backend::waitpkg, Backend::monitorx, Backend::wfe, Backend::zawrs}) {
    if (reports[static_cast<size_t>(backend)].usable) return backend;
  }
  return Backend::futex;
}

}  // namespace

const char* backend_name(Backend backend) noexcept {
  constexpr const char* kNames[] = {"spin", "futex", "waitpkg", "monitorx", "wfe", "zawrs"};
  return kNames[static_cast<int>(backend)];
}

std::vector<BackendReport> probe_backends() {
  static const std::vector<BackendReport> reports = probe_all();
  return reports;
}

Backend choose_backend(std::string_view wanted) {
  const std::vector<BackendReport> reports = probe_backends();
  std::string asked(wanted);
  std::string by = "wait = \"" + asked + "\"";
  const char* const variable = std::getenv("VANITY_WAIT");
  if (asked == "auto" && variable != nullptr && *variable != '\0') {
    asked = variable;
    by = "VANITY_WAIT=" + asked;
  }
  if (asked == "auto") return best(reports);
  for (const BackendReport& report : reports) {
    if (asked != backend_name(report.backend)) continue;
    if (report.usable) return report.backend;
    throw Error("VANITY_E_WAIT_UNAVAILABLE", by + " can't be had on this host: " + report.reason,
                std::string("use \"auto\" (here: ") + backend_name(best(reports)) +
                    "); npx vanity doctor lists what this host can do");
  }
  throw Error("VANITY_E_WAIT_UNAVAILABLE", by + " is not a way to wait", "one of " + names());
}

}  // namespace vanity
