// What goes from a running system: the other half of Growth.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "kernel/growth.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"

namespace vanity {

void Growth::end_shards() {
  for (const uint32_t s : gone_) {
    Shard& shard = *system_.shards_[s];
    for (uint32_t c = 0; c < next_.channels.size(); ++c) {
      const ChannelPlan& channel = next_.channels[c];
      if (channel.to != s || !system_.uses(channel.from, c)) continue;
      refuse("shard " + shard.plan().name + ": channel \"" + channel.name +
             "\" is still sent to, by shard " + next_.shards[channel.from].name);
    }
    shard.control(Control::drain);
    shard.control(Control::finish);
    const uint64_t since = monotonic_ns();
    while (!shard.ended()) {
      if (hurried_.load(std::memory_order_relaxed)) refuse("the system stops");
      if (monotonic_ns() - since > next_.drain_ns) {
        throw Error("VANITY_E_DRAIN",
                    "not drained after " + std::to_string(next_.drain_ns / 1'000'000) +
                        " ms: " + shard.plan().name,
                    "raise [kernel] drain_ms, or look at what keeps it from emptying its inputs");
      }
      ReloadClock::nap();
    }
  }
}

void Growth::free_parts() {
  const auto goes = [this](uint32_t s) {
    return std::find(gone_.begin(), gone_.end(), s) != gone_.end();
  };
  for (const uint32_t s : gone_) {
    if (!system_.shards_[s]->ended()) refuse("shard " + next_.shards[s].name + " still runs");
  }
  for (uint32_t c = 0; c < next_.channels.size(); ++c) {
    const ChannelPlan& channel = next_.channels[c];
    if (channel.from == kNone) continue;
    const bool listed =
        std::find(gone_channels_.begin(), gone_channels_.end(), c) != gone_channels_.end();
    const bool loose = goes(channel.from) || goes(channel.to);
    if (!listed && loose) refuse("channel \"" + channel.name + "\" would lose an end");
    if (!listed) continue;
    for (const uint32_t s : {channel.from, channel.to}) {
      if (!system_.uses(s, c)) continue;
      refuse("channel \"" + channel.name + "\" is still used by shard " + next_.shards[s].name);
    }
  }
  wait_for_workers();
  wait_for_buffers();
  // A process keeps the ring, which lies in its own arena: none of those buffers comes by any more.
  for (const System::Way& way : system_.ways_) {
    if (goes(way.holder) && !goes(way.owner)) {
      rewiring_for(way.owner).goes.push_back(way.ring.memory());
    } else if (goes(way.owner) && !goes(way.holder) && !next_.shards[way.holder].isolated) {
      rewiring_for(way.holder).homes.push_back({way.pool, {}, {}});
    }
  }
  for (auto& [index, rewiring] : rewirings_) {
    if (system_.shards_[index]->ended()) continue;
    hand_over(*system_.shards_[index], std::move(rewiring));
  }
}

// What JavaScript sees of a shard's memory, it sees until its worker has ended.
void Growth::wait_for_workers() {
  for (const uint32_t s : gone_) system_.workers_.dismiss(*system_.shards_[s]);
  system_.tell_owner();
  const uint64_t since = monotonic_ns();
  for (const uint32_t s : gone_) {
    Shard& shard = *system_.shards_[s];
    while (shard.exposed()) {
      if (hurried_.load(std::memory_order_relaxed)) refuse("the system stops");
      if (monotonic_ns() - since > next_.drain_ns) {
        refuse("shard " + shard.plan().name + ": its worker thread does not end",
               "look at what keeps the main thread of the system");
      }
      ReloadClock::nap();
    }
    system_.workers_.forget(shard);
  }
}

// What others still hold of its packets is on its way, or is kept by one of them.
void Growth::wait_for_buffers() {
  const uint64_t since = monotonic_ns();
  for (const uint32_t s : gone_) {
    system_.shards_[s]->join();
    system_.shards_[s]->settle();
  }
  // None of these kinds keeps buffers.
  for (const auto& port : taken_ports_) port->close();
  for (const uint32_t s : gone_) {
    Shard& shard = *system_.shards_[s];
    for (const auto& pool : system_.pools_) {
      if (pool == nullptr || pool_plans_of(*pool).owner != s) continue;
      for (;;) {
        shard.take_all_returns();
        if (pool->missing() == 0) break;
        if (hurried_.load(std::memory_order_relaxed)) refuse("the system stops");
        if (monotonic_ns() - since > next_.drain_ns) {
          throw Error("VANITY_E_BUFFER_LEAK",
                      std::to_string(pool->missing()) + " of " + std::to_string(pool->buffers()) +
                          " buffers of shard " + shard.plan().name + " have not come home",
                      "a program keeps packets that it neither sends nor frees");
        }
        ReloadClock::nap();
      }
    }
  }
}

const System::PoolPlan& Growth::pool_plans_of(const Pool& pool) const noexcept {
  return system_.pool_plans_[pool.index()];
}

// The kernel's thread: what it had is free.
void Growth::bury() noexcept {
  System& system = system_;
  const auto goes = [this](uint32_t s) {
    return std::find(gone_.begin(), gone_.end(), s) != gone_.end();
  };
  for (const uint32_t c : gone_channels_) {
    for (const auto& each : system.shards_) each->forget_end(c);
    Segment::clear(system.segment_.channel(c));
    system.plan_.channels[c] = ChannelPlan{};
    system.plan_.channels[c].from = system.plan_.channels[c].to = kNone;
    system.channels_[c] = Channel();
    system.annexes_[c].reset();
  }
  system.ways_.erase(
      std::remove_if(system.ways_.begin(), system.ways_.end(),
                     [&](const System::Way& way) { return goes(way.owner) || goes(way.holder); }),
      system.ways_.end());
  for (const uint32_t s : gone_) {
    for (std::unique_ptr<Pool>& pool : system.pools_) {
      if (pool == nullptr || pool_plans_of(*pool).owner != s) continue;
      Segment::clear(system.segment_.pool(pool->index()));
      system.pool_plans_[pool->index()] = {};
      pool.reset();
    }
    const uint32_t core = system.plan_.shards[s].core;
    system.shards_[s]->vacate();
    system.segment_.header().gone_dropped.add(system.segment_.shard(s).dropped.get());
    Segment::clear(system.segment_.shard(s));
    system.plan_.shards[s] = ShardPlan{};
    bool taken = core == system.plan_.kernel_core;
    for (const ShardPlan& other : system.plan_.shards) taken |= other.core == core;
    const auto lock = std::find_if(system.locks_.begin(), system.locks_.end(),
                                   [core](const CoreLock& each) { return each.core() == core; });
    if (!taken && lock != system.locks_.end()) system.locks_.erase(lock);
  }
  bury_ports();
  follow();
}

}  // namespace vanity
