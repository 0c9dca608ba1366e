// vanity-sim: what `vanity sim` starts, one process a job.
//
//   vanity-sim SYSTEM [--seed S] [--first N] [--stride N] [--schedules N] [--seconds T]
//              [--keep FILE] [--log FILE] [--shrink T]    schedules first, first + stride, ..
//   vanity-sim --replay FILE [--log FILE] [--perfetto FILE]
//
// Prints a JSON object a line: how far it is, about each second, and at last what it found. Exit
// code 0: nothing; 1: something went wrong, which FILE has; 2: it could not begin.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "platform/error.hpp"
#include "sim/hunt.hpp"
#include "sim/system/hosted.hpp"
#include "sim/system/modules.hpp"
#include "sim/system/plan.hpp"
#include "sim/system/port.hpp"
#include "sim/system/region.hpp"
#include "sim/trace.hpp"

namespace vanity::sim {
namespace {

constexpr uint32_t kStepsMax = 400'000;
constexpr uint32_t kStaleLoads = 200;
constexpr uint32_t kEarlyReturns = 4;
constexpr uint32_t kRefusals = 2;
constexpr uint64_t kTicksPerStep = 10;
constexpr double kNsPerSecond = 1e9;
constexpr uint32_t kStepsShown = 20'000;  // of a trace in a .repro
// Of so many schedules, one with full fences in the place of membarrier.
constexpr uint64_t kFencesOneIn = 8;

struct Options {
  std::string system;
  std::string replay;
  std::string keep;
  std::string log;
  std::string perfetto;
  uint64_t seed = 1;
  uint64_t first = 0;
  uint64_t stride = 1;
  uint64_t schedules = UINT64_MAX;
  double seconds = 0;
  double shrink = 10;  // seconds that a failure is made short for
};

double seconds_since(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return result + '"';
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error("VANITY_E_SIM_FILE", "cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  if (!(file << text << std::flush)) throw Error("VANITY_E_SIM_FILE", "cannot write " + path);
}

// Every other schedule under store buffers, the others under the weaker memory.
Setup setup_of(uint64_t schedule) {
  Setup setup;
  setup.model = schedule % 2 == 0 ? Model::weak : Model::tso;
  setup.membarrier = schedule / 2 % kFencesOneIn != 0;
  setup.steps_max = kStepsMax;
  setup.stale_loads = kStaleLoads;
  setup.early_returns = kEarlyReturns;
  setup.refusals = kRefusals;
  setup.ticks_per_step = kTicksPerStep;
  return setup;
}

// What it knows of memory is too much for a stack.
std::unique_ptr<Hunter> hunter_of(const SystemText& system, const Setup& setup, bool modules) {
  arrivals_of_a_queue = system.arrivals;
  return std::make_unique<Hunter>(host(system, modules), setup, Region::base());
}

std::string log_and_counters(const World& world) {
  return log_of(world) + counted();
}

// Whatever a program prints goes elsewhere.
FILE* output = stdout;

void say(const char* state, uint64_t schedules, uint64_t steps, double seconds) {
  std::fprintf(output, "{\"state\":\"%s\",\"schedules\":%llu,\"steps\":%llu,\"seconds\":%.3f}\n",
               state, static_cast<unsigned long long>(schedules),
               static_cast<unsigned long long>(steps), seconds);
  std::fflush(output);
}

void say_failure(const char* verdict, const Left& left, Model memory, uint64_t schedule,
                 size_t decisions, const std::string& repro) {
  std::fprintf(output,
               "{\"state\":\"failed\",\"verdict\":%s,\"what\":%s,\"memory\":%s,\"schedule\":%llu,"
               "\"steps\":%u,\"decisions\":%zu,\"repro\":%s}\n",
               quoted(verdict).c_str(), quoted(left.what).c_str(), quoted(name_of(memory)).c_str(),
               static_cast<unsigned long long>(schedule), left.steps, decisions,
               quoted(repro).c_str());
  std::fflush(output);
}

// Makes it short and keeps it, where that was asked for.
void keep(Hunter& hunter, const std::string& system, const Options& options, uint64_t schedule) {
  hunter.tell(nullptr);
  Left last = hunter.left();
  if (options.keep.empty()) {
    const size_t decisions = last.decisions.size();
    say_failure(name_of(last.verdict), last, hunter.setup().model, schedule, decisions, "");
    return;
  }
  if (hunter.kept_apart() && !last.decisions.empty() &&
      hunter.replay(last.decisions) != last.verdict) {
    last.what = std::string("once it was ") + name_of(last.verdict) + ", " + last.what +
                "; the same decisions again, and it was " + name_of(hunter.left().verdict);
    say_failure("diverges", last, hunter.setup().model, schedule, 0, "");
    return;
  }
  // One that does not end has no short form, and one that took its process along left nothing.
  std::vector<uint8_t> decisions = last.decisions;
  if (last.verdict != Verdict::endless && !decisions.empty()) {
    decisions = hunter.shrink(decisions, last.verdict,
                              static_cast<uint64_t>(options.shrink * kNsPerSecond));
    last = hunter.left();
  }
  if (last.steps <= kStepsShown && !decisions.empty()) {
    hunter.tell(text_of);
    hunter.replay(decisions);
    last = hunter.left();
  }
  const bool kept = !decisions.empty();
  if (kept) {
    Repro repro;
    repro.scenario = hunter.scenario().name;
    repro.system = system;
    repro.setup = hunter.setup();
    repro.seed = options.seed;
    repro.schedule = schedule;
    repro.build = build_id();
    repro.verdict = name_of(last.verdict);
    repro.decisions = decisions;
    write_file(options.keep, write_repro(repro, last.text));
  }
  say_failure(name_of(last.verdict), last, hunter.setup().model, schedule, decisions.size(),
              kept ? options.keep : "");
}

int hunt(const Options& options) {
  const std::string text = read_file(options.system);
  const SystemText system = read_system(text);
  const bool modules = load_modules(system.plan);
  const std::unique_ptr<Hunter> made = hunter_of(system, setup_of(0), modules);
  Hunter& hunter = *made;
  if (modules) hunter.keep_apart();
  std::ofstream log;
  if (!options.log.empty()) {
    log.open(options.log);
    hunter.tell(log_and_counters);
  }
  Randomized search(options.seed);
  // Where priorities may change: within what the first one takes, whoever runs which.
  search.begin(0);
  hunter.run(search);
  search.expect(hunter.left().steps);
  const auto since = std::chrono::steady_clock::now();
  double told = 0;
  uint64_t done = 0;
  uint64_t steps = 0;
  for (uint64_t schedule = options.first; done < options.schedules; schedule += options.stride) {
    hunter.setup() = setup_of(schedule);
    search.begin(schedule);
    const Verdict verdict = hunter.run(search);
    ++done;
    steps += hunter.left().steps;
    if (log.is_open()) log << "schedule " << schedule << '\n' << hunter.left().text;
    const double seconds = seconds_since(since);
    if (verdict != Verdict::good) {
      say("running", done, steps, seconds);
      keep(hunter, text, options, schedule);
      return 1;
    }
    if (options.seconds != 0 && seconds >= options.seconds) break;
    if (seconds - told < 1) continue;
    told = seconds;
    say("running", done, steps, seconds);
  }
  if (log.is_open() && !log.flush())
    throw Error("VANITY_E_SIM_FILE", "cannot write " + options.log);
  say("done", done, steps, seconds_since(since));
  return 0;
}

int replay(const Options& options) {
  Repro repro;
  std::string error;
  if (!read_repro(read_file(options.replay), repro, error)) {
    throw Error("VANITY_E_SIM_REPRO", options.replay + ": " + error);
  }
  if (repro.system.empty()) {
    throw Error("VANITY_E_SIM_REPRO", options.replay + ": it is not of a whole system",
                "test/sim has the case \"" + repro.scenario + "\"");
  }
  const SystemText system = read_system(repro.system);
  const std::unique_ptr<Hunter> hunter = hunter_of(system, repro.setup, load_modules(system.plan));
  hunter->replay(repro.decisions);
  const World& world = hunter->world();
  if (!options.perfetto.empty()) write_file(options.perfetto, perfetto_of(world));
  if (!options.log.empty()) write_file(options.log, text_of(world));
  if (world.verdict() == Verdict::good) {
    say("done", 1, world.steps(), 0);
    return 0;
  }
  say_failure(name_of(world.verdict()), hunter->left(), repro.setup.model, repro.schedule,
              repro.decisions.size(), options.replay);
  return 1;
}

Options options_of(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name.rfind("--", 0) != 0) {
      options.system = name;
      continue;
    }
    if (i + 1 == argc) throw Error("VANITY_E_USAGE", name + " needs a value");
    const char* const value = argv[++i];
    const auto number = [&] { return std::strtoull(value, nullptr, 10); };
    if (name == "--seed") {
      options.seed = number();
    } else if (name == "--first") {
      options.first = number();
    } else if (name == "--stride") {
      options.stride = number();
    } else if (name == "--schedules") {
      options.schedules = number();
    } else if (name == "--seconds") {
      options.seconds = std::strtod(value, nullptr);
    } else if (name == "--shrink") {
      options.shrink = std::strtod(value, nullptr);
    } else if (name == "--keep") {
      options.keep = value;
    } else if (name == "--log") {
      options.log = value;
    } else if (name == "--perfetto") {
      options.perfetto = value;
    } else if (name == "--replay") {
      options.replay = value;
    } else {
      throw Error("VANITY_E_USAGE", "no option is called " + name);
    }
  }
  return options;
}

}  // namespace
}  // namespace vanity::sim

int main(int argc, char** argv) {
  using namespace vanity::sim;
  try {
    output = fdopen(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0), "w");
    dup2(STDERR_FILENO, STDOUT_FILENO);
    const Options options = options_of(argc, argv);
    return options.replay.empty() ? hunt(options) : replay(options);
  } catch (const vanity::Error& error) {
    std::fprintf(output, "{\"state\":\"error\",\"code\":%s,\"message\":%s,\"hint\":%s}\n",
                 quoted(error.code()).c_str(), quoted(error.what()).c_str(),
                 quoted(error.hint()).c_str());
    return 2;
  }
}
