// port/port.hpp: whatever the driver, frames come when and as many as is drawn, until there were as
// many as were asked for; and what is sent is taken as is drawn. Or else it is a device (nic).
#include "port/port.hpp"

#include <algorithm>
#include <cstring>

#include "sim/system/nic.hpp"
#include "sim/system/port.hpp"
#include "vanity/limits.hpp"
#include "vanity/platform.hpp"

namespace vanity {
namespace {

constexpr uint32_t kMarkAt = 42;
constexpr uint32_t kGaps = 16;  // between bursts: 0 to 15 times as long

uint32_t draw(uint32_t options) {
  return sim::World::current().draw(options);
}

class Arrivals final : public RxQueue {
 public:
  Arrivals(QueueRecord* record, uint16_t port, uint32_t queue, uint32_t packets) noexcept
      : RxQueue(record), port_(port), queue_(queue), left_(packets) {}

  uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept override {
    const uint64_t now = now_ticks();
    if (left_ == 0 || now < due_ || n == 0) return 0;
    const uint32_t got = pool.take(packets, 1 + draw(std::min(n, left_)));
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < got; ++i) {
      packets[i].hash = 0;
      packets[i].offset = VANITY_FRAME_OFFSET;
      packets[i].length = sim::kFrameBytes;
      packets[i].port = port_;
      packets[i].flags = 0;
      sim::write_frame(pool.buffer(packets[i].buffer) + VANITY_FRAME_OFFSET,
                       sim::mark_for(next_, port_, queue_));
      ++next_;
      bytes += sim::kFrameBytes;
    }
    left_ -= got;
    due_ = now + draw(kGaps) * sim::arrivals_gap_ns;
    if (got == 0) return 0;
    record_->packets.add(got);
    record_->bytes.add(bytes);
    record_->bursts.add(1);
    return got;
  }
  uint64_t sleep_ns_max() noexcept override {
    if (left_ == 0) return kSleepForever;
    const uint64_t now = now_ticks();
    return due_ > now ? due_ - now : 0;
  }
  bool finished() const noexcept override { return left_ == 0; }

 private:
  const uint16_t port_;
  const uint32_t queue_;
  uint32_t left_;
  uint32_t next_ = 0;
  uint64_t due_ = 0;
};

class Departures final : public TxQueue {
 public:
  using TxQueue::TxQueue;
  uint32_t transmit(const PoolTable&, const vanity_packet* packets, uint32_t n) noexcept override {
    const uint32_t taken = n - draw(n + 1);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < taken; ++i) bytes += packets[i].length;
    record_->packets.add(taken);
    record_->bytes.add(bytes);
    record_->bursts.add(1);
    return taken;
  }
};

class SimulatedPort final : public Port {
 public:
  SimulatedPort(const PortOptions& options, const PortRecords& records) : Port(records.port) {
    for (QueueRecord* record : records.rx) {
      rx_.push_back(std::make_unique<Arrivals>(
          record, options.index, static_cast<uint32_t>(rx_.size()), sim::arrivals_of_a_queue));
    }
    for (QueueRecord* record : records.tx) tx_.push_back(std::make_unique<Departures>(record));
  }
  RxQueue& rx(uint32_t queue) override { return *rx_[queue]; }
  TxQueue& tx(uint32_t queue) override { return *tx_[queue]; }
  void start() override { set_state(PortState::up); }
  void service() noexcept override {
    if (rx_.empty()) return;
    const bool over =
        std::all_of(rx_.begin(), rx_.end(), [](const auto& queue) { return queue->finished(); });
    if (over) set_state(PortState::finished);
  }

 private:
  std::vector<std::unique_ptr<Arrivals>> rx_;
  std::vector<std::unique_ptr<Departures>> tx_;
};

}  // namespace

// UDP over IPv4; the flow is its source port, the mark stands behind the headers.
void sim::write_frame(uint8_t* frame, const FrameMark& mark) noexcept {
  static constexpr uint8_t kHeaders[kMarkAt] = {
      2, 0,  0,  0, 0, 2,   2, 0, 0, 0,   0,  1,   8, 0, 69, 0, 0, 50, 0,  0, 64,
      0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1, 0, 0,  0, 9, 0,  30, 0, 0};
  std::memset(frame, 0, kFrameBytes);
  std::memcpy(frame, kHeaders, sizeof(kHeaders));
  frame[34] = static_cast<uint8_t>(mark.flow >> 8);
  frame[35] = static_cast<uint8_t>(mark.flow);
  std::memcpy(frame + kMarkAt, &mark, sizeof(mark));
}

sim::FrameMark sim::mark_for(uint32_t number, uint16_t port, uint32_t queue) noexcept {
  constexpr uint32_t kFlows = 8;
  return {FrameMark::kMagic, number, uint32_t{port} << 16 | queue, number % kFlows};
}
sim::FrameMark sim::mark_of(const uint8_t* frame) noexcept {
  FrameMark mark;
  std::memcpy(&mark, frame + kMarkAt, sizeof(mark));
  return mark;
}

std::unique_ptr<Port> create_port(const PortOptions& options, const PortRecords& records) {
  if (options.user != nullptr) return sim::create_nic_port(options, records);
  return std::make_unique<SimulatedPort>(options, records);
}

}  // namespace vanity
