// How the kernel joins a shard to its channels, ports and pools, before its thread starts.
#include <algorithm>
#include <cstring>
#include <new>

#include "platform/error.hpp"
#include "shard/keyed.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

constexpr uint32_t kHomeSlotsAhead = 64;  // eight lines
constexpr uint32_t kSpareReturns = 64;

}  // namespace

void Shard::set_arena(std::unique_ptr<Arena> arena, uint64_t started_realtime_ns, void* line) {
  arena_ = std::move(arena);
  auto* const mark = new (arena_->allocate(sizeof(ArenaMark))) ArenaMark{};
  std::memcpy(mark->magic, kArenaMagic, sizeof(mark->magic));
  mark->started_realtime_ns = started_realtime_ns;
  mark->shard = index_;
  if (line == nullptr) line = arena_->allocate(sizeof(ShardLine), alignof(ShardLine));
  line_ = new (line) ShardLine();
  record_->arena_bytes.set(arena_->bytes());
  record_->arena_pages = static_cast<uint32_t>(arena_->kind());
  record_->arena_locked = arena_->locked() ? 1 : 0;
}

void Shard::add_input(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                      const Channel& ring) {
  inputs_.push_back(make_input(plan, index, record, ring, slot_count()));
  seen_.push_back(inputs_.back());
  consumers_.push_back(ring.consumer());
  if (!plan.packets) ++message_inputs_;
}

void Shard::add_output(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                       const Channel& ring, Bell bell, Sleeper* sleeper) {
  outputs_.push_back(make_output(plan, index, record, ring, bell, sleeper));
}

vanity_channel* Shard::make_input(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                                  const Channel& ring, uint32_t slot) {
  auto end = std::make_unique<vanity_channel>();
  end->slot = slot;
  end->name = plan.name;
  end->index = index;
  end->shard = this;
  end->record = record;
  end->packets = plan.packets;
  end->ring = ring;
  ends_.push_back(std::move(end));
  return ends_.back().get();
}

vanity_channel* Shard::make_output(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                                   const Channel& ring, Bell bell, Sleeper* sleeper) {
  auto end = std::make_unique<vanity_channel>();
  end->name = plan.name;
  end->index = index;
  end->shard = this;
  end->record = record;
  end->packets = plan.packets;
  end->overflow = plan.overflow;
  end->high = plan.high_watermark;
  end->low = plan.low_watermark;
  end->ring = ring;
  end->producer = ring.producer();
  end->bell = bell;
  end->sleeper = sleeper;
  ends_.push_back(std::move(end));
  return ends_.back().get();
}

vanity_channel* Shard::end_of(uint32_t index) noexcept {
  for (const auto& end : ends_) {
    if (end->index == index) return end.get();
  }
  return nullptr;
}

void Shard::forget_end(uint32_t index) noexcept {
  ends_.erase(std::remove_if(ends_.begin(), ends_.end(),
                             [index](const auto& end) { return end->index == index; }),
              ends_.end());
}

// One that watches its inputs itself needs no bells, however many they become. Where they ring, a
// byte is one input's own, or all are shared: neither becomes the other.
uint32_t Shard::free_slot() const noexcept {
  const bool own_bytes = ready_.by_bell() && !Doorbell::grouped(slot_count());
  const size_t most = std::min<size_t>(own_bytes ? Doorbell::kGroups : limits::kChannelsIntoShard,
                                       inputs_.capacity());
  for (uint32_t slot = 0; slot < most; ++slot) {
    const bool taken = std::any_of(ends_.begin(), ends_.end(), [slot](const auto& end) {
      return !end->producer && end->slot == slot;
    });
    if (!taken) return slot;
  }
  return kNone;
}

Bell Shard::bell_of(uint32_t slot) noexcept {
  return ready_.by_bell() ? Bell(&line_->doorbell, slot, slot_count()) : Bell();
}

uint32_t Shard::primary_slot() const noexcept {
  for (uint32_t i = 0; i < slot_count(); ++i) {
    if (inputs_[i] != nullptr && inputs_[i]->index == plan_.primary) return i;
  }
  return 0;
}

void Shard::owns_pool(Pool* pool) {
  if (owned_pools_.size() <= pool->index()) owned_pools_.resize(pool->index() + 1, nullptr);
  owned_pools_[pool->index()] = pool;
}

void Shard::add_home(uint32_t pool, const Channel& ring) {
  if (homes_.size() <= pool) {
    homes_.resize(pool + 1);
    home_rings_.resize(pool + 1);
  }
  home_rings_[pool] = ring;
  homes_[pool] = way_home(ring);
}

