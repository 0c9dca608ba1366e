// What a network card would do to a frame before it is on a wire, done here: between interfaces of
// one machine the kernel passes frames on with the checksum unfinished and TCP unsegmented.
#pragma once

#include <cstdint>

namespace vanity {

// VIRTIO 1.2 §5.1.6: what stands before a frame of a socket with PACKET_VNET_HDR. Not from
// linux/virtio_net.h, which C++ does not take everywhere.
struct OffloadHeader {
  static constexpr uint8_t kNeedsChecksum = 1;
  static constexpr uint8_t kNotSegmented = 0;
  uint8_t flags;
  uint8_t gso_type;
  uint16_t header_bytes;
  uint16_t gso_size;
  uint16_t checksum_start;
  uint16_t checksum_offset;
};
static_assert(sizeof(OffloadHeader) == 10);

// Cuts one TCP (or UDP_SEGMENT) frame of up to 64 KiB into frames of the size the sender meant.
class Segmenter {
 public:
  // False: nothing that can be cut. `frame` must stay until the last segment is taken.
  bool begin(const uint8_t* frame, uint32_t length, const OffloadHeader& offload) noexcept;
  bool more() const noexcept { return done_ < payload_; }
  // Bytes of the next segment, before it is taken.
  uint32_t next_length() const noexcept;
  // Writes the next segment, headers made right and checksums complete.
  void take(uint8_t* to) noexcept;
  // Leaves the next segment out.
  void skip() noexcept;

 private:
  uint32_t chunk() const noexcept;

  const uint8_t* frame_ = nullptr;
  uint32_t header_ = 0;  // bytes up to the payload
  uint32_t l3_ = 0;
  uint32_t l4_ = 0;
  uint32_t payload_ = 0;
  uint32_t done_ = 0;
  uint32_t size_ = 0;
  uint16_t index_ = 0;
  uint8_t version_ = 0;
  uint8_t protocol_ = 0;
};

}  // namespace vanity
