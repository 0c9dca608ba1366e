// Looks for an execution that goes wrong, and makes one that was found short.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/apart.hpp"
#include "sim/search.hpp"
#include "sim/world.hpp"

namespace vanity::sim {

struct Outcome {
  uint64_t schedules = 0;  // executions begun
  uint64_t steps = 0;
  uint64_t states = 0;     // of an exhaustive search
  bool exhausted = false;  // nothing was left out
  Verdict verdict = Verdict::good;
  std::string what;
  uint64_t schedule = 0;  // the one that went wrong
  std::vector<uint8_t> decisions;
};

struct Bounds {
  uint64_t schedules = UINT64_MAX;
  uint64_t ns = UINT64_MAX;
};

class Hunter {
 public:
  // `object`: where it is made; null: in memory of its own.
  explicit Hunter(const Scenario& scenario, const Setup& setup, void* object = nullptr);

  Outcome exhaust(Bounds bounds, bool reduced = true);
  Outcome random(uint64_t seed, Bounds bounds, Randomized::Way way = Randomized::Way::mixed,
                 uint64_t first = 0);
  // The same verdict in fewer steps and with fewer changes of thread, as far as one gets within the
  // time. Leaves world() at it, or left() when runs are kept apart.
  std::vector<uint8_t> shrink(const std::vector<uint8_t>& decisions, Verdict verdict,
                              uint64_t ns = UINT64_MAX);
  Verdict replay(const std::vector<uint8_t>& decisions);

  Verdict run(Search& search);
  // From now on each run has a process of its own, and world() knows nothing of it.
  void keep_apart() noexcept { apart_ = true; }
  bool kept_apart() const noexcept { return apart_; }
  // What each run writes down at its end, to be found in left().
  void tell(std::string (*text)(const World&)) noexcept { text_ = text; }
  const Scenario& scenario() const noexcept { return scenario_; }
  const Left& left() const noexcept { return left_; }  // by the last run()

  World& world() noexcept { return world_; }
  Setup& setup() noexcept { return setup_; }  // of the next execution

 private:
  void run_here(Search& search);
  bool still(const std::vector<uint8_t>& decisions, Verdict verdict);

  Scenario scenario_;
  Setup setup_;
  World world_;
  bool apart_ = false;
  std::string (*text_)(const World&) = nullptr;
  Left left_;
  std::unique_ptr<std::byte[]> memory_;
  void* object_;
};

}  // namespace vanity::sim
