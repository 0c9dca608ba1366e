// How the channels of a running shard come and go: the ends that it is given, and those it loses.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "kernel/building.hpp"
#include "kernel/places.hpp"
#include "kernel/system.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

bool has(const std::vector<vanity_channel*>& ends, uint32_t channel) {
  return std::any_of(ends.begin(), ends.end(),
                     [channel](const vanity_channel* end) { return end->index == channel; });
}

}  // namespace

// Nothing of these moves while others read them.
void System::make_room() {
  plan_.shards.reserve(limits::kShards);
  plan_.channels.reserve(plan_.channels.size() + limits::kSpareChannels);
  shards_.reserve(limits::kShards);
  channels_.reserve(plan_.channels.size() + limits::kSpareChannels);
  pools_.reserve(kPoolsMax);
  annexes_.resize(plan_.channels.size());
  plan_.ports.reserve(limits::kPorts);
  ports_.reserve(limits::kPorts);
}

uint32_t System::shard_named(const std::string& name) const {
  return named(plan_.shards, name);
}

uint32_t System::channel_named(const std::string& name) const {
  return named(plan_.channels, name);
}

// Is it among the ends of that shard, which runs?
bool System::uses(uint32_t shard, uint32_t channel) const {
  if (shards_[shard]->ended()) return false;
  return has(shards_[shard]->inputs(), channel) || has(shards_[shard]->outputs(), channel);
}

bool System::in_use(TableKind table, uint32_t row) const noexcept {
  if (table == TableKind::shard) return !shards_[row]->vacant();
  if (table == TableKind::channel) return plan_.channels[row].from != kNone;
  if (table == TableKind::port) return ports_[row] != nullptr;
  return table != TableKind::pool || pools_[row] != nullptr;
}

std::unique_ptr<Rewiring> System::rewiring_of(uint32_t s, const std::vector<std::string>& names) {
  Shard& shard = *shards_[s];
  const auto refuse = [&](const std::string& why) {
    throw Error("VANITY_E_RELOAD", "shard " + shard.plan().name + ": " + why,
                "change the shards at both ends in order");
  };
  auto rewiring = std::make_unique<Rewiring>();
  rewiring->ends = true;
  rewiring->nothing = nothing();
  for (const std::string& name : names) {
    const uint32_t c = channel_named(name);
    vanity_channel* const end = c == kNone ? nullptr : shard.end_of(c);
    if (end == nullptr) refuse("it has no channel \"" + name + "\"");
    const bool reads = plan_.channels[c].to == s;
    (reads ? rewiring->inputs : rewiring->outputs).push_back(end);
    if (reads && !has(shard.inputs(), c)) {
      rewiring->slots.push_back({end->slot, end, end->ring.consumer()});
    }
    // Whoever is sent to takes it already: what is sent to nobody is lost.
    if (!reads && !has(shard.outputs(), c) && !uses(plan_.channels[c].to, c)) {
      refuse("nobody takes yet what it would send to channel \"" + name + "\"");
    }
  }
  for (const vanity_channel* end : shard.inputs()) {
    if (has(rewiring->inputs, end->index)) continue;
    if (uses(plan_.channels[end->index].from, end->index)) {
      refuse("channel \"" + end->name + "\" is still sent to");
    }
    rewiring->slots.push_back({end->slot, nullptr, nothing()});
  }
  if (rewiring->slots.empty() && rewiring->inputs == shard.inputs() &&
      rewiring->outputs == shard.outputs()) {
    return nullptr;
  }
  if (shard.plan().kind == ProgramKind::typescript) {
    refuse("it runs a TypeScript program, whose channels are those it began with");
  }
  return rewiring;
}

}  // namespace vanity
