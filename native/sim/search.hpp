// How executions are chosen: all of a small case, random ones of any, or one that is known.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sim/random.hpp"
#include "sim/world.hpp"

namespace vanity::sim {

// Every execution that differs, once. Depth first: an execution is run anew up to the decision
// where it takes the other way. Two reductions:
//
//   states       one that was met before is not gone through again. A state is what each thread
//                did and found, and what still waits in store buffers; the rest follows from it
//   sleep sets   (Godefroid) after a step was explored, its siblings need not try it again until
//                something that it depends on has been done. A state that was met with a larger
//                sleep set is gone through for what slept then and is awake now
class Exhaustive final : public Search {
 public:
  // Not reduced: every order of all steps, to hold the reductions against.
  explicit Exhaustive(bool reduced = true) noexcept : reduced_(reduced) {}
  // Before each execution, the first included. False: there is none left.
  bool next();
  uint32_t actor(World& world, Mask enabled) override;
  uint32_t choose(World& world, Question question, uint32_t options) override;

  uint64_t states() const noexcept { return seen_.size(); }

 private:
  struct Node {
    bool is_actor;
    Mask left;        // actors, or values above the chosen one, still to be tried
    uint32_t chosen;  // actor or value
    Mask asleep;      // actors; grows by those that were tried
    Operation operation;
  };
  Mask sleep_after(const Node& node, World& world) const;

  std::vector<Node> path_;
  size_t at_ = 0;
  Mask asleep_ = 0;  // on arrival at the next actor node
  bool begun_ = false;
  const bool reduced_;
  struct Hash {
    size_t operator()(uint64_t state) const noexcept { return state; }  // it is mixed already
  };
  std::unordered_map<uint64_t, Mask, Hash> seen_;  // with the sleep set
};

// By a seed: each execution draws how it goes about it. One in three by priorities that change at
// a few random steps (PCT, Burckhardt et al. 2010), which finds what takes few preemptions; the
// others by chance, with threads that go on for a while or change at every step.
class Randomized final : public Search {
 public:
  enum class Way : uint8_t { mixed, chance, priorities };

  explicit Randomized(uint64_t seed, Way way = Way::mixed) noexcept : seed_(seed), way_(way) {}
  // The execution with this number; the same one each time.
  void begin(uint64_t number);
  uint32_t actor(World& world, Mask enabled) override;
  uint32_t choose(World& world, Question question, uint32_t options) override;
  // What executions take, of those that are not to depend on the ones before.
  void expect(uint32_t steps) noexcept { longest_ = steps; }
  // What executions took so far: where priorities may change.
  void ended(uint32_t steps) noexcept { longest_ = longest_ < steps ? steps : longest_; }

 private:
  static constexpr uint32_t kChangesMax = 4;

  uint64_t seed_;
  Way way_;
  Random random_{0};
  bool by_priority_ = false;
  uint32_t change_of_four_ = 4;  // quarters in which another thread is drawn
  uint32_t stale_of_four_ = 1;
  uint32_t decisions_ = 0;
  uint32_t longest_ = 64;
  std::array<uint32_t, 2 * kThreadsMax> priority_{};
  std::array<uint32_t, kChangesMax> changes_{};
  uint32_t changes_count_ = 0;
};

// Decisions of an execution, as far as they can be followed; then, and where one can't, the thread
// goes on and finds the newest.
class Recorded final : public Search {
 public:
  explicit Recorded(std::vector<uint8_t> decisions) noexcept : decisions_(std::move(decisions)) {}
  uint32_t actor(World& world, Mask enabled) override;
  uint32_t choose(World& world, Question question, uint32_t options) override;

  static constexpr uint8_t kUsual = 0xff;  // a decision that is left to the default

 private:
  std::vector<uint8_t> decisions_;
  size_t at_ = 0;
};

}  // namespace vanity::sim
