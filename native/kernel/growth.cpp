#include "kernel/growth.hpp"

#include <algorithm>
#include <utility>

#include "kernel/building.hpp"
#include "kernel/places.hpp"
#include "kernel/validate.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"

namespace vanity {
namespace {

constexpr uint64_t kInitNs = 5'000'000'000;
constexpr uint64_t kLeaveNs = 1'000'000'000;
// A worker that is terminated has its last output written, and its heap torn down.
constexpr uint64_t kWorkerNs = 5'000'000'000;
constexpr size_t kSlack = 4096;

bool in_javascript(const Shard& shard) {
  return shard.plan().kind == ProgramKind::typescript;
}

}  // namespace

// ---- what is asked for

// It was handed its channels and buffers when it was started.
void Growth::refuse_isolated(const Plan& plan, uint32_t shard, const std::string& what) {
  if (!plan.shards[shard].isolated) return;
  refuse(what + "shard " + plan.shards[shard].name +
             " is a process of its own, whose channels are those it began with",
         kNewStart);
}

Growth::Growth(System& system, const ReloadRequest& request)
    : system_(system), request_(request), began_ns_(monotonic_ns()), next_(system.plan_) {
  if (request_.job == Job::grow) return;
  for (const std::string& name : request_.parts.shard_names) {
    const uint32_t s = system_.shard_named(name);
    if (s == kNone) refuse("there is no shard \"" + name + "\"");
    if (system_.plan_.shards[s].isolated) {
      refuse("shard " + name + ": a process of its own ends with the system", kNewStart);
    }
    check_unkeyed(system_.plan_.shards[s]);
    gone_.push_back(s);
  }
  check_views();
  plan_gone_ports();
  for (const std::string& name : request_.parts.channel_names) {
    const uint32_t c = system_.channel_named(name);
    if (c == kNone) refuse("there is no channel \"" + name + "\"");
    for (const uint32_t end : {system_.plan_.channels[c].from, system_.plan_.channels[c].to}) {
      refuse_isolated(system_.plan_, end, "channel " + name + ": ");
    }
    gone_channels_.push_back(c);
  }
  // What it does when it ends is not the end of the system.
  for (const uint32_t s : gone_) system_.watches_[s].failure_noted = true;
}

Growth::~Growth() {
  if (thread_.joinable()) thread_.join();
}

// A TypeScript program that stays sees the buffers that may come by for as long as it runs.
void Growth::check_views() const {
  const auto goes = [this](uint32_t s) {
    return std::find(gone_.begin(), gone_.end(), s) != gone_.end();
  };
  for (const System::Way& way : system_.ways_) {
    const ShardPlan& holder = system_.plan_.shards[way.holder];
    if (!goes(way.owner) || goes(way.holder) || holder.kind != ProgramKind::typescript) continue;
    refuse("packets of shard " + system_.plan_.shards[way.owner].name + " come by shard " +
               holder.name + ", whose TypeScript program sees their buffers while it runs",
           kNewStart);
  }
}

// Which memory has which protection key was settled when the system began.
void Growth::check_unkeyed(const ShardPlan& plan) {
  if (!plan.keyed) return;
  refuse("shard " + plan.name +
             ": a program that is confined by a protection key begins with the system, with all of "
             "its channels and with the pools whose packets come to it, and ends with it",
         "start the system with the other manifest: vanity run");
}

void Growth::refuse(const std::string& message, const std::string& hint) {
  throw Error("VANITY_E_RELOAD", message, hint);
}

void Growth::run() noexcept {
  set_thread_name("vanity-reload");
  certificate_.outcome = ReloadOutcome::refused;
  try {
    if (request_.job == Job::grow) {
      grow();
    } else if (request_.job == Job::end) {
      end_shards();
    } else {
      free_parts();
    }
    certificate_.outcome = ReloadOutcome::kept;
  } catch (const Error& error) {
    certificate_.code = error.code();
    certificate_.message = error.what();
    certificate_.hint = error.hint();
  } catch (const std::exception& error) {
    certificate_.code = "VANITY_E_RELOAD";
    certificate_.message = error.what();
  }
  if (certificate_.outcome != ReloadOutcome::kept) dismiss_workers();
  certificate_.prepare_ns = monotonic_ns() - began_ns_;
  done_.store(true, std::memory_order_release);  // pairs with done()
}

bool Growth::done() const noexcept {
  return done_.load(std::memory_order_acquire);  // pairs with run()
}

void Growth::conclude() noexcept {
  const bool kept = certificate_.outcome == ReloadOutcome::kept;
  if (request_.job == Job::grow) {
    if (kept && system_.state() == SystemState::running) {
      adopt();
    } else {
      abandon();
    }
  } else if (request_.job == Job::free) {
    if (kept) {
      bury();
    } else {
      give_back_ports();
    }
  } else if (request_.job == Job::end && !kept && system_.state() == SystemState::running) {
    for (const uint32_t s : gone_) system_.shards_[s]->control(Control::run);
  }
}

// ---- what comes

void Growth::grow() {
  if (next_.threads != 0) refuse("the shards of this system share threads, and take no others in");
  plan_names();
  plan_shards();
  plan_channels();
  plan_ports();
  plan_pools();
  plan_ways();
  check_devices();
  lock_cores();
  make_shards();
  make_pools();
  make_ports();
  make_channels();
  make_ways();
  start_shards();
  start_ports();
  hand_ways();
}

void Growth::plan_names() {
  const auto cannot = [](const Rename& rename, const char* why) {
    refuse("\"" + rename.from + "\" cannot be called \"" + rename.to + "\": " + why);
  };
  const auto plan = [&](auto& parts, const std::vector<Rename>& renames,
                        std::vector<uint32_t>& of) {
    for (const Rename& rename : renames) {
      const uint32_t at = named(parts, rename.from);
      if (at == kNone) cannot(rename, "it is not there");
      if (rename.to.empty() || rename.to.size() > limits::kNameBytes) cannot(rename, "no name");
      if (named(parts, rename.to) != kNone) cannot(rename, "another one is");
      parts[at].name = rename.to;
      of.push_back(at);
    }
  };
  plan(next_.shards, request_.parts.shard_renames, renamed_);
  plan(next_.channels, request_.parts.channel_renames, renamed_channels_);
}

bool Growth::is_renamed(uint32_t shard) const noexcept {
  return std::find(renamed_.begin(), renamed_.end(), shard) != renamed_.end();
}

void Growth::plan_shards() {
  const uint32_t room = system_.shape_.shards + system_.shape_.spare_shards;
  for (const NewShard& fresh : request_.parts.shards) {
    if (fresh.plan.kind == ProgramKind::typescript && !system_.options_.on_change) {
      refuse("shard " + fresh.plan.name + ": nobody in this process starts workers for JavaScript");
    }
    if (fresh.plan.isolated) {
      refuse("shard " + fresh.plan.name + ": a process of its own begins with the system",
             kNewStart);
    }
    check_unkeyed(fresh.plan);
    if (named(next_.shards, fresh.plan.name) != kNone) {
      refuse("there is a shard \"" + fresh.plan.name + "\" already");
    }
    const uint32_t at = free_place(next_.shards);
    if (at == room) {
      throw Error("VANITY_E_LIMIT",
                  "a running system has room for " + std::to_string(limits::kSpareShards) +
                      " shards more than it began with, and " + std::to_string(limits::kShards) +
                      " in all",
                  kNewStart);
    }
    put(next_.shards, at, fresh.plan);
    shards_.push_back({at, nullptr, nullptr});
  }
}

void Growth::plan_channels() {
  const uint32_t room = system_.shape_.channels + system_.shape_.spare_channels;
  for (const NewChannel& fresh : request_.parts.channels) {
    if (named(next_.channels, fresh.plan.name) != kNone) {
      refuse("there is a channel \"" + fresh.plan.name + "\" already");
    }
    ChannelPlan plan = fresh.plan;
    plan.from = named(next_.shards, fresh.from);
    plan.to = named(next_.shards, fresh.to);
    const uint32_t at = free_place(next_.channels);
    if (at == room) {
      throw Error("VANITY_E_LIMIT",
                  "a running system has room for " + std::to_string(limits::kSpareChannels) +
                      " channels more than it began with, and " +
                      std::to_string(limits::kChannels) + " in all",
                  kNewStart);
    }
    put(next_.channels, at, plan);
    validate_channel(next_, at);
    channels_.push_back({at, {}});
    for (const uint32_t end : {plan.from, plan.to}) {
      check_unkeyed(next_.shards[end]);
      if (next_.shards[end].kind == ProgramKind::typescript && newcomer(end) == nullptr) {
        refuse("channel " + plan.name + ": shard " + next_.shards[end].name +
               " runs a TypeScript program, whose channels are those it began with");
      }
      refuse_isolated(next_, end, "channel " + plan.name + ": ");
      uint32_t in = 0;
      uint32_t out = 0;
      for (const ChannelPlan& each : next_.channels) {
        in += each.to == end ? 1 : 0;
        out += each.from == end ? 1 : 0;
      }
      if (in > limits::kChannelsIntoShard || out > limits::kChannelsOutOfShard) {
        throw Error("VANITY_E_LIMIT",
                    "shard " + next_.shards[end].name + " has " +
                        std::to_string(std::max(in, out)) + " channels one way, at most " +
                        std::to_string(limits::kChannelsIntoShard) + " are possible");
      }
    }
  }
  for (uint32_t i = 0; i < shards_.size(); ++i) {
    const std::string& primary = request_.parts.shards[i].primary;
    if (!primary.empty()) next_.shards[shards_[i].index].primary = named(next_.channels, primary);
    validate_shard(next_, shards_[i].index);
  }
}

void Growth::plan_pools() {
  pool_plans_ = system_.pool_plans_;
  for (System::PoolPlan& pool : pool_plans_) {
    if (pool.name.empty() || pool.port != kNone || !is_renamed(pool.owner)) continue;
    pool.name = next_.shards[pool.owner].name;
  }
  for (NewcomerShard& fresh : shards_) {
    const ShardPlan& plan = next_.shards[fresh.index];
    fresh.program = plan.kind == ProgramKind::builtin ? make_stage(plan)
                    : plan.kind == ProgramKind::typescript
                        ? make_foreign(plan.options)
                        : load_module(plan.program, plan.options);
    fresh.bytes = padded(sizeof(ArenaMark)) + padded(sizeof(ShardLine)) + kSlack + plan.arena_bytes;
    const uint32_t buffers = fresh.program->pool_buffers();
    if (buffers == 0) continue;
    plan_pool(fresh, {plan.name, fresh.index, buffers, fresh.program->pool_buffer_bytes()});
  }
  for (const NewcomerPort& fresh : ports_) {
    const std::vector<uint32_t>& rx = next_.ports[fresh.index].rx;
    for (uint32_t q = 0; q < rx.size(); ++q) {
      plan_pool(*newcomer(rx[q]), System::pool_of(next_, fresh.index, q));
    }
  }
}

void Growth::plan_pool(NewcomerShard& owner, const System::PoolPlan& pool) {
  const uint32_t at = free_place(pool_plans_);
  if (at == system_.shape_.pools + system_.shape_.spare_pools) {
    throw Error(
        "VANITY_E_LIMIT",
        "shard " + next_.shards[owner.index].name + ": there is no room for one more buffer pool",
        kNewStart);
  }
  put(pool_plans_, at, pool);
  owner.pools.push_back(at);
  owner.bytes += padded(Pool::book_bytes(pool.buffers, pool.buffer_bytes)) +
                 padded(Pool::memory_bytes(pool.buffers, pool.buffer_bytes));
}

// Who may come to hold which buffers now, and did not before; and where those rings lie: in the
// arena of a new owner.
void Growth::plan_ways() {
  const auto place = [this](uint32_t owner, size_t bytes) {
    NewcomerShard* const fresh = newcomer(owner);
    (fresh == nullptr ? annex_bytes_ : fresh->bytes) += padded(bytes);
  };
  for (const NewcomerChannel& channel : channels_) {
    const ChannelPlan& plan = next_.channels[channel.index];
    place(plan.to, Channel::bytes_needed(spec_of(plan)));
  }
  for (uint32_t pool = 0; pool < pool_plans_.size(); ++pool) {
    const System::PoolPlan& plan = pool_plans_[pool];
    if (plan.name.empty()) continue;
    for (const uint32_t holder : System::holders_of(next_, plan.owner)) {
      const bool known = std::any_of(
          system_.ways_.begin(), system_.ways_.end(),
          [&](const System::Way& way) { return way.pool == pool && way.holder == holder; });
      if (known) continue;
      check_unkeyed(next_.shards[holder]);
      if (next_.shards[holder].kind == ProgramKind::typescript && newcomer(holder) == nullptr) {
        refuse("packets of shard " + next_.shards[plan.owner].name + " would come by shard " +
                   next_.shards[holder].name +
                   ", whose TypeScript program knows the buffers that it began with",
               kNewStart);
      }
      refuse_isolated(next_, holder,
                      "packets of shard " + next_.shards[plan.owner].name + " would come by it: ");
      ways_.push_back({pool, plan.owner, holder, {}, nullptr});
      place(plan.owner, Channel::bytes_needed(return_spec(plan.buffers)));
    }
  }
}

// What a device reaches was settled when it was opened.
void Growth::check_devices() const {
  for (const System::Way& way : ways_) {
    for (const PortPlan& port : next_.ports) {
      if (!port.reached_from_outside()) continue;
      if (std::find(port.tx.begin(), port.tx.end(), way.holder) == port.tx.end()) continue;
      refuse("packets of shard " + next_.shards[way.owner].name + " would go out by port " +
                 port.name + ", whose device does not reach them",
             kNewStart);
    }
  }
}

void Growth::lock_cores() {
  const Topology topology = read_topology();
  for (const NewcomerShard& fresh : shards_) {
    const ShardPlan& plan = next_.shards[fresh.index];
    if (plan.core == kNone) continue;
    const Cpu* const cpu = topology.find(plan.core);
    if (cpu == nullptr || !cpu->usable) {
      throw Error("VANITY_E_CORE_MISSING",
                  "shard " + plan.name + ": core " + std::to_string(plan.core) +
                      " is not there for this process",
                  "use another one");
    }
    bool taken = plan.core == next_.kernel_core;
    bool locked = taken;
    for (uint32_t s = 0; s < next_.shards.size(); ++s) {
      if (s == fresh.index || next_.shards[s].name.empty()) continue;
      // Of those that come along, the first one takes it.
      if (newcomer_after(s, fresh.index) || next_.shards[s].core != plan.core) continue;
      locked = true;
      // Who makes room for another one leaves.
      taken |= !is_renamed(s);
    }
    if (!locked) locks_.emplace_back(plan.core);
    if (taken && !next_.oversubscribe) {
      throw Error("VANITY_E_CORE_TWICE",
                  "shard " + plan.name + ": core " + std::to_string(plan.core) +
                      " has another shard already",
                  "give each its own core, or set [system] oversubscribe = true");
    }
  }
}

void Growth::make_shards() {
  const Topology topology = read_topology();
  if (annex_bytes_ != 0) {
    annex_ = std::make_shared<Arena>(annex_bytes_ + kSlack, kAnyNode, next_.pages);
  }
  Segment& segment = system_.segment_;
  for (NewcomerShard& fresh : shards_) {
    const ShardPlan& plan = next_.shards[fresh.index];
    const Cpu* const cpu = plan.core == kNone ? nullptr : topology.find(plan.core);
    ShardRecord& record = segment.shard(fresh.index);
    Segment::clear(record);
    Segment::clear(segment.events(fresh.index));
    fresh.shard = std::make_unique<Shard>(plan, fresh.index, &record, next_.oversubscribe);
    Shard& shard = *fresh.shard;
    shard.set_program(std::move(fresh.program));
    shard.log_to(segment.events(fresh.index));
    segment.events(fresh.index).epoch_ticks.set(segment.events(0).epoch_ticks.get());
    record.tracing.store(plan.trace ? 1 : 0, std::memory_order_relaxed);
    record.numa_node = cpu == nullptr ? 0 : cpu->node;
    shard.set_arena(
        std::make_unique<Arena>(fresh.bytes, cpu == nullptr ? kAnyNode : cpu->node, next_.pages),
        segment.header().started_realtime_ns);
  }
}

void Growth::make_pools() {
  for (NewcomerShard& fresh : shards_) {
    for (const uint32_t pool : fresh.pools) make_pool(*fresh.shard, pool);
  }
}

void Growth::make_pool(Shard& owner, uint32_t index) {
  const System::PoolPlan& plan = pool_plans_[index];
  PoolRecord& record = system_.segment_.pool(index);
  Segment::clear(record);
  copy_text(record.name, sizeof(record.name), plan.name);
  record.shard = plan.owner;
  record.buffers = plan.buffers;
  record.buffer_bytes = plan.buffer_bytes;
  record.stride = Pool::stride_of(plan.buffer_bytes);
  void* const memory =
      owner.arena_allocate(padded(Pool::memory_bytes(plan.buffers, plan.buffer_bytes)), kAlign);
  record.arena_offset.set(owner.arena().offset_of(memory));
  void* const book =
      owner.arena_allocate(padded(Pool::book_bytes(plan.buffers, plan.buffer_bytes)), kAlign);
  pools_.emplace_back(index, std::make_unique<Pool>(index, plan.buffers, plan.buffer_bytes, memory,
                                                    &record, 0, book));
  Pool* const pool = pools_.back().second.get();
  // Nobody has a descriptor of it yet, and whoever gets one gets it by a channel.
  system_.pool_table_->add(*pool);
  owner.owns_pool(pool);
  if (plan.port == kNone) owner.set_own_pool(pool);
}

void Growth::make_channels() {
  std::vector<uint32_t> inputs(next_.shards.size(), 0);
  for (const NewcomerChannel& channel : channels_) ++inputs[next_.channels[channel.index].to];
  for (NewcomerChannel& channel : channels_) {
    const ChannelPlan& plan = next_.channels[channel.index];
    const ChannelSpec spec = spec_of(plan);
    Shard& from = shard(plan.from);
    Shard& to = shard(plan.to);
    void* const memory = allocate(plan.to, Channel::bytes_needed(spec));
    channel.ring = Channel::create(memory, spec);
    ChannelRecord& record = system_.segment_.channel(channel.index);
    Segment::clear(record);
    describe(record, plan);
    NewcomerShard* const fresh = newcomer(plan.to);
    Bell bell;
    if (fresh != nullptr) {
      record.arena = plan.to;
      record.arena_offset.set(to.arena().offset_of(memory));
      const uint32_t count = inputs[plan.to];
      if (to.needs_bell(count)) bell = Bell(&to.line().doorbell, fresh->placed, count);
      ++fresh->placed;
      to.add_input(plan, channel.index, &record, channel.ring);
    } else {
      record.arena = kNone;
      record.arena_offset.set(UINT64_MAX);
      const uint32_t slot = to.free_slot();
      if (slot == kNone) {
        throw Error("VANITY_E_LIMIT",
                    "shard " + to.plan().name + " has no room for one more input while it runs",
                    kNewStart);
      }
      bell = to.bell_of(slot);
      // Its bell may be rung before the input is there, so the slot is, with nothing in it.
      Rewiring& room = rewiring_for(plan.to);
      room.ends = true;
      room.inputs = to.inputs();
      room.outputs = to.outputs();
      room.nothing = nothing();
      room.slots.push_back({slot, nullptr, nothing()});
      to.make_input(plan, channel.index, &record, channel.ring, slot);
    }
    if (newcomer(plan.from) != nullptr) {
      from.add_output(plan, channel.index, &record, channel.ring, bell, to.line().asleep);
    } else {
      from.make_output(plan, channel.index, &record, channel.ring, bell, to.line().asleep);
    }
  }
}

void Growth::make_ways() {
  for (System::Way& way : ways_) {
    const ChannelSpec spec = return_spec(pool_plans_[way.pool].buffers);
    way.ring = Channel::create(allocate(way.owner, Channel::bytes_needed(spec)), spec);
    if (newcomer(way.owner) == nullptr) way.annex = annex_;
    Pool* pool = nullptr;
    for (const auto& [index, fresh] : pools_) {
      if (index == way.pool) pool = fresh.get();
    }
    if (pool == nullptr) pool = system_.pools_[way.pool].get();
    if (newcomer(way.owner) != nullptr) {
      shard(way.owner).add_returns(pool, way.ring);
    } else {
      rewiring_for(way.owner).comes.push_back({pool, way.ring.memory(), way.ring.consumer()});
    }
    if (newcomer(way.holder) != nullptr) {
      shard(way.holder).add_home(way.pool, way.ring);
    } else {
      rewiring_for(way.holder)
          .homes.push_back({way.pool, Shard::way_home(way.ring),
                            HeldBook::page(std::max(pool->buffers(), spec.capacity))});
    }
  }
  for (const auto& [index, rewiring] : rewirings_) {
    if (rewiring->comes.size() <= shard(index).returns_room()) continue;
    throw Error("VANITY_E_LIMIT",
                "shard " + shard(index).plan().name +
                    " has no room for more shards that its buffers come back from",
                kNewStart);
  }
  // Owners first: whatever is sent home is taken there.
  std::stable_sort(rewirings_.begin(), rewirings_.end(), [](const auto& a, const auto& b) {
    return !a.second->comes.empty() && b.second->comes.empty();
  });
}

// Each runs its init on its own thread, and waits to be let go.
void Growth::start_shards() {
  for (NewcomerShard& fresh : shards_) {
    Shard& shard = *fresh.shard;
    if (shard.plan().watch.on_fault != Policy::report && shard.program()->renewable()) {
      shard.contain();
    }
    shard.wire(system_.pool_table_.get());
  }
  for (NewcomerShard& fresh : shards_) {
    if (in_javascript(*fresh.shard)) {
      system_.workers_.want(*fresh.shard);
    } else {
      fresh.shard->start();
    }
  }
  system_.tell_owner();
  for (NewcomerShard& fresh : shards_) wait_for_start(*fresh.shard);
}

void Growth::wait_for_start(Shard& shard) const {
  const uint64_t since = monotonic_ns();
  const uint64_t patience = in_javascript(shard) ? kImportNs : kInitNs;
  while (shard.state() == ShardState::starting && monotonic_ns() - since < patience) {
    if (hurried_.load(std::memory_order_relaxed)) refuse("the system stops");
    ReloadClock::nap();
  }
  if (shard.state() == ShardState::ready) return;
  if (shard.has_failed()) {
    throw Error(shard.failure_code().c_str(), shard.failure(), shard.failure_hint());
  }
  const std::string who = "shard " + shard.plan().name + ": its program ";
  if (!in_javascript(shard)) {
    refuse(who + "does not come back from its init", "look for an endless loop in it");
  }
  refuse(who + "was not loaded and did not end its init within thirty seconds",
         shard.exposed() ? "look for what its init waits for"
                         : "look at its imports, and at what keeps the main thread of the system");
}

// Those that are not taken: a worker that became one of them ends, with all that it sees of it.
void Growth::dismiss_workers() noexcept {
  for (const NewcomerShard& fresh : shards_) {
    if (fresh.shard == nullptr || !in_javascript(*fresh.shard)) continue;
    system_.workers_.dismiss(*fresh.shard);
    if (fresh.shard->exposed()) fresh.shard->control(Control::stop_now);
  }
  system_.tell_owner();
  const uint64_t since = monotonic_ns();
  for (const NewcomerShard& fresh : shards_) {
    if (fresh.shard == nullptr) continue;
    while (fresh.shard->exposed() && monotonic_ns() - since < kWorkerNs) ReloadClock::nap();
  }
}

void Growth::hand_ways() {
  for (auto& [index, rewiring] : rewirings_) {
    if (hurried_.load(std::memory_order_relaxed)) refuse("the system stops");
    handing_ = true;
    hand_over(shard(index), std::move(rewiring));
  }
}

Growth::NewcomerShard* Growth::newcomer(uint32_t index) noexcept {
  for (NewcomerShard& fresh : shards_) {
    if (fresh.index == index) return &fresh;
  }
  return nullptr;
}

// Does the shard of that index come along with the other one, and after it?
bool Growth::newcomer_after(uint32_t index, uint32_t other) const noexcept {
  const auto place = [this](uint32_t of) {
    return std::find_if(shards_.begin(), shards_.end(),
                        [of](const NewcomerShard& fresh) { return fresh.index == of; });
  };
  return place(index) != shards_.end() && place(index) > place(other);
}

Shard& Growth::shard(uint32_t index) noexcept {
  NewcomerShard* const fresh = newcomer(index);
  return fresh == nullptr ? *system_.shards_[index] : *fresh->shard;
}

void* Growth::allocate(uint32_t owner, size_t bytes) {
  NewcomerShard* const fresh = newcomer(owner);
  return fresh == nullptr ? annex_->allocate(bytes, kAlign)
                          : fresh->shard->arena_allocate(bytes, kAlign);
}

Rewiring& Growth::rewiring_for(uint32_t shard) {
  for (auto& [index, rewiring] : rewirings_) {
    if (index == shard) return *rewiring;
  }
  rewirings_.emplace_back(shard, std::make_unique<Rewiring>());
  return *rewirings_.back().second;
}

// Readers see the old name or the new one: they differ in one byte, or where one ends.
void Growth::name_records() noexcept {
  Segment& segment = system_.segment_;
  for (const uint32_t s : renamed_) {
    copy_text(segment.shard(s).name, limits::kNameBytes + 1, next_.shards[s].name);
  }
  for (uint32_t pool = 0; pool < pool_plans_.size(); ++pool) {
    if (pool_plans_[pool].name.empty() || !is_renamed(pool_plans_[pool].owner)) continue;
    copy_text(segment.pool(pool).name, limits::kNameBytes + 1, pool_plans_[pool].name);
  }
  for (const uint32_t c : renamed_channels_) {
    copy_text(segment.channel(c).name, limits::kNameBytes + 1, next_.channels[c].name);
  }
}

// The kernel's thread: it is part of the system from here on.
void Growth::adopt() noexcept {
  System& system = system_;
  system.plan_.shards = next_.shards;
  system.plan_.channels = next_.channels;
  system.pool_plans_ = pool_plans_;
  name_records();
  for (CoreLock& lock : locks_) system.locks_.push_back(std::move(lock));
  for (auto& [index, pool] : pools_) put(system.pools_, index, std::move(pool));
  for (NewcomerShard& fresh : shards_) put(system.shards_, fresh.index, std::move(fresh.shard));
  for (const NewcomerChannel& channel : channels_) {
    const bool apart = newcomer(next_.channels[channel.index].to) == nullptr;
    put(system.channels_, channel.index, channel.ring);
    put(system.annexes_, channel.index, apart ? annex_ : nullptr);
  }
  for (System::Way& way : ways_) system.ways_.push_back(std::move(way));
  for (NewcomerPort& fresh : ports_) {
    put(system.plan_.ports, fresh.index, next_.ports[fresh.index]);
    put(system.ports_, fresh.index, std::move(fresh.port));
    for (const uint32_t row : fresh.rows) {
      if (row >= system.segment_.queues()) system.segment_.raise_queues(row + 1);
    }
  }
  system.segment_.raise_ports(static_cast<uint32_t>(system.ports_.size()));
  follow();
  system.segment_.raise_pools(static_cast<uint32_t>(system.pool_plans_.size()));
  system.segment_.raise_shards(static_cast<uint32_t>(system.shards_.size()));
  system.segment_.raise_channels(static_cast<uint32_t>(system.channels_.size()));
  for (const uint32_t s : system.order_) {
    if (newcomer(s) != nullptr) system.shards_[s]->control(Control::run);
  }
}

// The same, when it came to nothing.
void Growth::abandon() noexcept {
  for (NewcomerShard& fresh : shards_) {
    if (fresh.shard == nullptr) continue;
    Shard& shard = *fresh.shard;
    const uint64_t since = monotonic_ns();
    if (in_javascript(shard)) {
      system_.workers_.dismiss(shard);
      system_.tell_owner();
    }
    const auto runs = [&shard] {
      return in_javascript(shard) ? shard.exposed() : shard.started() && !shard.ended();
    };
    if (runs()) shard.control(Control::stop_now);
    while (runs() && monotonic_ns() - since < kLeaveNs) {
      if (shard.contained() && monotonic_ns() - since > kLeaveNs / 4) shard.leave_program();
      ReloadClock::nap();
    }
    if (!runs()) system_.workers_.forget(shard);
    if (runs()) {
      // Its thread still uses its memory, which goes with the process.
      static_cast<void>(fresh.shard.release());
      for (auto& [index, pool] : pools_) static_cast<void>(pool.release());
      for (NewcomerPort& port : ports_) static_cast<void>(port.port.release());
    } else {
      shard.join();
    }
    Segment::clear(system_.segment_.shard(fresh.index));
  }
  for (const auto& [index, pool] : pools_) Segment::clear(system_.segment_.pool(index));
  for (const NewcomerPort& fresh : ports_) clear_port(fresh.index, fresh.rows);
  for (const NewcomerChannel& channel : channels_) {
    Segment::clear(system_.segment_.channel(channel.index));
    for (const auto& each : system_.shards_) each->forget_end(channel.index);
  }
  // Some shards may have been handed rings in it.
  if (handing_ && annex_ != nullptr) system_.leftovers_.push_back(annex_);
}

void Growth::follow() noexcept {
  system_.order_shards();
  system_.find_loops();
  system_.watches_.resize(system_.shards_.size());
  for (const NewcomerShard& fresh : shards_) system_.watches_[fresh.index] = System::Watch{};
  system_.watchdog_->follow();
}

}  // namespace vanity
