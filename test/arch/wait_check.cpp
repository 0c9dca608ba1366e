// Holds one way of waiting to what it promises, on the processor it is for. Built from the very
// sources of native/platform, static, so that it also runs as the only program of a guest.
//
//   wait_check BACKEND     the one that "auto" must find here; auto: whichever it is
//     says=TEXT            and what its report must say
//     hidden=BACKEND       one that must trap here
//     also=BACKEND         one that is to be tried too, although the system does not offer it
//     loose=1              the machine has other work, or the emulator runs the wait as a NOP
//     rounds=N             round trips of a soak
//     futex_rounds=N       and of that of futex
//     stack=ADDRESS        of the memory to work in, see on_stack()
//
// One line a fact, then "N passed, N failed". As the first process of a guest it mounts what it
// needs and halts in the end.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"
#include "platform/wait.hpp"

using namespace vanity;

namespace {

using ull = unsigned long long;

// ---- what is asked, and what is said ------------------------------------------------------------

std::map<std::string, std::string> options;
int passed = 0;
int failed = 0;

std::string option(const char* name, const char* otherwise = "") {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second;
}
uint64_t number(const char* name, const char* otherwise) {
  return std::strtoull(option(name, otherwise).c_str(), nullptr, 10);
}

[[gnu::format(printf, 2, 3)]] bool fact(bool ok, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::printf("%s - ", ok ? "ok" : "not ok");
  std::vprintf(format, arguments);
  std::printf("\n");
  std::fflush(stdout);
  tcdrain(STDOUT_FILENO);  // the interrupts of a serial line would end the next waits
  va_end(arguments);
  ++(ok ? passed : failed);
  return ok;
}

Backend named(const std::string& name) {
  for (uint32_t i = 0; i < kBackends; ++i) {
    if (name == backend_name(static_cast<Backend>(i))) return static_cast<Backend>(i);
  }
  std::fprintf(stderr, "wait_check: there is no backend \"%s\"\n", name.c_str());
  std::exit(2);
}

bool is_of_this_architecture(Backend backend) {
#if defined(__x86_64__)
  return backend == Backend::waitpkg || backend == Backend::monitorx;
#elif defined(__aarch64__)
  return backend == Backend::wfe;
#else
  return backend == Backend::zawrs;
#endif
}

bool monitors(Backend backend) {
  return backend != Backend::spin && backend != Backend::futex;
}

// Other work shares the processors, or the emulator runs a wait as a NOP, which can lose nothing:
// only what mostly holds can be asked for.
bool loose() {
  return number("loose", "0") != 0;
}

const char* text(Wake wake) {
  constexpr const char* kNames[] = {"signalled", "deadline", "os_limit", "spurious"};
  return kNames[static_cast<int>(wake)];
}

// ---- two processors -----------------------------------------------------------------------------

std::vector<uint32_t> processors;

void pin(size_t side) {
  if (processors.size() >= 2) pin_thread(processors[side]);
}

struct alignas(128) Word {
  std::atomic<uint64_t> value{0};
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t limit) {
    state_ = state_ * 6364136223846793005 + 1442695040888963407;
    return limit == 0 ? 0 : (state_ >> 33) % limit;
  }

 private:
  uint64_t state_;
};

void busy(uint64_t ticks) {
  for (const uint64_t start = now_ticks(); now_ticks() - start < ticks;) continue;
}

// ---- which backends there are -------------------------------------------------------------------

// What is said to who asks for a backend by name; "" when it is given.
std::string refusal(Backend backend) {
  try {
    return choose_backend(backend_name(backend)) == backend ? "" : "another one is given";
  } catch (const Error& error) {
    return error.what();
  }
}

