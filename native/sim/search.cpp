#include "sim/search.hpp"

#include <algorithm>
#include <bit>

namespace vanity::sim {
namespace {

uint32_t lowest(Mask mask) {
  return static_cast<uint32_t>(std::countr_zero(mask));
}
bool has(Mask mask, uint32_t actor) {
  return (mask >> actor & 1) != 0;
}

}  // namespace

// ---- exhaustive
// ----------------------------------------------------------------------------------

bool Exhaustive::next() {
  at_ = 0;
  asleep_ = 0;
  if (!begun_) return begun_ = true;
  while (!path_.empty()) {
    Node& last = path_.back();
    if (last.is_actor) {
      last.asleep |= Mask{1} << last.chosen;
      last.left &= ~last.asleep;
      if (last.left != 0) {
        last.chosen = lowest(last.left);
        return true;
      }
    } else if (last.chosen < last.left) {
      ++last.chosen;
      return true;
    }
    path_.pop_back();
  }
  return false;
}

// What slept before and does not see that this step was taken sleeps on.
Mask Exhaustive::sleep_after(const Node& node, World& world) const {
  Mask still = 0;
  if (!reduced_) return still;
  for (Mask rest = node.asleep & ~(Mask{1} << node.chosen); rest != 0; rest &= rest - 1) {
    const uint32_t actor = lowest(rest);
    if (Operation::independent(world.pending(actor), node.operation)) still |= Mask{1} << actor;
  }
  return still;
}

uint32_t Exhaustive::actor(World& world, Mask enabled) {
  if (at_ < path_.size()) {
    Node& node = path_[at_++];
    node.operation = world.pending(node.chosen);
    asleep_ = sleep_after(node, world);
    return node.chosen;
  }
  Mask open = enabled & ~asleep_;
  if (reduced_) {
    const auto [known, fresh] = seen_.try_emplace(world.state(), asleep_);
    if (!fresh) {
      open &= known->second;
      asleep_ = known->second &= asleep_;
    }
  }
  if (open == 0) return kAbandon;
  Node& node = path_.emplace_back();
  ++at_;
  node.is_actor = true;
  node.left = open;
  node.asleep = asleep_;
  node.chosen = has(open, world.last_actor()) ? world.last_actor() : lowest(open);
  node.operation = world.pending(node.chosen);
  asleep_ = sleep_after(node, world);
  return node.chosen;
}

uint32_t Exhaustive::choose(World&, Question, uint32_t options) {
  if (at_ < path_.size()) return path_[at_++].chosen;
  Node& node = path_.emplace_back();
  ++at_;
  node.is_actor = false;
  node.left = options - 1;
  node.chosen = 0;
  return 0;
}

// ---- random
// --------------------------------------------------------------------------------------

void Randomized::begin(uint64_t number) {
  random_ = Random(Random::mix(seed_) + Random::mix(number + 1));
  by_priority_ = way_ == Way::priorities || (way_ == Way::mixed && random_.below(3) == 0);
  change_of_four_ = 1 + random_.below(4);
  stale_of_four_ = random_.below(4);
  decisions_ = 0;
  for (uint32_t i = 0; i < priority_.size(); ++i) {
    const uint32_t other = random_.below(i + 1);
    priority_[i] = priority_[other];
    priority_[other] = i + kChangesMax;
  }
  changes_count_ = random_.below(kChangesMax + 1);
  for (uint32_t i = 0; i < changes_count_; ++i) changes_[i] = random_.below(longest_);
}

uint32_t Randomized::actor(World& world, Mask enabled) {
  const uint32_t decision = decisions_++;
  if (by_priority_) {
    uint32_t best = lowest(enabled);
    for (Mask rest = enabled; rest != 0; rest &= rest - 1)
      if (priority_[lowest(rest)] > priority_[best]) best = lowest(rest);
    for (uint32_t i = 0; i < changes_count_; ++i)
      if (changes_[i] == decision) priority_[best] = i;
    return best;
  }
  if (has(enabled, world.last_actor()) && random_.below(4) >= change_of_four_)
    return world.last_actor();
  uint32_t skip = random_.below(static_cast<uint32_t>(std::popcount(enabled)));
  while (skip-- != 0) enabled &= enabled - 1;
  return lowest(enabled);
}

uint32_t Randomized::choose(World&, Question question, uint32_t options) {
  if (question == Question::chance) return random_.below(options);
  if (random_.below(4) >= stale_of_four_) return 0;
  return random_.below(options);
}

// ---- one that is known
// ---------------------------------------------------------------------------

uint32_t Recorded::actor(World& world, Mask enabled) {
  const bool asked = (enabled & (enabled - 1)) != 0;  // else there is nothing to decide
  if (asked && at_ < decisions_.size()) {
    const uint8_t wanted = decisions_[at_++];
    if (wanted < 2 * kThreadsMax && has(enabled, wanted)) return wanted;
  }
  return has(enabled, world.last_actor()) ? world.last_actor() : lowest(enabled);
}

uint32_t Recorded::choose(World&, Question, uint32_t options) {
  if (at_ >= decisions_.size()) return 0;
  const uint8_t wanted = decisions_[at_++];
  return wanted < options ? wanted : 0;
}

}  // namespace vanity::sim
