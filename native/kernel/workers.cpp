#include "kernel/workers.hpp"

#include <algorithm>

namespace vanity {

void Workers::put(Entry entry) {
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_.push_back(entry);
}

void Workers::dismiss(const Shard& shard) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Entry& entry : entries_) entry.dismissed |= entry.shard == &shard;
}

void Workers::forget(const Shard& shard) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(),
                                [&](const Entry& entry) { return entry.shard == &shard; }),
                 entries_.end());
}

std::vector<Workers::Wanted> Workers::wanted() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Wanted> all;
  for (Entry& entry : entries_) {
    if (!entry.asks || entry.dismissed) continue;
    entry.asks = false;
    const ShardPlan& plan = entry.shard->plan();
    all.push_back({entry.shard->index(), plan.name, plan.program});
  }
  return all;
}

std::vector<uint32_t> Workers::overdue() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<uint32_t> all;
  for (const Entry& entry : entries_) {
    const Shard& shard = *entry.shard;
    const bool late = shard.control() == Control::stop_now && !shard.ended();
    if (late || (entry.dismissed && shard.exposed())) all.push_back(shard.index());
  }
  return all;
}

Workers::Entry* Workers::waiting(uint32_t shard) noexcept {
  for (Entry& entry : entries_) {
    const Shard& each = *entry.shard;
    if (each.index() == shard && !entry.dismissed && !each.exposed() &&
        each.state() == ShardState::starting) {
      return &entry;
    }
  }
  return nullptr;
}

void Workers::fail(uint32_t shard, const std::string& code, const std::string& message,
                   const std::string& hint) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Entry* const entry = waiting(shard);
  if (entry != nullptr) entry->shard->fail(code, message, hint);
}

Shard* Workers::take(uint32_t shard) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Entry* const entry = waiting(shard);
  if (entry == nullptr) return nullptr;
  entry->shard->expose();
  return entry->shard;
}

}  // namespace vanity