// The first probe of the process, with other threads at work: a trap of the probe is its own alone.
Backend check_detection(const std::string& wanted) {
  std::atomic<bool> stop{false};
  Word worked[2];
  std::thread others[2];
  for (int i = 0; i < 2; ++i) {
    others[i] = std::thread([&, i] {
      while (!stop.load(std::memory_order_relaxed)) {
        worked[i].value.fetch_add(1, std::memory_order_relaxed);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
  }
  struct sigaction before {
  }, after{};
  sigaction(SIGILL, nullptr, &before);
  const std::vector<BackendReport> reports = probe_backends();
  sigaction(SIGILL, nullptr, &after);
  for (const BackendReport& report : reports) {
    std::printf("# %-8s %-3s %s\n", backend_name(report.backend), report.usable ? "yes" : "no",
                report.reason.c_str());
  }
  unsetenv("VANITY_WAIT");
  const Backend automatic = choose_backend("auto");
  const Backend expected = wanted == "auto" ? automatic : named(wanted);
  const BackendReport& report = reports[static_cast<size_t>(expected)];
  fact(report.usable, "%s is usable: %s", backend_name(expected), report.reason.c_str());
  if (!option("says").empty()) {
    fact(report.reason.find(option("says")) != std::string::npos, "its report says \"%s\"",
         option("says").c_str());
  }
  fact(before.sa_handler == after.sa_handler, "the probe gave the handler of SIGILL back");
  fact(automatic == expected, "\"auto\" takes %s", backend_name(automatic));
  fact(refusal(expected).empty(), "it can be asked for by name");

  for (const BackendReport& other : reports) {
    if (other.usable) continue;
    const std::string why = refusal(other.backend);
    fact(why.find(other.reason) != std::string::npos, "%s is refused: %s",
         backend_name(other.backend), why.c_str());
  }

  for (const BackendReport& other : reports) {
    if (other.usable || !is_of_this_architecture(other.backend)) continue;
    int trapped = 0;
    for (int i = 0; i < 1000; ++i) {
      static Word line;
      trapped += trap_of([&] {
                   Hardware::monitor(other.backend, &line);
                   Hardware::wait(other.backend, now_ticks() + 1000, false);
                 }) == "SIGILL";
    }
    // A hypervisor can hide an instruction in CPUID and yet let it run.
    const bool must = option("hidden") == backend_name(other.backend);
    fact(trapped == 1000 || (trapped == 0 && !must),
         "%s, executed all the same, raised SIGILL %d times of 1000", backend_name(other.backend),
         trapped);
  }
  const uint64_t then[2] = {worked[0].value.load(), worked[1].value.load()};
  const uint64_t limit = monotonic_ns() + 10'000'000'000;
  while (monotonic_ns() < limit &&
         (worked[0].value.load() == then[0] || worked[1].value.load() == then[1])) {
    std::this_thread::yield();
  }
  fact(worked[0].value.load() > then[0] && worked[1].value.load() > then[1],
       "two threads at work during all this are still at work");
  stop = true;
  for (std::thread& thread : others) thread.join();
  return expected;
}

// ---- one monitor, look, wait --------------------------------------------------------------------

struct Spread {
  std::vector<uint64_t> ticks;
  uint64_t at(double share) {
    std::sort(ticks.begin(), ticks.end());
    return ticks_to_ns(ticks[static_cast<size_t>(share * static_cast<double>(ticks.size() - 1))]);
  }
};

// The other core stores at a moment of its own; `armed_first`: it stores after the look that found
// nothing and before the wait, which then must not sleep.
void check_store(Backend backend, bool deep, bool armed_first) {
  constexpr int kTries = 1000;
  Word line;
  Word turn;
  const uint64_t far = ns_to_ticks(2'000'000'000);
  const uint64_t nap = ns_to_ticks(50'000);
  std::thread storer([&] {
    pin(1);
    Random random(7);
    for (uint64_t i = 1; i <= kTries; ++i) {
      while (turn.value.load(std::memory_order_acquire) != i) relax();
      if (!armed_first) busy(nap / 5 + random.below(nap));
      const uint64_t now = now_ticks();
      line.value.store(now, std::memory_order_release);  // a plain store: all that wakes
      if (armed_first) turn.value.store(0, std::memory_order_release);
    }
  });
  Spread wakes;
  int rewaits = 0;
  int ended_by_bound = 0;
  uint64_t seen = 0;
  for (uint64_t i = 1; i <= kTries; ++i) {
    uint64_t start = 0;
    if (armed_first) {
      Hardware::monitor(backend, &line);
      turn.value.store(i, std::memory_order_release);
      while (turn.value.load(std::memory_order_acquire) != 0) relax();
      start = now_ticks();
      const Wake wake = Hardware::wait(backend, start + far, deep);
      ended_by_bound += wake == Wake::deadline;
    } else {
      turn.value.store(i, std::memory_order_release);
      for (bool first = true;; first = false) {
        Hardware::monitor(backend, &line);
        if (line.value.load(std::memory_order_acquire) != seen) break;
        rewaits += !first;
        ended_by_bound += Hardware::wait(backend, now_ticks() + far, deep) == Wake::deadline;
      }
      start = line.value.load();
    }
    const uint64_t now = now_ticks();
    wakes.ticks.push_back(now > start ? now - start : 0);
    seen = line.value.load();
  }
  storer.join();
  const uint64_t slowest = wakes.at(loose() ? 0.5 : 1.0);
  fact(ended_by_bound == 0 && slowest < 500'000,
       "%s, %s: %d stores %s: p50 %llu ns, p99 %llu, max %llu; %d waited again, %d at the deadline",
       backend_name(backend), deep ? "deep" : "shallow", kTries,
       armed_first ? "between monitor and wait end it at once" : "of the other core wake a sleeper",
       static_cast<ull>(wakes.at(0.5)), static_cast<ull>(wakes.at(0.99)),
       static_cast<ull>(wakes.at(1.0)), rewaits, ended_by_bound);
}

// Waits until `ticks` have passed, through whatever else ends a wait; how often each was said.
struct Ends {
  uint64_t took;
  int said[4] = {};
};
Ends wait_out(Backend backend, uint64_t ticks, bool deep) {
  static Word line;
  Ends ends{};
  const uint64_t start = now_ticks();
  do {
    Hardware::monitor(backend, &line);
    ++ends.said[static_cast<int>(Hardware::wait(backend, start + ticks, deep))];
  } while (now_ticks() < start + ticks);
  ends.took = now_ticks() - start;
  return ends;
}

void check_deadline(Backend backend, bool deep) {
  const bool says_deadline = backend == Backend::waitpkg || backend == Backend::monitorx;
  const uint64_t ticks = ns_to_ticks(1'000'000);
  uint64_t least = UINT64_MAX;
  int last_said = 0;
  std::vector<uint64_t> took;
  for (int i = 0; i < 20; ++i) {
    const Ends ends = wait_out(backend, ticks, deep);
    least = std::min(least, ends.took);
    took.push_back(ends.took);
    last_said += ends.said[static_cast<int>(Wake::deadline)];
  }
  std::sort(took.begin(), took.end());
  const uint64_t middle = ticks_to_ns(took[took.size() / 2]);
  fact(least >= ticks && middle < (loose() ? 10'000'000 : 1'300'000) &&
           (!says_deadline || last_said == 20),
       "%s, %s: 20 waits of 1 ms end at their deadline: least %llu ns, p50 %llu; %d said so",
       backend_name(backend), deep ? "deep" : "shallow", static_cast<ull>(ticks_to_ns(least)),
       static_cast<ull>(middle), last_said);
}

// ---- UMWAIT's bounds, which belong to the system ------------------------------------------------

constexpr const char* kMaxTime = "/sys/devices/system/cpu/umwait_control/max_time";
constexpr const char* kDeepAllowed = "/sys/devices/system/cpu/umwait_control/enable_c02";

std::string file_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}
bool write_line(const char* path, const std::string& line) {
  std::ofstream file(path);
  file << line << std::flush;
  return static_cast<bool>(file);
}

// The first wait that no interrupt cut short, of a few.
struct OneWait {
  Wake wake;
  uint64_t ticks;
};
OneWait longest_wait(Backend backend, uint64_t ticks, bool deep) {
  static Word line;
  OneWait longest{Wake::spurious, 0};
  for (int i = 0; i < 20; ++i) {
    const uint64_t start = now_ticks();
    Hardware::monitor(backend, &line);
    const Wake wake = Hardware::wait(backend, start + ticks, deep);
    const uint64_t took = now_ticks() - start;
    if (took > longest.ticks) longest = {wake, took};
  }
  return longest;
}

void check_os_limit(bool deep) {
  const Backend backend = Backend::waitpkg;
  const uint64_t own = ns_to_ticks(3'000'000);
  const uint64_t cap = own / 10 & ~3ull;
  const char* const state = deep ? "C0.2" : "C0.1";
  write_line(kMaxTime, std::to_string(cap));
  OneWait wait = longest_wait(backend, own, deep);
  fact(wait.wake != Wake::deadline && wait.ticks >= cap && wait.ticks < cap * 3 / 2,
       "%s: with the system's limit at %llu ticks a wait for %llu ends after %llu, as %s%s", state,
       static_cast<ull>(cap), static_cast<ull>(own), static_cast<ull>(wait.ticks), text(wait.wake),
       wait.wake == Wake::os_limit ? ": carry set" : ": carry clear, as this emulator has it");
  wait = longest_wait(backend, cap / 2, deep);
  fact(wait.wake == Wake::deadline && wait.ticks >= cap / 2 && wait.ticks < cap,
       "%s: a deadline before that limit is told as %s, after %llu ticks", state, text(wait.wake),
       static_cast<ull>(wait.ticks));
  write_line(kMaxTime, "0");
  wait = longest_wait(backend, own, deep);
  fact(wait.wake == Wake::deadline && wait.ticks >= own && wait.ticks < own * 3 / 2,
       "%s: without a limit of the system it ends at its own, after %llu ticks, as %s", state,
       static_cast<ull>(wait.ticks), text(wait.wake));
}

void check_umwait_control() {
  const std::string limit = file_line(kMaxTime);
  fact(limit == "100000", "Linux limits UMWAIT to %s ticks by itself", limit.c_str());
  check_os_limit(false);
  check_os_limit(true);
  fact(write_line(kDeepAllowed, "0") && file_line(kDeepAllowed) == "0", "C0.2 can be forbidden");
  check_deadline(Backend::waitpkg, true);
  check_store(Backend::waitpkg, true, false);
  write_line(kDeepAllowed, "1");
}

// ---- the waiter, between two threads ------------------------------------------------------------

std::atomic<uint64_t> asked_shallow{0};
std::atomic<uint64_t> asked_deep{0};

struct Counting : Hardware {
  static Wake wait(Backend backend, uint64_t deadline, bool deep) noexcept {
    (deep ? asked_deep : asked_shallow).fetch_add(1, std::memory_order_relaxed);
    return Hardware::wait(backend, deadline, deep);
  }
};

// Mutants. A slow clock widens the way from the first look to the sleep.
thread_local bool blind = false;
struct Slow : Hardware {
  static uint64_t now() noexcept {
    busy(200);
    return now_ticks();
  }
};
struct Blind : Slow {  // its second look finds nothing
  static void monitor(Backend backend, const volatile void* line) noexcept {
    Hardware::monitor(backend, line);
    blind = true;
  }
  static bool try_heavy_fence() noexcept {
    blind = true;
    return Hardware::try_heavy_fence();
  }
};
struct Elsewhere : Slow {  // it watches a line that nobody stores to
  static void monitor(Backend backend, const volatile void*) noexcept {
    static Word nowhere;
    Hardware::monitor(backend, &nowhere);
  }
};

// Where one side gets its messages. The date lies on a line of its own: storing it wakes nobody.
template <class Policy>
struct Inbox {
  Word message;
  Word dated;  // which message the date is that of
  Word date;
  BasicSleeper<Policy> sleeper;

  void put(uint64_t number) noexcept {
    message.value.store(number, std::memory_order_release);  // pairs with the look in take()
    date.value.store(now_ticks(), std::memory_order_relaxed);
    dated.value.store(number, std::memory_order_release);  // pairs with the load in take()
    signal(sleeper);
  }
  // False: nothing came for far too long.
  bool take(BasicWaiter<Policy>& waiter, uint64_t number, uint64_t grace) noexcept {
    const auto look = [&] {
      if (blind) {
        blind = false;
        return false;
      }
      return message.value.load(std::memory_order_acquire) >= number;
    };
    const auto before = [&](uint64_t tick) {
      return dated.value.load(std::memory_order_acquire) == number &&
             date.value.load(std::memory_order_relaxed) + grace < tick;
    };
    const uint64_t until = monotonic_ns() + 20'000'000'000;
    while (waiter.idle(&message, look, UINT64_MAX, before) != Wake::signalled) {
      if (monotonic_ns() > until) return false;
    }
    return true;
  }
};

struct Soak {
  uint64_t rounds = 0;
  uint64_t ns = 0;
  WaitCounters counters;  // of the sleepers
};

// One thread asks, another answers, each asleep until the other's message: the asker by the
// backend `asker`. Most messages come while the other falls asleep, some when it has slept long
// enough for the deeper state.
template <class Policy>
Soak soak(Backend asker, Backend answerer, uint64_t rounds, WaitTuning tuning,
          bool stop_when_late) {
  Inbox<Policy> inbox[2];
  BasicWaiter<Policy> waiters[2] = {{asker, tuning, &inbox[0].sleeper},
                                    {answerer, tuning, &inbox[1].sleeper}};
  const uint64_t short_pause = ns_to_ticks(5000);
  const uint64_t long_pause = ns_to_ticks(150'000);
  // WFE and Zawrs don't say why they end: whoever is taken off its processor then looks late.
  const bool says_why = answerer != Backend::wfe && answerer != Backend::zawrs;
  const uint64_t grace = ns_to_ticks(loose() && !says_why ? 1'000'000'000 : 0);
  std::atomic<bool> stop{false};
  const auto think = [&](Random& random) {
    busy(random.below(512) == 0 ? long_pause : random.below(short_pause));
  };
  Soak result;
  const uint64_t start = monotonic_ns();
  std::thread other([&] {
    pin(1);
    Random random(2);
    for (uint64_t i = 1; i <= rounds && !stop.load(std::memory_order_relaxed); ++i) {
      if (!inbox[1].take(waiters[1], i, grace)) break;
      think(random);
      inbox[0].put(i);
      if (stop_when_late && waiters[1].counters().late != 0) break;
    }
  });
  Random random(1);
  for (uint64_t i = 1; i <= rounds; ++i) {
    inbox[1].put(i);
    if (!inbox[0].take(waiters[0], i, grace)) break;
    result.rounds = i;
    if (stop_when_late && (waiters[0].counters().late | waiters[1].counters().late) != 0) break;
    think(random);
  }
  stop.store(true, std::memory_order_relaxed);
  inbox[1].put(UINT64_MAX);
  other.join();
  result.ns = monotonic_ns() - start;
  const WaitCounters& a = waiters[0].counters();
  const WaitCounters& b = waiters[1].counters();
  result.counters = {a.waits + b.waits,       a.signalled + b.signalled, a.deadline + b.deadline,
                     a.os_limit + b.os_limit, a.spurious + b.spurious,   a.late + b.late};
  return result;
}

void check_soak(const char* what, Backend asker, Backend answerer, uint64_t rounds,
                uint64_t deep_after_ns = 100'000) {
  asked_shallow = asked_deep = 0;
  // Deadlines come before most interrupts, which would hide a lost wake.
  const WaitTuning tuning{0, ns_to_ticks(1'000'000), deep_after_ns};
  const Soak soaked = soak<Counting>(asker, answerer, rounds, tuning, false);
  const WaitCounters& c = soaked.counters;
  fact(soaked.rounds == rounds && c.late == 0 && c.waits >= (loose() ? 1 : rounds / 4),
       "%s, %s: %llu round trips of %llu in %.1f s; %llu waits (%llu shallow, %llu deep): "
       "%llu signalled, %llu spurious, %llu os_limit, %llu deadline; %llu late_found_work",
       backend_name(answerer), what, static_cast<ull>(soaked.rounds), static_cast<ull>(rounds),
       static_cast<double>(soaked.ns) / 1e9, static_cast<ull>(c.waits),
       static_cast<ull>(asked_shallow.load()), static_cast<ull>(asked_deep.load()),
       static_cast<ull>(c.signalled), static_cast<ull>(c.spurious), static_cast<ull>(c.os_limit),
       static_cast<ull>(c.deadline), static_cast<ull>(c.late));
  if (!monitors(answerer) || loose()) return;
  const bool both = asked_shallow > 0 && asked_deep > 0;
  const bool right = deep_after_ns == 0            ? asked_shallow == 0
                     : deep_after_ns == UINT64_MAX ? asked_deep == 0
                                                   : both;
  fact(right, "%s: the states asked for are those of its idle time", what);
}

// Nothing comes: the waiter ends at the deadline, and each wait is counted once.
void check_idle(Backend backend) {
  BasicSleeper<Hardware> sleeper;
  Waiter waiter(backend, {0, UINT64_MAX}, &sleeper);
  Word line;
  const uint64_t start = now_ticks();
  const uint64_t ticks = ns_to_ticks(3'000'000);
  const Wake wake = waiter.idle(
      &line, [] { return false; }, start + ticks);
  const uint64_t took = now_ticks() - start;
  const WaitCounters& c = waiter.counters();
  fact(wake == Wake::deadline && took >= ticks && c.waits > 0 && c.late == 0 && c.signalled == 0 &&
           c.waits == c.deadline + c.os_limit + c.spurious,
       "%s: idle for 3 ms ends as %s after %llu us: %llu waits = %llu deadline + %llu os_limit + "
       "%llu spurious",
       backend_name(backend), text(wake), static_cast<ull>(ticks_to_ns(took) / 1000),
       static_cast<ull>(c.waits), static_cast<ull>(c.deadline), static_cast<ull>(c.os_limit),
       static_cast<ull>(c.spurious));
}

template <class Mutant>
void check_mutant(const char* name, Backend asker, Backend answerer) {
  const Soak soaked = soak<Mutant>(asker, answerer, 100'000, {0, ns_to_ticks(1'000'000)}, true);
  fact(soaked.counters.late > 0,
       "%s: the mutant \"%s\" is caught in round %llu: %llu waits, %llu late_found_work",
       backend_name(answerer), name, static_cast<ull>(soaked.rounds + 1),
       static_cast<ull>(soaked.counters.waits), static_cast<ull>(soaked.counters.late));
}

// ---- all of it ----------------------------------------------------------------------------------

void check_monitor(Backend backend, uint64_t rounds) {
  for (const bool deep : {false, true}) {
    check_store(backend, deep, false);
    check_store(backend, deep, true);
    check_deadline(backend, deep);
  }
  check_idle(backend);
  check_soak("both asleep", backend, backend, rounds / 10);
  // A sleeper whose waker never monitors can be woken by the store alone.
  check_soak("one asleep", Backend::spin, backend, rounds);
  check_soak("deep alone", Backend::spin, backend, rounds / 10, 0);
  check_soak("shallow alone", Backend::spin, backend, rounds / 10, UINT64_MAX);
  if (loose()) return;
  check_mutant<Blind>("blind", Backend::spin, backend);
  check_mutant<Elsewhere>("elsewhere", Backend::spin, backend);
}

void check_futex(uint64_t rounds) {
  check_idle(Backend::futex);
  check_soak("both asleep", Backend::futex, Backend::futex, rounds);
  check_mutant<Blind>("blind", Backend::futex, Backend::futex);
}

void check_all(const std::string& wanted) {
  const Backend expected = check_detection(wanted);
  pin(0);
  const uint64_t rounds = number("rounds", "100000");
  // The system's limit would turn a lost wake into a short wait: the guests lift it.
  if (expected == Backend::waitpkg && getpid() == 1) check_umwait_control();
  if (monitors(expected)) check_monitor(expected, rounds);
  if (!option("also").empty()) check_monitor(named(option("also")), rounds);
  if (!monitors(expected) || loose()) check_futex(number("futex_rounds", "100000"));
}

void be_the_system() {
  for (const char* folder : {"/dev", "/proc", "/sys"}) mkdir(folder, 0755);
  mknod("/dev/console", S_IFCHR | 0600, makedev(5, 1));
  const int console = open("/dev/console", O_RDWR);
  for (int file = 0; file <= 2; ++file) dup2(console, file);
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("sysfs", "/sys", "sysfs", 0, nullptr);
  mknod("/dev/mem", S_IFCHR | 0600, makedev(1, 1));
}

// Runs on a stack at this address, virtual and physical, with every line that the checks share.
// Bochs 3.0 forgets a processor's translation of a monitored page by the physical address; where
// the two differ, a store by a processor that has written to the page before goes unseen.
void on_stack(const std::string& address, std::function<void()> run) {
  if (address.empty()) return run();
  const uint64_t place = std::strtoull(address.c_str(), nullptr, 0);
  constexpr size_t kBytes = 1 << 20;
  const int memory = open("/dev/mem", O_RDWR);
  void* const stack = mmap(reinterpret_cast<void*>(place), kBytes, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_FIXED_NOREPLACE, memory, static_cast<off_t>(place));
  if (stack == MAP_FAILED) {
    fact(false, "no memory at %s: %s", address.c_str(), std::strerror(errno));
    return;
  }
  static std::function<void()> to_run;
  to_run = std::move(run);
  ucontext_t here{};
  ucontext_t there{};
  getcontext(&there);
  there.uc_stack.ss_sp = stack;
  there.uc_stack.ss_size = kBytes;
  there.uc_link = &here;
  makecontext(
      &there, [] { to_run(); }, 0);
  swapcontext(&here, &there);
}

}  // namespace

int main(int argc, char** argv) {
  const bool system = getpid() == 1;
  if (system) be_the_system();
  std::string wanted;
  for (int i = 1; i < argc; ++i) {
    const char* const equals = std::strchr(argv[i], '=');
    if (equals == nullptr) {
      wanted = argv[i];
    } else {
      options[std::string(argv[i], static_cast<size_t>(equals - argv[i]))] = equals + 1;
    }
  }
  platform_init();
  for (const Cpu& cpu : read_topology().cpus) {
    if (cpu.usable) processors.push_back(cpu.id);
  }
  std::printf("# %zu processors, clock: %s, %s\n", processors.size(), clock_source().c_str(),
              detail::light_fence_is_full ? "no membarrier" : "membarrier");
  on_stack(option("stack"), [&] {
    try {
      check_all(wanted);
    } catch (const std::exception& error) {
      fact(false, "%s", error.what());
    }
  });
  std::printf("%d passed, %d failed\n", passed, failed);
  std::fflush(stdout);
  if (system) {
    sync();
    reboot(RB_POWER_OFF);
  }
  return failed == 0 && passed > 0 ? 0 : 1;
}
