#include "kernel/keys.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

#include "kernel/building.hpp"
#include "kernel/system.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

bool within(uint64_t address, const void* begin, uint64_t bytes) {
  return address - reinterpret_cast<uintptr_t>(begin) < bytes;
}

// What Linux calls the mapping.
std::string mapping_of(uint64_t address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long long begin = 0;
    unsigned long long end = 0;
    int name = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx %*s %*s %*s %*s %n", &begin, &end, &name) != 2)
      continue;
    if (address < begin || address >= end) continue;
    const std::string text = line.substr(std::min(static_cast<size_t>(name), line.size()));
    return text.substr(text.rfind('/') + 1);
  }
  return {};
}

}  // namespace

void Keys::take(const std::vector<uint32_t>& shards,
                const std::vector<std::vector<uint32_t>>& pools) {
  pools_ = pools;
  for (const uint32_t shard : shards) taken_[{shard}];
  for (const Writers& writers : pools) {
    if (!writers.empty()) taken_[writers];
  }
  if (taken_.size() > limits::kProtectionKeys) {
    throw Error(
        "VANITY_E_LIMIT",
        std::to_string(taken_.size()) + " protection keys are needed: at most " +
            std::to_string(limits::kProtectionKeys),
        "one for each shard with isolation = \"pkey\", and one for each set of them that may "
        "hold the packets of a pool: isolate fewer");
  }
  for (auto& [writers, key] : taken_) key = std::make_unique<ProtectionKey>();
}

uint32_t Keys::all_of(uint32_t shard) const {
  uint32_t keys = 0;
  for (const auto& [writers, key] : taken_) {
    if (std::find(writers.begin(), writers.end(), shard) != writers.end()) keys |= key->bit();
  }
  return keys;
}

void Keys::protect_pool(uint32_t pool, const Arena& arena) const {
  if (has_pool(pool)) taken_.at(pools_[pool])->protect(arena.base(), arena.bytes());
}

void Keys::leave() noexcept {
  for (auto& [writers, key] : taken_) static_cast<void>(key.release());
}

void System::take_keys() {
  std::vector<uint32_t> shards;
  for (uint32_t s = 0; s < plan_.shards.size(); ++s) {
    if (plan_.shards[s].keyed) shards.push_back(s);
  }
  if (shards.empty()) return;
  std::vector<std::vector<uint32_t>> pools;
  for (const PoolPlan& pool : pool_plans_) {
    std::vector<uint32_t> holders = holders_of(plan_, pool.owner);
    holders.push_back(pool.owner);
    std::vector<uint32_t>& writers = pools.emplace_back();
    std::copy_if(shards.begin(), shards.end(), std::back_inserter(writers), [&](uint32_t shard) {
      return std::find(holders.begin(), holders.end(), shard) != holders.end();
    });
  }
  try {
    keys_.take(shards, pools);
  } catch (const Error& error) {
    throw Error(error.code(), "shard " + plan_.shards[shards[0]].name + ": " + error.what(),
                error.hint());
  }
}

// Whose memory it is that a confined program wrote to without the right.
std::string System::owner_of(const Evidence& evidence) {
  const uint64_t at = evidence.address;
  const auto shard = [this](uint32_t s) { return "shard " + plan_.shards[s].name; };
  for (uint32_t c = 0; c < plan_.channels.size(); ++c) {
    const ChannelPlan& plan = plan_.channels[c];
    if (plan.from == kNone || !channels_[c]) continue;
    if (!within(at, channels_[c].memory(), Channel::bytes_needed(spec_of(plan)))) continue;
    return "the ring of channel " + plan.name + " from " + shard(plan.from) + " to " +
           shard(plan.to);
  }
  for (uint32_t p = 0; p < pools_.size(); ++p) {
    if (pools_[p] == nullptr) continue;
    const bool apart = p < shared_pools_.size() && shared_pools_[p] != nullptr;
    const bool its =
        apart ? within(at, shared_pools_[p]->base(), shared_pools_[p]->bytes())
              : within(at, pools_[p]->base(),
                       Pool::memory_bytes(pools_[p]->buffers(), pools_[p]->buffer_bytes()));
    if (its) return "pool " + pool_plans_[p].name + " of " + shard(pool_plans_[p].owner);
  }
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    Shard& each = *shards_[s];
    if (each.vacant()) continue;
    if (within(at, each.arena().base(), each.arena().bytes())) return "the arena of " + shard(s);
    const bool desk = each.confined() && within(at, each.desk().base(), each.desk().bytes());
    if (desk || (each.confined() && keys_.of_shard(s).number() == evidence.key)) {
      return std::string(desk ? "the arena" : "static memory or the stack") +
             " of the program of " + shard(s);
    }
  }
  if (within(at, segment_.base(), segment_.bytes())) return "the segment, which has the counters";
  const std::string mapping = mapping_of(at);
  return "memory of the process" + (mapping.empty() ? "" : " (" + mapping + ")");
}

}  // namespace vanity
