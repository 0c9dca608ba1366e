#include "sim/hunt.hpp"

#include <algorithm>
#include <chrono>

namespace vanity::sim {
namespace {

constexpr size_t kAlignment = 128;
constexpr uint64_t kExecutionsPerLook = 64;  // at the clock
constexpr uint64_t kShrinkSeed = 1;
constexpr uint32_t kShrinkTries = 20'000;

uint64_t now_ns() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

bool over(const Bounds& bounds, const Outcome& outcome, uint64_t since) {
  if (outcome.schedules >= bounds.schedules) return true;
  return bounds.ns != UINT64_MAX && outcome.schedules % kExecutionsPerLook == 0 &&
         now_ns() - since >= bounds.ns;
}

}  // namespace

Hunter::Hunter(const Scenario& scenario, const Setup& setup, void* object)
    : scenario_(scenario), setup_(setup), object_(object) {
  if (object_ != nullptr) return;
  memory_ = std::make_unique<std::byte[]>(scenario.bytes + kAlignment);
  const auto at = reinterpret_cast<uintptr_t>(memory_.get());
  object_ = memory_.get() + (kAlignment - at % kAlignment) % kAlignment;
}

Verdict Hunter::run(Search& search) {
  if (!apart_) {
    run_here(search);
    return left_.verdict;
  }
  left_ = apart([&] {
    run_here(search);
    return left_;
  });
  return left_.verdict;
}

void Hunter::run_here(Search& search) {
  left_.verdict = world_.run(scenario_, setup_, object_, search);
  left_.steps = world_.steps();
  left_.what = world_.what();
  left_.decisions = world_.decisions();
  left_.text = text_ == nullptr ? "" : text_(world_);
}

Outcome Hunter::exhaust(Bounds bounds, bool reduced) {
  Outcome outcome;
  Exhaustive search(reduced);
  const uint64_t since = now_ns();
  while (search.next()) {
    if (over(bounds, outcome, since)) {
      outcome.states = search.states();
      return outcome;
    }
    const Verdict verdict = run(search);
    ++outcome.schedules;
    outcome.steps += world_.steps();
    if (verdict == Verdict::good || verdict == Verdict::abandoned) continue;
    outcome.verdict = verdict;
    outcome.what = world_.what();
    outcome.schedule = outcome.schedules;
    outcome.decisions = world_.decisions();
    outcome.states = search.states();
    return outcome;
  }
  outcome.states = search.states();
  outcome.exhausted = true;
  return outcome;
}

Outcome Hunter::random(uint64_t seed, Bounds bounds, Randomized::Way way, uint64_t first) {
  Outcome outcome;
  Randomized search(seed, way);
  const uint64_t since = now_ns();
  while (!over(bounds, outcome, since)) {
    search.begin(first + outcome.schedules);
    const Verdict verdict = run(search);
    search.ended(world_.steps());
    ++outcome.schedules;
    outcome.steps += world_.steps();
    if (verdict == Verdict::good) continue;
    outcome.verdict = verdict;
    outcome.what = world_.what();
    outcome.schedule = outcome.schedules;
    outcome.decisions = world_.decisions();
    return outcome;
  }
  return outcome;
}

Verdict Hunter::replay(const std::vector<uint8_t>& decisions) {
  Recorded search(decisions);
  return run(search);
}

bool Hunter::still(const std::vector<uint8_t>& decisions, Verdict verdict) {
  return replay(decisions) == verdict;
}

// First by chance: what goes wrong late mostly can go wrong early. Then, as long as it helps,
// leaves decisions out, and leaves them to the default.
std::vector<uint8_t> Hunter::shrink(const std::vector<uint8_t>& found, Verdict verdict,
                                    uint64_t ns) {
  const uint64_t since = now_ns();
  const auto in_time = [&](uint64_t most) { return ns == UINT64_MAX || now_ns() - since < most; };
  std::vector<uint8_t> best = found;
  if (!still(best, verdict)) return best;
  uint32_t steps = left_.steps;
  Randomized chance(kShrinkSeed);
  const uint32_t steps_max = setup_.steps_max;
  for (uint32_t i = 0; i < kShrinkTries && in_time(ns / 2); ++i) {
    setup_.steps_max = steps;  // one that is longer ends there
    chance.begin(i);
    if (run(chance) != verdict || left_.steps >= steps) continue;
    steps = left_.steps;
    best = left_.decisions;
  }
  setup_.steps_max = steps_max;
  const auto better = [&](const std::vector<uint8_t>& other) {
    if (!still(other, verdict) || left_.steps > steps) return false;
    steps = left_.steps;
    best = other;
    return true;
  };
  for (bool progress = true; progress && in_time(ns);) {
    progress = false;
    const size_t before = best.size();
    const uint32_t steps_before = steps;
    for (size_t part = std::max<size_t>(1, best.size() / 2); part != 0; part /= 2) {
      for (size_t at = 0; at < best.size() && in_time(ns);) {
        auto other = best;
        const auto from = other.begin() + static_cast<std::ptrdiff_t>(at);
        other.erase(from, from + static_cast<std::ptrdiff_t>(std::min(part, best.size() - at)));
        if (!better(other)) at += part;
      }
    }
    for (size_t at = 0; at < best.size() && in_time(ns); ++at) {
      if (best[at] == Recorded::kUsual) continue;
      auto other = best;
      other[at] = Recorded::kUsual;
      progress = better(other) || progress;
    }
    progress = progress || best.size() < before || steps < steps_before;
  }
  still(best, verdict);
  return best;
}

}  // namespace vanity::sim
