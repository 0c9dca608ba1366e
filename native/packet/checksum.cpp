#include "packet/checksum.hpp"

#include <cstring>

#include "packet/flow.hpp"

namespace vanity {

using flow_detail::be16;
using flow_detail::be32;

namespace checksum {

uint64_t sum(const uint8_t* data, uint32_t bytes) noexcept {
  uint64_t total = 0;
  for (; bytes >= 4; data += 4, bytes -= 4) total += be32(data);
  if (bytes >= 2) {
    total += be16(data);
    data += 2;
    bytes -= 2;
  }
  if (bytes == 1) total += static_cast<uint32_t>(data[0]) << 8;
  return total;
}

}  // namespace checksum

bool complete_checksum(uint8_t* frame, uint32_t length, uint32_t start, uint32_t offset) noexcept {
  if (start + offset + 2 > length) return false;
  // The field already holds the sum of the pseudo header.
  const uint16_t complement =
      static_cast<uint16_t>(~checksum::fold(checksum::sum(frame + start, length - start)));
  const uint16_t sum = complement == 0 ? 0xffff : complement;
  frame[start + offset] = static_cast<uint8_t>(sum >> 8);
  frame[start + offset + 1] = static_cast<uint8_t>(sum);
  return true;
}

bool finish_checksum(uint8_t* buffer, const vanity_packet& packet) noexcept {
  vanity_packet_offload offload;
  std::memcpy(&offload, buffer + VANITY_OFFLOAD_OFFSET, sizeof offload);
  if (!checksum_due(packet, offload)) return false;
  const uint32_t start = offload.checksum_start - packet.offset;
  complete_checksum(buffer + packet.offset, packet.length, start,
                    offload.checksum_field - offload.checksum_start);
  offload = {};
  std::memcpy(buffer + VANITY_OFFLOAD_OFFSET, &offload, sizeof offload);
  return true;
}

}  // namespace vanity
