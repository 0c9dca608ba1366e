// A case is a scenario and how it is gone through; main() runs those of one file:
//
//   NAME_sim [--case NAME] [--quick]            every case as it stands, small ones exhausted
//   NAME_sim --time SECONDS [--seed S]          random executions of each, from fresh seeds
//   NAME_sim --log [--seed S] [--schedules N]   the log of random executions, to be compared
//   NAME_sim --replay FILE [--perfetto FILE]    one that was kept
//
// What goes wrong is made short, printed, and kept as <case>.repro in --keep FOLDER.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "sim/hunt.hpp"
#include "sim/policy.hpp"
#include "sim/trace.hpp"

namespace cases {

using namespace vanity::sim;

enum class How : uint8_t {
  exhausted,  // every execution, and random ones with looser bounds
  sampled,    // random ones only: it is too large
};

struct Case {
  Scenario scenario;
  Setup setup;
  How how;
};

inline std::vector<Case>& all() {
  static std::vector<Case> list;
  return list;
}

// S: a default constructor that makes everything, `thread(uint32_t)`, `finish()`, and the names of
// its threads in S::kThreads.
template <class S>
Scenario scenario(const char* name) {
  Scenario result;
  result.name = name;
  result.threads.assign(std::begin(S::kThreads), std::end(S::kThreads));
  result.bytes = sizeof(S);
  result.create = [](void* object) { new (object) S; };
  result.thread = [](void* object, uint32_t thread) { static_cast<S*>(object)->thread(thread); };
  result.finish = [](void* object) { static_cast<S*>(object)->finish(); };
  result.destroy = [](void* object) { static_cast<S*>(object)->~S(); };
  return result;
}

template <class S>
void add(const char* name, How how, const Setup& setup) {
  all().push_back({scenario<S>(name), setup, how});
}

inline void require(bool holds, const char* what, Verdict verdict = Verdict::order) {
  if (!holds) World::current().fail(verdict, what);
}

// Part of what is handed over: two halves, each its own access, so that half of one is seen.
struct Element {
  uint64_t low;
  uint64_t high;

