// sink: packets end here; messages too.
#include "shard/shard.hpp"
#include "shard/stage/stages.hpp"

namespace vanity::stage {
namespace {

class Sink : public Program {
 public:
  uint32_t poll(Shard& shard) noexcept override {
    vanity_packet packets[limits::kBurstMax];
    const uint32_t got = shard.receive(packets, shard.burst());
    if (got != 0) shard.consume(packets, got);
    return got;
  }
};

}  // namespace

std::unique_ptr<Program> make_sink(const ShardPlan&) {
  return std::make_unique<Sink>();
}

}  // namespace vanity::stage
