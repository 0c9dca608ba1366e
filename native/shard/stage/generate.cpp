// generate: makes UDP/IPv4 frames. Options: size (bytes of the frame), flows (source ports), rate
// (packets a second, 0 = as fast as there is room), count (packets in all, 0 = for ever).
#include <algorithm>
#include <atomic>
#include <cstring>

#include "platform/clock.hpp"
#include "shard/shard.hpp"
#include "shard/stage/stages.hpp"

namespace vanity::stage {
namespace {

constexpr uint32_t kFrameMin = 60;
constexpr uint32_t kFrameMax = 9000;
constexpr uint32_t kFlowsMax = 60000;
constexpr uint16_t kFirstPort = 1024;
constexpr uint64_t kSleepNsMax = 1'000'000;
constexpr uint32_t kIpOffset = 14;
constexpr uint32_t kUdpOffset = 34;

void put16(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}

// RFC 1071 over the 20 bytes of an IPv4 header whose checksum field is 0.
uint16_t ipv4_checksum(const uint8_t* header) {
  uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += static_cast<uint32_t>(header[i] << 8 | header[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

class Generate : public Program {
 public:
  explicit Generate(const ShardPlan& plan)
      : size_(static_cast<uint32_t>(option_number(plan.options, "size", 64, kFrameMin, kFrameMax))),
        flows_(static_cast<uint32_t>(option_number(plan.options, "flows", 64, 1, kFlowsMax))),
        rate_(option_number(plan.options, "rate", 0, 0, 1'000'000'000)),
        count_(option_number(plan.options, "count", 0, 0, UINT64_MAX)),
        buffers_(static_cast<uint32_t>(
            option_number(plan.options, "buffers", 4096, 64, limits::kPoolBuffersMax))) {
    uint8_t* frame = template_;
    const uint8_t macs[12] = {0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1};  // locally administered
    std::memcpy(frame, macs, sizeof(macs));
    put16(frame + 12, 0x0800);
    uint8_t* ip = frame + kIpOffset;
    ip[0] = 0x45;
    put16(ip + 2, size_ - kIpOffset);
    put16(ip + 6, 0x4000);  // don't fragment
    ip[8] = 64;
    ip[9] = 17;
    const uint8_t ends[8] = {192, 0, 2, 1, 198, 51, 100, 1};  // RFC 5737 documentation networks
    std::memcpy(ip + 12, ends, sizeof(ends));
    put16(ip + 10, ipv4_checksum(ip));
    uint8_t* udp = frame + kUdpOffset;
    put16(udp + 2, 9);  // discard
    put16(udp + 4, size_ - kUdpOffset);
    // A UDP checksum of 0 means none (RFC 768).
  }

  bool is_source() const override { return true; }
  uint32_t pool_buffers() const override { return buffers_; }
  uint32_t pool_buffer_bytes() const override {
    return std::max(limits::kBufferBytesMin, (VANITY_FRAME_OFFSET + size_ + 63) / 64 * 64);
  }
  bool finished() const noexcept override { return finished_.load(std::memory_order_relaxed); }
  uint64_t sleep_ns_max() const noexcept override {
    if (finished()) return UINT64_MAX;
    if (rate_ == 0) return 0;  // waits for buffers, which come home without a signal
    return std::min<uint64_t>(1'000'000'000 / rate_, kSleepNsMax);
  }
  void init(Shard&) override { started_ = now_ticks(); }

  uint32_t poll(Shard& shard) noexcept override {
    if (shard.stopping()) return 0;
    uint64_t want = shard.burst();
    if (count_ != 0) want = std::min(want, count_ - made_);
    if (rate_ != 0) want = std::min(want, due());
    if (want == 0) return 0;
    vanity_packet packets[limits::kBurstMax];
    const uint32_t got = shard.allocate(packets, static_cast<uint32_t>(want));
    for (uint32_t i = 0; i < got; ++i) {
      uint8_t* frame = shard.data(packets[i]);
      std::memcpy(frame, template_, kHeaderBytes);
      put16(frame + kUdpOffset, kFirstPort + flow_);
      if (++flow_ == flows_) flow_ = 0;
      packets[i].length = static_cast<uint16_t>(size_);
    }
    if (got == 0) return 0;
    made_ += got;
    // A word for the kernel; nothing else is published with it.
    if (made_ == count_) finished_.store(true, std::memory_order_relaxed);
    shard.originated(got, uint64_t{got} * size_);
    shard.send(next_, packets, got);
    if (++next_ >= shard.output_count()) next_ = 0;
    return got;
  }

 private:
  static constexpr uint32_t kHeaderBytes = 42;

  // Packets the clock allows by now; what a late turn missed is made up for, a second at most.
  uint64_t due() noexcept {
    const double elapsed = static_cast<double>(now_ticks() - started_);
    const auto allowed =
        static_cast<uint64_t>(elapsed * static_cast<double>(rate_) / ticks_per_second_);
    if (allowed > made_ + rate_) {
      const uint64_t skipped = allowed - made_ - rate_;
      started_ += static_cast<uint64_t>(static_cast<double>(skipped) * ticks_per_second_ /
                                        static_cast<double>(rate_));
      return rate_;
    }
    return allowed > made_ ? allowed - made_ : 0;
  }

  const uint32_t size_;
  const uint32_t flows_;
  const uint64_t rate_;
  const uint64_t count_;
  const uint32_t buffers_;
  const double ticks_per_second_ = static_cast<double>(ticks_per_second());
  uint64_t started_ = 0;
  uint64_t made_ = 0;
  std::atomic<bool> finished_{false};
  uint32_t flow_ = 0;
  uint32_t next_ = 0;
  uint8_t template_[kHeaderBytes] = {};
};

}  // namespace

std::unique_ptr<Program> make_generate(const ShardPlan& plan) {
  return std::make_unique<Generate>(plan);
}

}  // namespace vanity::stage
