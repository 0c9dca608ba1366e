#include "sim/system/claims.hpp"

#include <algorithm>

namespace vanity::sim {
namespace {

const Counter* find(const ShardRecord& record, const std::string& name) {
  if (name == "received") return &record.received;
  if (name == "sent") return &record.sent;
  if (name == "consumed") return &record.consumed;
  if (name == "filtered") return &record.filtered;
  if (name == "dropped") return &record.dropped;
  if (name == "bytes") return &record.bytes;
  for (const DynamicCounter& counter : record.user)
    if (name == counter.name) return &counter.value;
  return nullptr;
}

bool relates(int64_t sum, const std::string& relation, int64_t constant) {
  if (relation == "=") return sum == constant;
  if (relation == "!=") return sum != constant;
  if (relation == "<") return sum < constant;
  if (relation == "<=") return sum <= constant;
  if (relation == ">") return sum > constant;
  return sum >= constant;
}

}  // namespace

bool is_known(const Claim& claim, Segment& segment) {
  return std::all_of(claim.terms.begin(), claim.terms.end(), [&](const Claim::Term& term) {
    return find(segment.shard(term.shard), term.counter) != nullptr;
  });
}

std::string broken(const Claim& claim, const Plan& plan, Segment& segment) {
  int64_t sum = 0;
  std::string found;
  for (const Claim::Term& term : claim.terms) {
    const std::string& shard = plan.shards[term.shard].name;
    const Counter* const counter = find(segment.shard(term.shard), term.counter);
    if (counter == nullptr) {
      return '"' + claim.text + "\": " + shard + " has no counter \"" + term.counter + '"';
    }
    const auto value = static_cast<int64_t>(counter->get());
    sum += term.factor * value;
    found +=
        (found.empty() ? "" : ", ") + shard + '.' + term.counter + " is " + std::to_string(value);
  }
  if (relates(sum, claim.relation, claim.constant)) return {};
  return '"' + claim.text + "\" does not hold: " + found;
}

}  // namespace vanity::sim
