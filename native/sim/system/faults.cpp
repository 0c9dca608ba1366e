#include "sim/system/faults.hpp"

#include <memory>
#include <utility>

#include "sim/world.hpp"

namespace vanity::sim {
namespace {

constexpr uint32_t kFaultsOneIn = 4;       // executions
constexpr uint32_t kFaultsMost = 2;        // of a shard
constexpr uint32_t kTurnsBetweenMost = 8;  // that do something
constexpr uint32_t kTakenMost = 4;         // packets, in the turn in which it faults

class Faulting : public Program {
 public:
  Faulting(std::unique_ptr<Program> stage, const ShardPlan& plan, uint32_t faults)
      : stage_(std::move(stage)), plan_(plan), faults_(faults) {
    draw_turns();
  }
  void init(Shard& shard) override { stage_->init(shard); }
  uint32_t poll(Shard& shard) noexcept override {
    if (faults_ != 0 && turns_ == 0) fault(shard);  // or when there is something to take
    const uint32_t work = stage_->poll(shard);
    if (work != 0 && turns_ != 0) --turns_;
    return work;
  }
  void fini(Shard& shard) override { stage_->fini(shard); }
  void watermark(Shard& shard, vanity_channel* channel, bool high) noexcept override {
    stage_->watermark(shard, channel, high);
  }
  bool renewable() const override { return true; }
  void renew() override { stage_ = make_stage(plan_); }
  uint64_t sleep_ns_max() const noexcept override { return stage_->sleep_ns_max(); }

 private:
  void draw_turns() {
    turns_ = World::current().draw(kTurnsBetweenMost);
    takes_ = World::current().draw(kTakenMost + 1);
  }
  void fault(Shard& shard) noexcept {
    vanity_packet packets[kTakenMost];
    if (takes_ != 0 && kContainedApi.receive(shard.handle(), packets, takes_) == 0) return;
    --faults_;
    World::current().say(plan_.name + ": its program faults, as drawn");
    draw_turns();
    shard.guard().leave(FaultKind::signal, "as drawn");
  }

  std::unique_ptr<Program> stage_;
  const ShardPlan& plan_;
  uint32_t faults_;
  uint32_t turns_ = 0;
  uint32_t takes_ = 0;
};

}  // namespace

void let_programs_fault(System& system) {
  World& world = World::current();
  if (world.draw(kFaultsOneIn) != 0) return;
  for (uint32_t s = 0; s < system.shard_count(); ++s) {
    Shard& shard = system.shard(s);
    Program& program = *shard.program();
    if (shard.plan().kind != ProgramKind::builtin || program.is_source()) continue;
    if (program.pool_buffers() != 0) continue;
    const uint32_t faults = world.draw(kFaultsMost + 1);
    if (faults == 0) continue;
    shard.set_program(std::make_unique<Faulting>(shard.give_program(), shard.plan(), faults));
    for (const auto& pool : system.pools()) shard.held().expect(pool->index(), pool->buffers());
    shard.contain();
  }
}

}  // namespace vanity::sim
