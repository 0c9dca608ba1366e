#include "platform/detect.hpp"

#include <setjmp.h>
#include <signal.h>

#include <cstdlib>
#include <mutex>

#include "platform/backends.hpp"
#include "platform/error.hpp"
#include "platform/probe.hpp"

namespace vanity {
namespace {

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

constexpr Monitor kMonitors[] = {
    {Backend::waitpkg, "UMONITOR", waitpkg::declared, waitpkg::monitor, waitpkg::wait},
    {Backend::monitorx, "MONITORX", monitorx::declared, monitorx::monitor, monitorx::wait},
    {Backend::wfe, "LDAXR and WFE", wfe::declared, wfe::monitor, wfe::wait},
    {Backend::zawrs, "WRS.STO", zawrs::declared, zawrs::monitor, zawrs::wait},
};

std::vector<BackendReport> probe_all() {
  platform_init();
  std::vector<BackendReport> reports = {
      {Backend::spin, true, "works everywhere; keeps its core busy"},
      {Backend::futex, true,
       detail::light_fence_is_full.load(std::memory_order_relaxed)
           ? "Linux wakes; no membarrier, so every signal costs a fence"
           : "Linux wakes; membarrier keeps signal() free of fences"},
  };
  for (const Monitor& monitor : kMonitors) reports.push_back(probe(monitor));
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
