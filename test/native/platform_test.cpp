// Which ways to wait are found, forced and refused, and that finding out never kills the process.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>

#include "check.hpp"
#include "platform/backends.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"

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
