// filter: option expression, in libpcap's language. What matches goes to the first output, or ends
// here when there is none; the rest to the second output, or is discarded.
#include "packet/filter.hpp"

#include "platform/error.hpp"
#include "shard/shard.hpp"
#include "shard/stage/stages.hpp"

namespace vanity::stage {
namespace {

std::string expression_of(const ShardPlan& plan) {
  const auto found = plan.options.find("expression");
  return found == plan.options.end() ? std::string() : found->second;
}

class FilterStage : public Program {
 public:
  explicit FilterStage(const ShardPlan& plan) : filter_(expression_of(plan)) {}

  uint32_t poll(Shard& shard) noexcept override {
    vanity_packet packets[limits::kBurstMax];
    const uint32_t got = shard.receive(packets, shard.burst());
    if (got == 0) return 0;
    vanity_packet matched[limits::kBurstMax];
    vanity_packet rest[limits::kBurstMax];
    uint32_t matches = 0;
    uint32_t others = 0;
    for (uint32_t i = 0; i < got; ++i) {
      const vanity_packet& packet = packets[i];
      // The wire length is in the line in front of the frame; a filter may ask for it ("greater").
      if (filter_.matches(shard.data(packet), packet.length, shard.wire_length(packet))) {
        matched[matches++] = packet;
      } else {
        rest[others++] = packet;
      }
    }
    if (matches != 0) {
      if (shard.output_count() > 0) {
        shard.send(0, matched, matches);
      } else {
        shard.consume(matched, matches);
      }
    }
    if (others != 0) {
      if (shard.output_count() > 1) {
        shard.send(1, rest, others);
      } else {
        shard.discard(rest, others);
      }
    }
    return got;
  }

 private:
  Filter filter_;
};

}  // namespace

std::unique_ptr<Program> make_filter(const ShardPlan& plan) {
  return std::make_unique<FilterStage>(plan);
}

}  // namespace vanity::stage
