// Which memory has which protection key: one for each set of confined shards that may write to the
// same, so that as few are taken as keep apart what must be. What none of them may write to keeps
// the key that all memory has.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "memory/arena.hpp"
#include "platform/pkey.hpp"

namespace vanity {

class Keys {
 public:
  // Of each pool, which confined shards may hold its packets; and which shards are confined. Throws
  // VANITY_E_PROTECTION_KEYS, and VANITY_E_LIMIT for one too many.
  void take(const std::vector<uint32_t>& shards, const std::vector<std::vector<uint32_t>>& pools);

  ProtectionKey& of_shard(uint32_t shard) const { return *taken_.at({shard}); }
  // All that this shard may write to, a bit a key.
  uint32_t all_of(uint32_t shard) const;
  bool has_pool(uint32_t pool) const { return pool < pools_.size() && !pools_[pool].empty(); }
  void protect_pool(uint32_t pool, const Arena& arena) const;
  // A thread that does not stop still has them.
  void leave() noexcept;

 private:
  using Writers = std::vector<uint32_t>;  // shards, in their order
  std::map<Writers, std::unique_ptr<ProtectionKey>> taken_;
  std::vector<Writers> pools_;
};

}  // namespace vanity
