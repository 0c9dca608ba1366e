// What VIRTIO 1.2 §5.1 says of network devices.
#pragma once

#include <cstdint>

#include "vanity/packet.h"

namespace vanity::virtio_net {

// §5.1.3
namespace feature {
inline constexpr unsigned kChecksum = 0, kGuestChecksum = 1, kMtu = 3, kMac = 5;
inline constexpr unsigned kMergeableBuffers = 15, kStatus = 16, kControlQueue = 17;
inline constexpr unsigned kControlRx = 18, kMultiQueue = 22, kControlMac = 23;
}  // namespace feature

// §5.1.4, offsets in the device's configuration
namespace config {
inline constexpr uint32_t kStatus = 6, kPairsMax = 8, kMtu = 10;
inline constexpr uint16_t kLinkUp = 1;
}  // namespace config

// §5.1.6.5
struct Command {
  uint8_t kind;
  uint8_t what;
};
inline constexpr Command kPromiscuous{0, 0}, kSetMac{1, 1}, kSetPairs{4, 0};
inline constexpr uint8_t kAccepted = 0;

// §5.1.6: in front of every frame, both ways.
struct NetHeader {
  static constexpr uint8_t kNeedsChecksum = 1, kDataValid = 2;
  static constexpr uint8_t kNotSegmented = 0;
  uint8_t flags;
  uint8_t gso_type;
  uint16_t header_bytes;
  uint16_t gso_size;
  uint16_t checksum_start;  // from the frame's first byte
  uint16_t checksum_offset;
  uint16_t buffers;  // of one frame, with VIRTIO_NET_F_MRG_RXBUF; else 1
};
static_assert(sizeof(NetHeader) == 12);

// The header lies right in front of the frame, so that one descriptor tells of both. Of a packet
// that goes out it covers what of vanity_packet_meta comes last, which nobody reads any more,
// unless the buffer is shared. One that comes in begins a line of its own: a device that is a
// processor looks at the old header and writes only what differs, so a line that nobody writes in
// between (as vanity_packet_meta is) stays with it.
inline constexpr uint32_t kHeaderOffset = 128;
inline constexpr uint32_t kRxFrameOffset = kHeaderOffset + sizeof(NetHeader);
static_assert(kHeaderOffset >= VANITY_FRAME_OFFSET);

inline constexpr uint32_t kEthernetHeader = 14;
inline constexpr uint32_t kVlanTag = 4;

}  // namespace vanity::virtio_net
