// flow-split: all packets of a flow, in both directions, go to the same output.
#include <vector>

#include "packet/flow.hpp"
#include "shard/shard.hpp"
#include "shard/stage/stages.hpp"

namespace vanity::stage {
namespace {

class FlowSplit : public Program {
 public:
  void init(Shard& shard) override {
    lanes_.reserve(shard.output_count() + limits::kSpareChannels);
    lanes_.resize(shard.output_count());
  }

  uint32_t poll(Shard& shard) noexcept override {
    vanity_packet packets[limits::kBurstMax];
    const uint32_t got = shard.receive(packets, shard.burst());
    if (got == 0) return 0;
    const uint64_t outputs = shard.output_count();
    if (outputs != lanes_.size()) [[unlikely]]
      lanes_.resize(outputs);  // there is room for those that come
    for (uint32_t i = 0; i < got; ++i) {
      vanity_packet& packet = packets[i];
      if (packet.hash == 0) packet.hash = flow_hash(shard.data(packet), packet.length);
    }
    if (outputs == 1) {
      shard.send(0, packets, got);
      return got;
    }
    for (uint32_t i = 0; i < got; ++i) {
      // The high bits choose, by multiplication: even for any number of outputs, no division.
      Lane& lane = lanes_[(packets[i].hash * outputs) >> 32];
      lane.packets[lane.count++] = packets[i];
    }
    for (uint32_t i = 0; i < outputs; ++i) {
      if (lanes_[i].count == 0) continue;
      shard.send(i, lanes_[i].packets, lanes_[i].count);
      lanes_[i].count = 0;
    }
    return got;
  }

 private:
  struct Lane {
    uint32_t count = 0;
    vanity_packet packets[limits::kBurstMax];
  };
  std::vector<Lane> lanes_;
};

}  // namespace

std::unique_ptr<Program> make_flow_split(const ShardPlan&) {
  return std::make_unique<FlowSplit>();
}

}  // namespace vanity::stage
