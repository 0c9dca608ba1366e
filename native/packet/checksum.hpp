// The Internet checksum (RFC 1071), and finishing one that a sender left to its device.
#pragma once

#include <cstdint>

#include "vanity/packet.h"

namespace vanity {

namespace checksum {
// Of a range, unfolded; wide enough for 64 KiB and more.
uint64_t sum(const uint8_t* data, uint32_t bytes) noexcept;
inline uint16_t fold(uint64_t total) noexcept {
  while (total > 0xffff) total = (total >> 16) + (total & 0xffff);
  return static_cast<uint16_t>(total);
}
}  // namespace checksum

// Finishes a checksum the way virtio asks for it (VIRTIO 1.2 §5.1.6.2: csum_start, csum_offset).
// False when the offsets lie outside the frame.
bool complete_checksum(uint8_t* frame, uint32_t length, uint32_t start, uint32_t offset) noexcept;

// Is there a checksum to finish, and does it lie inside the frame?
inline bool checksum_due(const vanity_packet& packet,
                         const vanity_packet_offload& offload) noexcept {
  return offload.checksum_start >= packet.offset &&
         offload.checksum_field >= offload.checksum_start &&
         offload.checksum_field + 2u <= uint32_t{packet.offset} + packet.length;
}

// Of a packet with VANITY_PACKET_CHECKSUM_PARTIAL, in `buffer`. Again does nothing: a packet that
// could not be sent may be sent again. False: nothing was to be done, or it was nonsense.
bool finish_checksum(uint8_t* buffer, const vanity_packet& packet) noexcept;

}  // namespace vanity
