// count: reads every packet's headers, counts by protocol, passes it on or ends it.
#include "packet/flow.hpp"
#include "shard/shard.hpp"
#include "shard/stage/stages.hpp"

namespace vanity::stage {
namespace {

class Count : public Program {
 public:
  void init(Shard& shard) override {
    static constexpr const char* kNames[kClasses] = {"tcp",    "udp",  "icmp", "other_ip",
                                                     "not_ip", "ipv6", "vlan", "fragments"};
    for (uint32_t i = 0; i < kClasses; ++i) counters_[i] = shard.user_counter(kNames[i]);
  }

  uint32_t poll(Shard& shard) noexcept override {
    vanity_packet packets[limits::kBurstMax];
    const uint32_t got = shard.receive(packets, shard.burst());
    if (got == 0) return 0;
    uint32_t seen[kClasses] = {};
    for (uint32_t i = 0; i < got; ++i) classify(shard.data(packets[i]), packets[i].length, seen);
    for (uint32_t i = 0; i < kClasses; ++i) {
      if (seen[i] != 0) counters_[i]->add(seen[i]);
    }
    if (shard.output_count() > 0) {
      shard.send(0, packets, got);
    } else {
      shard.consume(packets, got);
    }
    return got;
  }

 private:
  enum Class { kTcp, kUdp, kIcmp, kOtherIp, kNotIp, kIpv6, kVlan, kFragments, kClasses };

  static void classify(const uint8_t* data, uint32_t length, uint32_t (&seen)[kClasses]) {
    // The plain case, which needs one look at the first line of the frame.
    if (length >= 38 && data[12] == 0x08 && data[13] == 0x00 && data[14] == 0x45 &&
        (data[20] & 0x3f) == 0 && data[21] == 0) [[likely]] {
      ++seen[by_protocol(data[23])];
      return;
    }
    FlowKey key;
    if (!parse_flow(data, length, key) || key.ip_version == 0) {
      ++seen[kNotIp];
      return;
    }
    ++seen[by_protocol(key.protocol)];
    seen[kIpv6] += key.ip_version == 6;
    seen[kVlan] += key.vlan_tags != 0;
    seen[kFragments] += key.fragment;
  }

  static Class by_protocol(uint8_t protocol) {
    switch (protocol) {
      case 6:
        return kTcp;
      case 17:
        return kUdp;
      case 1:
      case 58:
        return kIcmp;
      default:
        return kOtherIp;
    }
  }

  Counter* counters_[kClasses] = {};
};

}  // namespace

std::unique_ptr<Program> make_count(const ShardPlan&) {
  return std::make_unique<Count>();
}

}  // namespace vanity::stage
