// The instrument. Figures are not judged here, for the machine may be busy; but no sample may be
// missing, no wake lost, and every visit must end.
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "check.hpp"
#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"
#include "wake/cell.hpp"
#include "wake/clock_quality.hpp"
#include "wake/mailbox.hpp"
#include "wake/mechanism.hpp"
#include "wake/skew.hpp"
#include "wake/visit.hpp"

using namespace vanity;
using namespace vanity::wake;

namespace {

constexpr uint64_t kMs = 1'000'000;

// Two processors, or one twice where there is no other.
struct Cores {
  uint32_t from = 0;
  uint32_t to = 0;
  bool two() const { return from != to; }
};
Cores cores() {
  std::vector<uint32_t> usable;
  for (const Cpu& cpu : read_topology().cpus) {
    if (cpu.usable) usable.push_back(cpu.id);
  }
  return {usable.front(), usable.back()};
}

VisitSpec spec_of(const std::string& mechanism, Mode mode, uint64_t idle_ns, uint64_t samples) {
  VisitSpec spec;
  spec.mechanism = mechanism;
  spec.mode = mode;
  spec.from = cores().from;
  spec.to = cores().to;
  spec.idle_ns = idle_ns;
  spec.samples = samples;
  spec.max_ns = 20'000 * kMs;
  spec.spin_ns = 20'000;
  spec.seed = 7;
  return spec;
}

Visit measure(const VisitSpec& spec) {
  Pair pair;
  return visit(spec, pair);
}

std::vector<std::string> usable(bool sleeping_only) {
  std::vector<std::string> names;
  for (const Mechanism& mechanism : mechanisms()) {
    if (mechanism.usable && (mechanism.sleeps || !sleeping_only)) names.push_back(mechanism.name);
  }
  return names;
}

std::string code_of(const VisitSpec& spec) {
  try {
    measure(spec);
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

double milliseconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

void check_samples(const Visit& found, size_t samples, const std::string& name) {
  const auto fail = [&](const std::string& what) { check::fail(__FILE__, __LINE__, name + what); };
  if (found.latency_ns.size() != samples) {
    fail(": " + std::to_string(found.latency_ns.size()) + " samples of " + std::to_string(samples));
  }
  if (found.signal_ns.size() != samples || found.marks.size() != samples) fail(": ragged");
  for (const double ns : found.latency_ns) {
    if (ns < -200 || ns > 30e9) fail(": a latency of " + std::to_string(ns) + " ns");
  }
  for (const double ns : found.signal_ns) {
    if (ns < 0 || ns > 30e9) fail(": a signal that took " + std::to_string(ns) + " ns");
  }
  if (found.wakes.late != 0) fail(": wakes were lost");
}

// Keeps a processor busy beside whatever else runs on it.
class Hog {
 public:
  explicit Hog(uint32_t cpu)
      : thread_([this, cpu] {
          pin_thread(cpu);
          while (!done_.load(std::memory_order_relaxed)) relax();
        }) {}
  ~Hog() {
    done_.store(true, std::memory_order_relaxed);
    thread_.join();
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace

TEST(the_table_names_every_mechanism_and_why_one_is_missing) {
  const std::vector<std::string> names = {
      "spin",        "spin+pause", "waitpkg-c01", "waitpkg-c02", "monitorx", "monitorx-c1",
      "wfe",         "wfet",       "zawrs",       "futex",       "adaptive", "interrupt",
      "virtio-user", "raw-futex",  "eventfd",     "pipe"};
  CHECK_EQ(mechanisms().size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    CHECK_EQ(mechanisms()[i].name, names[i]);
    CHECK(!mechanisms()[i].reason.empty() && !mechanisms()[i].about.empty());
    CHECK_EQ(mechanisms()[i].kind == Kind::reference, i >= 13);
  }
  for (const char* everywhere :
       {"spin", "spin+pause", "futex", "adaptive", "interrupt", "virtio-user", "pipe"}) {
    CHECK(usable_mechanism(everywhere).usable);
  }
  // One instruction or the other, never both.
  CHECK(!(mechanisms()[6].usable && mechanisms()[7].usable));
}

TEST(every_mechanism_delivers_each_sample) {
  for (const std::string& name : usable(!cores().two())) {
    for (const uint64_t idle_ns : {0, 2'000, 100'000}) {
      const size_t samples = idle_ns == 0 ? 2000 : 200;
      for (const Mode mode : {Mode::oneway, Mode::roundtrip}) {
        const Visit found = measure(spec_of(name, mode, idle_ns, samples));
        check_samples(found, samples, name + " idle " + std::to_string(idle_ns));
        CHECK(found.wall_ns > 0 && found.cpu_ns > 0);
      }
    }
  }
}

// What the two sides say to one another, without a visit around it.
template <class M, class... Args>
void pass_in_order(const Args&... args) {
  constexpr uint32_t kMails = 3000;
  const Cores at = cores();
  const std::vector<std::atomic<uint64_t>> dates(kMails + 1);
  const auto mailbox = std::make_unique<M>(args..., Dates{&dates, 0});
  Pair pair;
  uint32_t last = 0;
  bool ordered = true;
  pair.run(
      at.from,
      [&] {
        for (uint32_t i = 1; i <= kMails; ++i) mailbox->publish(i);
      },
      at.to,
      [&] {
        while (last < kMails) {
          const uint32_t newest = mailbox->wait_for(last, pair);
          ordered = ordered && newest > last;
          if (newest == last) break;
          last = newest;
        }
      },
      10'000 * kMs, [&] { mailbox->kick(); });
  CHECK(ordered);
  CHECK_EQ(last, kMails);
  CHECK(!pair.stopped());
}

TEST(mail_arrives_in_order) {
  const WaitTuning bound{0, ns_to_ticks(10 * kMs)};
  pass_in_order<Backed<Hardware>>(Backend::futex, bound);
  pass_in_order<Backed<Hardware>>(choose_backend("auto"),
                                  WaitTuning{ns_to_ticks(5000), ns_to_ticks(kMs)});
  pass_in_order<RawFutex>();
  pass_in_order<EventFd>();
  pass_in_order<Pipe>();
  if (cores().two()) pass_in_order<Backed<Bare>>(Backend::spin, bound);
}

TEST(a_wake_that_is_lost_is_counted) {
  std::vector<std::atomic<uint64_t>> dates(2);
  const auto mailbox = std::make_unique<Backed<Hardware>>(
      Backend::futex, WaitTuning{0, ns_to_ticks(20 * kMs)}, Dates{&dates, 0});
  const Cores at = cores();
  Pair pair;
  pair.run(
      at.from,
      [&] {
        const timespec nap{0, 5'000'000};
        nanosleep(&nap, nullptr);
        mailbox->mail.store(1);  // and no signal
        dates[0].store(now_ticks(), std::memory_order_relaxed);
      },
      at.to, [&] { mailbox->wait_for(0, pair); }, 1000 * kMs, [] {});
  CHECK_EQ(mailbox->counters().late, 1u);
}

TEST(sleeps_have_a_bound_and_find_nothing_late) {
  const Visit found = measure(spec_of("futex", Mode::oneway, 35 * kMs, 4));
  check_samples(found, 4, "futex");
  CHECK(found.wakes.deadline > 0);
  CHECK(found.idled_ns > 10e6);
}

// While the waiter stands still signals go on falling due, and each of them has its latency.
TEST(an_open_loop_omits_nothing) {
  const Cores at = cores();
  if (!at.two()) return;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const Hog first(at.to);
    const Hog second(at.to);
    const VisitSpec spec = spec_of("spin", Mode::oneway, 20'000, 3'000);
    const Visit found = measure(spec);
    check_samples(found, spec.samples, "spin");
    CHECK(found.overrun > 0);
    // A stall of some length is met by all that is due in it: half of them wait half as long.
    const double longest = *std::max_element(found.latency_ns.begin(), found.latency_ns.end());
    const auto held = std::count_if(found.latency_ns.begin(), found.latency_ns.end(),
                                    [&](double ns) { return ns > longest / 2; });
    const bool preempted = std::any_of(found.marks.begin(), found.marks.end(),
                                       [](uint8_t mark) { return (mark & kPreempted) != 0; });
    if (longest > 500e3 && preempted && static_cast<double>(held) > longest / 2 / 300e3) return;
  }
  CHECK(!"a stall is met by all that is due in it");
}

TEST(a_signaller_that_is_held_up_marks_its_samples) {
  const Cores at = cores();
  if (!at.two()) return;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const Hog first(at.from);
    const Hog second(at.from);
    const Visit found = measure(spec_of("spin", Mode::oneway, 20'000, 3'000));
    if (std::any_of(found.marks.begin(), found.marks.end(),
                    [](uint8_t mark) { return (mark & kSignaller) != 0; })) {
      return;
    }
  }
  CHECK(!"the signaller was held up, and no sample says so");
}

TEST(a_quiet_thread_is_not_suspected_and_a_disturbed_one_is) {
  Suspicion suspicion(1000);
  for (int i = 0; i < 1000; ++i) CHECK(!suspicion.suspects(300 + static_cast<uint64_t>(i % 7)));
  CHECK(suspicion.suspects(9000));
  CHECK(!suspicion.suspects(310));
  for (int i = 0; i < 200; ++i) CHECK(suspicion.suspects(1'000'000));  // a burst stays one
  for (int i = 0; i < 200; ++i) suspicion.suspects(300);
  CHECK(suspicion.suspects(9000));
  suspicion.begin();
  for (int i = 0; i < 1000; ++i) CHECK(!suspicion.suspects(90));
  CHECK(!suspicion.suspects(900));  // ten times, but below a microsecond
}

TEST(the_offset_of_the_clocks_is_taken_off) {
  VisitSpec spec = spec_of("futex", Mode::oneway, 0, 500);
  spec.offset_ns = 3e8;
  Visit found = measure(spec);
  CHECK_EQ(found.latency_ns.size(), spec.samples);
  for (const double ns : found.latency_ns) CHECK(ns < 0 && ns > -3.1e8);
  spec.mode = Mode::roundtrip;  // one clock only
  found = measure(spec);
  for (const double ns : found.latency_ns) CHECK(ns >= 0);
}

TEST(the_floor_and_signals_to_the_awake) {
  if (!cores().two()) return;
  check_samples(measure(spec_of("", Mode::floor, 0, 5000)), 5000, "floor");
  check_samples(measure(spec_of("", Mode::line, 0, 5000)), 5000, "line");
  for (const std::string& name : usable(false)) {
    const Visit found = measure(spec_of(name, Mode::signal, 0, 50));
    check_samples(found, 50, name);
    CHECK_EQ(found.wakes.waits, 0u);
  }
}

TEST(a_core_wakes_itself_where_the_waiter_sleeps) {
  for (const std::string& name : usable(true)) {
    VisitSpec spec = spec_of(name, Mode::oneway, 0, 300);
    spec.to = spec.from;
    check_samples(measure(spec), 300, name);
    spec.idle_ns = 50'000;
    check_samples(measure(spec), 300, name);
    spec.mode = Mode::roundtrip;
    check_samples(measure(spec), 300, name);
  }
}

TEST(the_time_ends_a_visit) {
  for (const std::string& name : usable(!cores().two())) {
    for (const Mode mode : {Mode::oneway, Mode::roundtrip}) {
      VisitSpec spec = spec_of(name, mode, 1 * kMs, 1'000'000);
      spec.max_ns = 50 * kMs;
      size_t samples = 0;
      for (int attempt = 0; attempt < 10 && samples == 0; ++attempt) {
        const auto start = std::chrono::steady_clock::now();
        const Visit found = measure(spec);
        CHECK(milliseconds(std::chrono::steady_clock::now() - start) < 50 + 500);
        samples = found.latency_ns.size();
        check_samples(found, samples, name);
      }
      // None where something else kept a core all the time.
      CHECK(samples > 0);
      CHECK(samples <= 51);
    }
  }
}

// A waiter that nobody signals is got out of its system call.
template <class M, class... Args>
double stuck_ms(const Args&... args) {
  const std::vector<std::atomic<uint64_t>> dates(1);
  const auto mailbox = std::make_unique<M>(args..., Dates{&dates, 0});
  Pair pair;
  const auto start = std::chrono::steady_clock::now();
  pair.run(
      cores().from, [] {}, cores().to, [&] { mailbox->wait_for(0, pair); }, 20 * kMs,
      [&] { mailbox->kick(); });
  return milliseconds(std::chrono::steady_clock::now() - start);
}

TEST(a_waiter_that_nobody_signals_ends) {
  CHECK(stuck_ms<RawFutex>() < 1000);
  CHECK(stuck_ms<EventFd>() < 1000);
  CHECK(stuck_ms<Pipe>() < 1000);
  const WaitTuning bound{0, ns_to_ticks(10 * kMs)};
  CHECK(stuck_ms<Backed<Hardware>>(Backend::futex, bound) < 1000);
  CHECK(stuck_ms<Backed<Hardware>>(Backend::spin, bound) < 1000);
}

TEST(stop_ends_a_visit_soon) {
  for (const std::string& name : usable(!cores().two())) {
    double soonest = 1e9;
    for (int attempt = 0; attempt < 5 && soonest >= 100; ++attempt) {
      Pair pair;
      std::chrono::steady_clock::time_point stopped;
      std::thread other([&] {
        const timespec nap{0, 150'000'000};  // it is in its loop by now
        nanosleep(&nap, nullptr);
        stopped = std::chrono::steady_clock::now();
        pair.stop();
      });
      Visit found;
      {
        const auto join = std::unique_ptr<std::thread, void (*)(std::thread*)>(
            &other, [](std::thread* thread) { thread->join(); });
        found = visit(spec_of(name, Mode::oneway, 1000 * kMs, 1000), pair);
      }
      soonest = std::min(soonest, milliseconds(std::chrono::steady_clock::now() - stopped));
      check_samples(found, found.latency_ns.size(), name);
    }
    CHECK(soonest < 100);
  }
  Pair pair;
  pair.stop();
  CHECK(visit(spec_of("futex", Mode::oneway, 0, 1000), pair).latency_ns.empty());
}

TEST(what_cannot_be_measured_is_an_error) {
  const auto with = [](auto change) {
    VisitSpec spec = spec_of("futex", Mode::oneway, 0, 10);
    change(spec);
    return code_of(spec);
  };
  CHECK_EQ(with([](VisitSpec& spec) { spec.mechanism = "telepathy"; }), "VANITY_E_WAKE_MECHANISM");
  CHECK_EQ(with([](VisitSpec& spec) { spec.samples = 0; }), "VANITY_E_WAKE_SPEC");
  CHECK_EQ(with([](VisitSpec& spec) { spec.samples = 1u << 23; }), "VANITY_E_WAKE_SPEC");
  CHECK_EQ(with([](VisitSpec& spec) { spec.max_ns = 1; }), "VANITY_E_WAKE_SPEC");
  CHECK_EQ(with([](VisitSpec& spec) { spec.idle_ns = 2000 * kMs; }), "VANITY_E_WAKE_SPEC");
  CHECK_EQ(with([](VisitSpec& spec) { spec.offset_ns = 0.0 / 0.0; }), "VANITY_E_WAKE_SPEC");
  CHECK_EQ(with([](VisitSpec& spec) { spec.to = 100'000; }), "VANITY_E_CORE_PIN");
  CHECK_EQ(with([](VisitSpec& spec) { spec.from = 100'000; }), "VANITY_E_CORE_PIN");
  for (const char* spinner : {"spin", "spin+pause", "adaptive"}) {
    CHECK_EQ(with([&](VisitSpec& spec) {
               spec.mechanism = spinner;
               spec.to = spec.from;
             }),
             "VANITY_E_WAKE_PAIR");
  }
  for (const Mode mode : {Mode::signal, Mode::floor, Mode::line}) {
    CHECK_EQ(with([&](VisitSpec& spec) {
               spec.mode = mode;
               spec.to = spec.from;
             }),
             "VANITY_E_WAKE_PAIR");
  }
  for (const Mechanism& mechanism : mechanisms()) {
    if (mechanism.usable) continue;
    CHECK_EQ(with([&](VisitSpec& spec) { spec.mechanism = mechanism.name; }),
             "VANITY_E_WAKE_MECHANISM");
  }
}

TEST(skew_has_the_sign_of_the_second_clock) {
  // The second clock is 500 ahead; 80 there, 80 back and 20 in between, or slower.
  std::vector<Exchange> exchanges;
  for (uint64_t late = 0; late < 100; ++late) {
    const uint64_t sent = 1000 * late;
    const uint64_t arrived = sent + 80 + late * 7 % 100 + 500;
    const uint64_t replied = arrived + 20;
    exchanges.push_back({sent, arrived, replied, replied - 500 + 80 + late * 3 % 100});
  }
  const Skew skew = estimate_skew(exchanges, 0.5);
  CHECK_EQ(skew.offset_ns, 250.0);
  CHECK_EQ(skew.error_ns, 40.0);
}

TEST(skew_between_processors) {
  const Cores at = cores();
  Pair alone;
  CHECK_EQ(measure_skew(at.from, at.from, alone).offset_ns, 0.0);
  if (!at.two()) return;
  Pair pair;
  const Skew skew = measure_skew(at.from, at.to, pair);
  CHECK(skew.error_ns > 0);
  Pair reverse;
  const Skew back = measure_skew(at.to, at.from, reverse);
  CHECK(std::abs(skew.offset_ns + back.offset_ns) <= skew.error_ns + back.error_ns);
}

TEST(the_clock_knows_how_good_it_is) {
  const ClockQuality quality = measure_clock();
  CHECK(std::abs(quality.ticks_per_second / static_cast<double>(ticks_per_second()) - 1) < 1e-3);
  CHECK(quality.error_ppm > 0 && quality.error_ppm < 1000);
  CHECK(quality.tick_ns > 0 && quality.read_ns > 0);
  CHECK(!quality.source.empty());
}
