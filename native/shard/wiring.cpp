// How the kernel joins a shard to its channels, ports and pools, before its thread starts.
#include <algorithm>
#include <cstring>
#include <new>

#include "platform/error.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

constexpr uint32_t kHomeSlotsAhead = 64;  // eight lines

}  // namespace

void Shard::set_arena(std::unique_ptr<Arena> arena, uint64_t started_realtime_ns) {
  arena_ = std::move(arena);
  auto* const mark = new (arena_->allocate(sizeof(ArenaMark))) ArenaMark{};
  std::memcpy(mark->magic, kArenaMagic, sizeof(mark->magic));
  mark->started_realtime_ns = started_realtime_ns;
  mark->shard = index_;
  line_ = new (arena_->allocate(sizeof(ShardLine), alignof(ShardLine))) ShardLine();
  record_->arena_bytes.set(arena_->bytes());
  record_->arena_pages = static_cast<uint32_t>(arena_->kind());
  record_->arena_locked = arena_->locked() ? 1 : 0;
}

void Shard::add_input(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                      const Channel& ring) {
  auto end = std::make_unique<vanity_channel>();
  end->name = plan.name;
  end->index = index;
  end->shard = this;
  end->record = record;
  end->packets = plan.packets;
  end->ring = ring;
  if (!plan.packets) ++message_inputs_;
  inputs_.push_back(std::move(end));
  consumers_.push_back(ring.consumer());
}

void Shard::add_output(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
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
  outputs_.push_back(std::move(end));
}

void Shard::owns_pool(Pool* pool) {
  if (owned_pools_.size() <= pool->index()) owned_pools_.resize(pool->index() + 1, nullptr);
  owned_pools_[pool->index()] = pool;
}

void Shard::add_home(uint32_t pool, const Producer& producer) {
  if (homes_.size() <= pool) homes_.resize(pool + 1);
  homes_[pool] = producer;
  homes_[pool].own_in_advance(kHomeSlotsAhead);
}

void Shard::add_returns(Pool* pool, const Consumer& consumer) {
  returns_.push_back({pool, consumer});
}

void Shard::wire(const PoolTable* pools) {
  pools_ = pools;
  trail_.wire(pools);
  uint32_t primary = 0;
  for (uint32_t i = 0; i < inputs_.size(); ++i) {
    inputs_[i]->consumer = &consumers_[i];
    if (inputs_[i]->index == plan_.primary) primary = i;
  }
  ready_ = Inputs(consumers_.data(), input_count(), plan_.strategy, &line_->doorbell, primary,
                  needs_bell(input_count()));
  if (inputs_.empty()) polled_.resize(rx_.size());
  if (!contained() && plan_.kind != ProgramKind::typescript) return;
  for (uint32_t pool = 0; pool < owned_pools_.size(); ++pool) {
    if (owned_pools_[pool] != nullptr) held_.expect(pool, owned_pools_[pool]->buffers());
  }
  // A ring home has a slot for each buffer, or more, and two of them fit into one.
  for (uint32_t pool = 0; pool < homes_.size(); ++pool) {
    if (homes_[pool]) held_.expect(pool, homes_[pool].capacity());
  }
}

void Shard::contain() noexcept {
  uintptr_t begin;
  uintptr_t end;
  program_->text(&begin, &end);
  guard_.arm(begin, end);
  if (place_ == nullptr) {
    handle_.head.api = &kContainedApi;
  } else {
    place_->api = kContainedApi;  // which the program may have noted down
  }
}

vanity_channel* Shard::find_channel(const std::string& name) noexcept {
  for (const auto* ends : {&inputs_, &outputs_}) {
    for (const auto& end : *ends) {
      if (end->name == name) return end.get();
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
  return (place_ == nullptr ? *arena_ : *place_->arena).allocate(bytes, align);
}

}  // namespace vanity
