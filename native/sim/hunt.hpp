// Looks for an execution that goes wrong, and makes one that was found short.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
  // time. Leaves world() at it.
  std::vector<uint8_t> shrink(const std::vector<uint8_t>& decisions, Verdict verdict,
                              uint64_t ns = UINT64_MAX);
  Verdict replay(const std::vector<uint8_t>& decisions);

  Verdict run(Search& search);

  World& world() noexcept { return world_; }
  Setup& setup() noexcept { return setup_; }  // of the next execution

 private:
  bool still(const std::vector<uint8_t>& decisions, Verdict verdict);

  Scenario scenario_;
  Setup setup_;
  World world_;
  std::unique_ptr<std::byte[]> memory_;
  void* object_;
};

}  // namespace vanity::sim
