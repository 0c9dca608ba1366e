// Which flow a frame belongs to. The hash is symmetric (both directions of a conversation get the
// same value), never 0, and the same on every processor: a multiply-mix of big-endian loads, no CRC
// instruction. Nothing outside [data, data + length) is ever read.
//
// Hashed over: addresses and ports of TCP and UDP; addresses and protocol of other IP packets and
// of every fragment (only the first has ports, and the fragments of a datagram belong together);
// the MAC pair and EtherType of everything else. VLAN tags are looked through, not hashed.
#pragma once

#include <cstdint>
#include <cstring>

namespace vanity {

inline constexpr uint32_t kVlanTagsMax = 4;
inline constexpr uint32_t kIpv6ExtensionsMax = 8;

struct FlowKey {
  uint64_t source[2];       // IPv4: {0, address}; IPv6: the address as two big-endian words
  uint64_t destination[2];  // without IP: {0, MAC}
  uint16_t source_port;     // 0 without ports
  uint16_t destination_port;
  uint16_t ether_type;  // behind the VLAN tags
  uint16_t l3_offset;   // 0: no IP header was found whole
  uint16_t l4_offset;   // 0: none
  uint8_t ip_version;   // 4, 6, or 0
  uint8_t protocol;     // IP protocol, behind IPv6 extension headers
  uint8_t vlan_tags;
  bool fragment;
};

// False for frames shorter than an Ethernet header. A frame cut off deeper than that gives the key
// of what is there.
bool parse_flow(const uint8_t* data, uint32_t length, FlowKey& key) noexcept;

uint32_t flow_hash(const FlowKey& key) noexcept;

namespace flow_detail {

inline uint16_t be16(const uint8_t* p) noexcept {
  return static_cast<uint16_t>(p[0] << 8 | p[1]);
}
inline uint32_t be32(const uint8_t* p) noexcept {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(value) : value;
}
inline uint64_t be64(const uint8_t* p) noexcept {
  return static_cast<uint64_t>(be32(p)) << 32 | be32(p + 4);
}

// Both halves of the 128-bit product, folded: every input bit reaches every output bit.
inline uint64_t mix(uint64_t a, uint64_t b) noexcept {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// The ends are put in order, so that direction does not matter.
inline uint32_t hash_ends(uint64_t a, uint64_t b, uint32_t kind) noexcept {
  const uint64_t low = a < b ? a : b;
  const uint64_t high = a < b ? b : a;
  const uint64_t once = mix(low ^ 0xa0761d6478bd642full, high ^ 0xe7037ed1a0b428dbull);
  const uint64_t twice = mix(once ^ kind, 0x8ebc6af09c88c6e3ull);
  const auto folded = static_cast<uint32_t>(twice >> 32) ^ static_cast<uint32_t>(twice);
  return folded == 0 ? 1 : folded;
}

inline uint64_t ipv4_end(uint32_t address, uint16_t port) noexcept {
  return static_cast<uint64_t>(address) << 16 | port;
}

uint32_t hash_slow(const uint8_t* data, uint32_t length) noexcept;

}  // namespace flow_detail

// 0 only for frames shorter than an Ethernet header. Inline for plain IPv4 TCP and UDP.
inline uint32_t flow_hash(const uint8_t* data, uint32_t length) noexcept {
  using namespace flow_detail;
  if (length >= 38 && be16(data + 12) == 0x0800 && data[14] == 0x45 &&
      (be16(data + 20) & 0x3fff) == 0 && (data[23] == 6 || data[23] == 17)) [[likely]] {
    return hash_ends(ipv4_end(be32(data + 26), be16(data + 34)),
                     ipv4_end(be32(data + 30), be16(data + 36)), 0x400u | data[23]);
  }
  return hash_slow(data, length);
}

}  // namespace vanity