  void put(uint64_t value) {
    World::current().write(&low, value);
    World::current().write(&high, ~value);
  }
  uint64_t get() const {
    const uint64_t value = World::current().read(&low);
    require(World::current().read(&high) == ~value, "an element is torn");
    return value;
  }
};

// What is sent where the question is who is woken: one word, which takes fewer steps.
inline void put_word(std::byte* slot, uint64_t value) {
  World::current().write(slot, value);
}
inline uint64_t get_word(const std::byte* slot) {
  return World::current().read(slot);
}

// Where it stands in memory is the caller's; see WritableSlots.
inline Element& element(const std::byte* slot) {
  return *reinterpret_cast<Element*>(const_cast<std::byte*>(slot));
}

struct Options {
  std::string only;
  std::string keep = ".";
  std::string replay;
  std::string perfetto;
  uint64_t seed = 1;
  uint64_t schedules = 0;
  double seconds = 0;
  bool quick = false;  // for mutants: stops at the first that goes wrong
  bool log = false;
};

inline constexpr uint64_t kQuickSchedules = 100'000;

inline int failures = 0;
inline int passed = 0;
inline uint64_t schedules_in_all = 0;

inline std::string file_name(std::string name) {
  for (char& c : name)
    if (c == ' ' || c == '/' || c == ',') c = '-';
  return name;
}

inline void report(const Case& one, const Setup& setup, Hunter& hunter, const Outcome& outcome,
                   uint64_t seed, const Options& options) {
  ++failures;
  std::printf("not ok - %s, %s memory: %s after %llu schedules\n  %s\n", one.scenario.name,
              name_of(setup.model), name_of(outcome.verdict),
              static_cast<unsigned long long>(outcome.schedule), outcome.what.c_str());
  if (options.quick) return;
  const auto decisions = hunter.shrink(outcome.decisions, outcome.verdict);
  Repro repro;
  repro.scenario = one.scenario.name;
  repro.setup = setup;
  repro.seed = seed;
  repro.schedule = outcome.schedule;
  repro.build = build_id();
  repro.verdict = name_of(outcome.verdict);
  repro.decisions = decisions;
  const std::string text = text_of(hunter.world());
  const std::string path = options.keep + "/" + file_name(one.scenario.name) + ".repro";
  std::ofstream(path) << write_repro(repro, text);
  std::printf("  of %zu decisions %zu are left, in %u steps; kept as %s\n%s",
              outcome.decisions.size(), decisions.size(), hunter.world().steps(), path.c_str(),
              text.c_str());
}

inline void exhaust(const Case& one, const Options& options) {
  for (const Model model : {Model::weak, Model::tso}) {
    Setup setup = one.setup;
    setup.model = model;
    Hunter hunter(one.scenario, setup);
    const auto since = std::chrono::steady_clock::now();
    const Outcome outcome = hunter.exhaust(
        {.schedules = options.quick ? kQuickSchedules : UINT64_MAX, .ns = 120'000'000'000});
    schedules_in_all += outcome.schedules;
    if (outcome.verdict != Verdict::good) {
      report(one, setup, hunter, outcome, 0, options);
      return;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - since;
    if (!outcome.exhausted && options.quick) continue;
    (outcome.exhausted ? passed : failures) += 1;
    std::printf("%s - %s, %s memory: %s, %llu states, %llu schedules, %llu steps (%.2f s)\n",
                outcome.exhausted ? "ok" : "not ok", one.scenario.name, name_of(model),
                outcome.exhausted ? "exhausted" : "not exhausted",
                static_cast<unsigned long long>(outcome.states),
                static_cast<unsigned long long>(outcome.schedules),
                static_cast<unsigned long long>(outcome.steps), took.count());
    std::fflush(stdout);
  }
}

// Looser than what is exhausted: more old values, more returns for nothing.
inline void sample(const Case& one, const Options& options, const Bounds& bounds, uint64_t seed) {
  for (const Model model : {Model::weak, Model::tso}) {
    Setup setup = one.setup;
    setup.model = model;
    setup.stale_loads = 30;
    setup.steps_max *= 4;
    Hunter hunter(one.scenario, setup);
    const auto since = std::chrono::steady_clock::now();
    const Outcome outcome = hunter.random(seed, bounds);
    schedules_in_all += outcome.schedules;
    if (outcome.verdict != Verdict::good) {
      report(one, setup, hunter, outcome, seed, options);
      return;
    }
    ++passed;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - since;
    std::printf("ok - %s, %s memory: seed %llu, %llu schedules, %.1f M steps/s\n",
                one.scenario.name, name_of(model), static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(outcome.schedules),
                static_cast<double>(outcome.steps) / took.count() / 1e6);
    std::fflush(stdout);
  }
}

inline void log(const Case& one, const Options& options) {
  for (const Model model : {Model::weak, Model::tso}) {
    Setup setup = one.setup;
    setup.model = model;
    Hunter hunter(one.scenario, setup);
    for (uint64_t i = 0; i < options.schedules; ++i) {
      (void)hunter.random(options.seed, {.schedules = 1}, Randomized::Way::mixed, i);
      std::printf("%s, %s memory, %llu\n%s", one.scenario.name, name_of(model),
                  static_cast<unsigned long long>(i), log_of(hunter.world()).c_str());
    }
  }
}

inline int replay(const Options& options) {
  std::ifstream file(options.replay);
  std::stringstream text;
  text << file.rdbuf();
  Repro repro;
  std::string error = "cannot be read";
  if (!file || !read_repro(text.str(), repro, error)) {
    std::fprintf(stderr, "%s: %s\n", options.replay.c_str(), error.c_str());
    return 2;
  }
  for (const Case& one : all()) {
    if (repro.scenario != one.scenario.name) continue;
    if (repro.build != build_id())
      std::printf("# kept by another build (%s): it may go another way\n", repro.build.c_str());
    Hunter hunter(one.scenario, repro.setup);
    const Verdict verdict = hunter.replay(repro.decisions);
    std::printf("%s", text_of(hunter.world()).c_str());
    if (!options.perfetto.empty()) std::ofstream(options.perfetto) << perfetto_of(hunter.world());
    const bool same = repro.verdict == name_of(verdict);
    std::printf("%s\n", same ? "the same as when it was kept" : "NOT what it was when it was kept");
    return same ? 0 : 1;
  }
  std::fprintf(stderr, "%s: no scenario %s here\n", options.replay.c_str(), repro.scenario.c_str());
  return 2;
}

inline int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto value = [&]() -> const char* { return ++i < argc ? argv[i] : ""; };
    if (name == "--case")
      options.only = value();
    else if (name == "--keep")
      options.keep = value();
    else if (name == "--replay")
      options.replay = value();
    else if (name == "--perfetto")
      options.perfetto = value();
    else if (name == "--seed")
      options.seed = std::strtoull(value(), nullptr, 0);
    else if (name == "--schedules")
      options.schedules = std::strtoull(value(), nullptr, 0);
    else if (name == "--time")
      options.seconds = std::strtod(value(), nullptr);
    else if (name == "--quick")
      options.quick = true;
    else if (name == "--log")
      options.log = true;
    else {
      std::fprintf(stderr, "no option %s\n", name.c_str());
      return 2;
    }
  }
  if (!options.replay.empty()) return replay(options);
  const double share =
      options.seconds / (2 * static_cast<double>(all().empty() ? 1 : all().size()));
  const auto each = [&](auto&& go) {
    for (const Case& one : all()) {
      if (options.quick && failures != 0) return;
      if (options.only.empty() || options.only == one.scenario.name) go(one);
    }
  };
  const uint64_t schedules = options.schedules != 0 ? options.schedules : 20'000;
  if (options.log) {
    each([&](const Case& one) { log(one, options); });
  } else if (options.seconds > 0) {
    const Bounds bounds{.ns = static_cast<uint64_t>(share * 1e9)};
    each([&](const Case& one) { sample(one, options, bounds, options.seed); });
  } else {
    // A mutant is most often found by chance, and soon.
    if (options.quick)
      each([&](const Case& one) { sample(one, options, {.schedules = 3'000}, options.seed); });
    each([&](const Case& one) {
      if (one.how == How::exhausted) exhaust(one, options);
    });
    each([&](const Case& one) { sample(one, options, {.schedules = schedules}, options.seed); });
  }
  if (options.quick && failures != 0)
    std::printf("# after %llu schedules in all\n",
                static_cast<unsigned long long>(schedules_in_all));
  if (!options.log) std::printf("%d passed, %d failed\n", passed, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace cases

// assert() of the code that is run: part of the verdict, not the end of the program.
extern "C" [[noreturn]] void __assert_fail(const char* what, const char* file, unsigned line,
                                           const char*) noexcept {
  if (vanity::sim::World::running())
    vanity::sim::World::current().fail(vanity::sim::Verdict::broken, what);
  std::fprintf(stderr, "%s:%u: %s\n", file, line, what);
  std::abort();
}
