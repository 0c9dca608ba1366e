// Commands to a network device (VIRTIO 1.2 §5.1.6.5), one at a time, each with a time limit. On the
// port's thread.
#pragma once

#include <cstring>
#include <memory>

#include "platform/clock.hpp"
#include "platform/nap.hpp"
#include "port/virtio_net/net_header.hpp"
#include "virtio/packed_ring.hpp"
#include "virtio/split_ring.hpp"
#include "virtio/transport.hpp"

namespace vanity::virtio_net {

enum class Answer : uint8_t { accepted, refused, none };

class ControlQueue {
 public:
  static constexpr uint16_t kSize = 8;
  static constexpr uint32_t kDataBytesMax = 16;
  // Behind the ring, in the same memory: command, data, answer.
  static constexpr uint32_t kScratchBytes = 128;

  virtual ~ControlQueue() = default;
  // `none`: it did not answer in time, or with nonsense; the queue is good for nothing then.
  virtual Answer send(Command command, const void* data, uint32_t bytes) noexcept = 0;
};

template <class Ring>
class ControlRing final : public ControlQueue {
 public:
  ControlRing(uint16_t queue, uint16_t size, virtio::SharedMemory memory,
              virtio::RingFeatures features, virtio::Notifier notify, uint64_t ns_max = 250'000'000)
      : ring_(size, memory.data, features), notify_(notify), ns_max_(ns_max), queue_(queue) {
    const uint32_t at = virtio::RingLayout::of(Ring::kPacked, size).bytes;
    scratch_ = memory.data + at;
    address_ = memory.address + at;
  }

  Answer send(Command command, const void* data, uint32_t bytes) noexcept override {
    if (ring_.broken() || ring_.free_count() < 3) return Answer::none;
    std::memcpy(scratch_, &command, sizeof command);
    std::memcpy(scratch_ + kData, data, bytes);
    uint8_t* const answer = reinterpret_cast<uint8_t*>(scratch_ + kAnswer);
    virtio::put(*answer, uint8_t{0xff});
    const virtio::Part parts[3] = {{address_, sizeof command, false},
                                   {address_ + kData, bytes, false},
                                   {address_ + kAnswer, 1, true}};
    ring_.add_chain(parts, 3, 0);
    if (ring_.publish()) notify_(ring_.notification(queue_));
    const uint64_t end = monotonic_ns() + ns_max_;
    virtio::Used used;
    while (ring_.collect(&used, 1) == 0) {
      if (ring_.broken() || monotonic_ns() >= end) return Answer::none;
      nap_ns(kLookNs);
    }
    return virtio::look(*answer) == kAccepted ? Answer::accepted : Answer::refused;
  }

 private:
  static constexpr uint32_t kData = 16, kAnswer = 64;
  static constexpr uint64_t kLookNs = 50'000;

  Ring ring_;
  virtio::Notifier notify_;
  uint64_t ns_max_;
  std::byte* scratch_;
  uint64_t address_;
  uint16_t queue_;
};

}  // namespace vanity::virtio_net