Producer Shard::way_home(const Channel& ring) noexcept {
  Producer home = ring.producer();
  home.own_in_advance(kHomeSlotsAhead);
  return home;
}

void Shard::add_returns(Pool* pool, const Channel& ring) {
  returns_.push_back({pool, ring.memory(), ring.consumer()});
}

void Shard::wire(const PoolTable* pools) {
  pools_ = pools;
  trail_.wire(pools);
  make_room();
  for (uint32_t i = 0; i < slot_count(); ++i) inputs_[i]->consumer = &consumers_[i];
  ready_ = Inputs(consumers_.data(), slot_count(), plan_.strategy, &line_->doorbell, primary_slot(),
                  needs_bell(slot_count()));
  polled_.reserve(rx_.size());
  if (seen_.empty()) polled_.resize(rx_.size());
  if (plan_.isolated) return;  // what it holds is counted where its process is outlived
  if (!contained() && plan_.kind != ProgramKind::typescript) return;
  for (uint32_t pool = 0; pool < owned_pools_.size(); ++pool) {
    if (owned_pools_[pool] != nullptr) held_.expect(pool, owned_pools_[pool]->buffers());
  }
  // A ring home has a slot for each buffer, or more, and two of them fit into one.
  for (uint32_t pool = 0; pool < homes_.size(); ++pool) {
    if (homes_[pool]) held_.expect(pool, homes_[pool].capacity());
  }
}

// What may come while it runs takes no memory then.
void Shard::make_room() {
  const auto slots = std::min(slot_count() + limits::kSpareChannels, limits::kChannelsIntoShard);
  inputs_.reserve(slots);
  consumers_.reserve(slots);
  returns_.reserve(returns_.size() + kSpareReturns);
  if (plan_.kind == ProgramKind::typescript) return;
  homes_.reserve(kPoolsMax);
  held_.make_room();
}

void Shard::vacate() {
  program_.reset();
  place_.reset();
  for (auto* ends : {&inputs_, &seen_, &outputs_}) ends->clear();
  consumers_.clear();
  ready_ = Inputs();
  ends_.clear();
  homes_.clear();
  home_rings_.clear();
  returns_.clear();
  owned_pools_.clear();
  own_pool_ = nullptr;
  rx_.clear();
  tx_.clear();
  held_ = HeldBook();
  line_left_ = std::make_unique<ShardLine>();
  line_->~ShardLine();
  line_ = line_left_.get();
  arena_.reset();
  // Its own may be another's by now.
  record_left_ = std::make_unique<ShardRecord>();
  record_ = record_left_.get();
  set_state(ShardState::stopped);
}

void Shard::contain() noexcept {
  uintptr_t begin;
  uintptr_t end;
  program_->text(&begin, &end);
  guard_.arm(begin, end);
  const vanity_api& api = confined() ? keyed_api() : kContainedApi;
  if (place_ == nullptr) {
    handle_.head.api = &api;
  } else {
    place_->api = api;  // which the program may have noted down
  }
}

vanity_channel* Shard::find_channel(const std::string& name) noexcept {
  for (const auto* ends : {&seen_, &outputs_}) {
    for (vanity_channel* const end : *ends) {
      if (end->name == name) return end;
    }
  }
  return nullptr;
}

Counter* Shard::user_counter(const std::string& name) {
  const std::lock_guard<std::mutex> lock(counters_mutex_);
  for (uint32_t i = 0; i < user_counters_; ++i) {
    if (name == record_->user[i].name) return &record_->user[i].value;
  }
  if (user_counters_ == limits::kUserCounters || name.empty() || name.size() > limits::kNameBytes) {
    throw Error("VANITY_E_PROGRAM_INIT",
                "shard " + plan_.name + ": counter \"" + name + "\": a program may have " +
                    std::to_string(limits::kUserCounters) + " counters, with names of 1 to " +
                    std::to_string(limits::kNameBytes) + " bytes");
  }
  DynamicCounter& counter = record_->user[user_counters_++];
  std::strncpy(counter.name, name.c_str(), sizeof(counter.name) - 1);
  return &counter.value;
}

void* Shard::arena_allocate(size_t bytes, size_t align) {
  return arena_->allocate(bytes, align);
}

void* Shard::program_allocate(size_t bytes, size_t align) {
  return (place_ == nullptr ? program_arena() : *place_->arena).allocate(bytes, align);
}

}  // namespace vanity
