// port-rx, port-tx, forward: whatever comes in goes out. With several outputs, bursts take turns.
#include "shard/shard.hpp"
#include "shard/stage/stages.hpp"

namespace vanity::stage {
namespace {

class Forward : public Program {
 public:
  uint32_t poll(Shard& shard) noexcept override {
    vanity_packet packets[limits::kBurstMax];
    const uint32_t got = shard.receive(packets, shard.burst());
    if (got == 0) return 0;
    shard.send(next_, packets, got);
    if (++next_ >= shard.output_count()) next_ = 0;
    return got;
  }

 private:
  uint32_t next_ = 0;
};

}  // namespace

std::unique_ptr<Program> make_forward(const ShardPlan&) {
  return std::make_unique<Forward>();
}

}  // namespace vanity::stage
