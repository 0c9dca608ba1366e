#include "wake/virtio_user.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "platform/error.hpp"

namespace vanity::wake {
namespace {

constexpr uint32_t kFrameBytes = 60;

}  // namespace

VirtioUser::VirtioUser(uint32_t cpu, WaitTuning tuning, Dates)
    : call_(make_eventfd()),
      kernel_(cpu, call_.get()),
      memory_(kRingBytes + Pool::memory_bytes(kBuffers, kBufferBytes), kAnyNode, PageChoice::small,
              Sharing::sealed),
      ring_(static_cast<std::byte*>(memory_.allocate(kRingBytes, virtio::kMemoryAlign))),
      waiter_(choose_backend("auto"), tuning, &kernel_.shard().sleeper),
      pool_(0, kBuffers, kBufferBytes,
            memory_.allocate(Pool::memory_bytes(kBuffers, kBufferBytes))),
      pool_address_(address_of(reinterpret_cast<std::byte*>(pool_.base()))),
      driver_(&driver_record_, {0, kRing, 0, kBufferBytes, kPollNs, true, &buffers_, std::nullopt}),
      frame_memory_(Pool::memory_bytes(1, kBufferBytes), kAnyNode, PageChoice::small),
      frame_pool_(0, 1, kBufferBytes, frame_memory_.allocate(Pool::memory_bytes(1, kBufferBytes))),
      back_end_(&back_end_record_) {
  buffers_.add(pool_, &pool_address_, 63);
  driver_.set_line(&kernel_.line());
  share_memory();
  join_ring();
  frames_.add(frame_pool_);
  frame_pool_.take(&packet_, 1);
  packet_.offset = VANITY_FRAME_OFFSET;
  packet_.length = kFrameBytes;
  std::memset(frames_.data(packet_), 0, kFrameBytes);
  receive();  // which gives the ring its buffers
}

void VirtioUser::share_memory() {
  vhost::MemoryTable table{};
  table.count = 1;
  table.regions[0] = {kAddress, memory_.bytes(), kAddress, 0};
  std::array<Fd, vhost::kFdsMax> files;
  files[0] = Fd(fcntl(memory_.fd(), F_DUPFD_CLOEXEC, 0));
  if (!files[0]) throw system_error("VANITY_E_MEMORY", "a descriptor", errno);
  peer_ = std::make_unique<vhost::PeerMemory>(table, files);
}

void VirtioUser::join_ring() {
  const auto layout = virtio::RingLayout::of(false, kRing);
  driver_.renew(ring_, virtio::Notifier([](void*, uint32_t) noexcept {}, nullptr),
                {{}, false, false, false, kBufferBytes});
  const auto at = [&](uint32_t part) {
    return peer_->of_user(address_of(ring_) + part, layout.bytes - part);
  };
  back_end_.renew({virtio::bit(virtio::feature::kVersion1),
                   {at(layout.descriptors), at(layout.driver), at(layout.device)},
                   kRing,
                   virtio::SplitDevice::kBaseOfNew,
                   call_.get(),
                   false,
                   0,
                   peer_.get()});
  driver_.tenure.revive();
  back_end_.tenure.revive();
}

}  // namespace vanity::wake
