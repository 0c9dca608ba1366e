// mirror: every output gets every packet. The buffer is shared, not copied: its owners are counted,
// and whoever receives a packet flagged VANITY_PACKET_SHARED must not write to it.
#include "packet/checksum.hpp"
#include "shard/shard.hpp"
#include "shard/stage/stages.hpp"

namespace vanity::stage {
namespace {

class Mirror : public Program {
 public:
  uint32_t poll(Shard& shard) noexcept override {
    vanity_packet packets[limits::kBurstMax];
    const uint32_t got = shard.receive(packets, shard.burst());
    if (got == 0) return 0;
    const uint32_t outputs = shard.output_count();
    if (outputs == 0) shard.consume(packets, got);
    if (outputs > 1) {
      for (uint32_t i = 0; i < got; ++i) {
        if ((packets[i].flags & VANITY_PACKET_CHECKSUM_PARTIAL) != 0) {
          finish_checksum(shard.data(packets[i]) - packets[i].offset, packets[i]);
          packets[i].flags &= static_cast<uint16_t>(~VANITY_PACKET_CHECKSUM_PARTIAL);
        }
        shard.share(packets[i], outputs);
      }
    }
    for (uint32_t output = 0; output < outputs; ++output) shard.send(output, packets, got);
    return got;
  }
};

}  // namespace

std::unique_ptr<Program> make_mirror(const ShardPlan&) {
  return std::make_unique<Mirror>();
}

}  // namespace vanity::stage
