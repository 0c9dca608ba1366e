#include "packet/flow.hpp"

namespace vanity {

using flow_detail::be16;
using flow_detail::be32;
using flow_detail::be64;

namespace {

constexpr uint8_t kHopByHop = 0, kTcp = 6, kUdp = 17, kRouting = 43, kFragment = 44, kAuth = 51,
                  kDestination = 60, kMobility = 135, kHip = 139, kShim6 = 140;

bool is_extension(uint8_t header) noexcept {
  switch (header) {
    case kHopByHop:
    case kRouting:
    case kFragment:
    case kAuth:
    case kDestination:
    case kMobility:
    case kHip:
    case kShim6:
      return true;
    default:
      return false;
  }
}

void parse_ports(const uint8_t* data, uint32_t length, uint32_t at, FlowKey& key) noexcept {
  key.l4_offset = static_cast<uint16_t>(at);
  if (key.protocol != kTcp && key.protocol != kUdp) return;
  if (length < at + 4) return;
  key.source_port = be16(data + at);
  key.destination_port = be16(data + at + 2);
}

bool parse_ipv4(const uint8_t* data, uint32_t length, uint32_t at, FlowKey& key) noexcept {
  if (length < at + 20 || data[at] >> 4 != 4) return false;
  const uint32_t header_bytes = (data[at] & 15u) * 4;
  if (header_bytes < 20) return false;
  key.ip_version = 4;
  key.l3_offset = static_cast<uint16_t>(at);
  key.protocol = data[at + 9];
  key.source[0] = key.destination[0] = 0;
  key.source[1] = be32(data + at + 12);
  key.destination[1] = be32(data + at + 16);
  key.fragment = (be16(data + at + 6) & 0x3fff) != 0;
  const uint32_t next = at + header_bytes;
  if (!key.fragment && next < length) parse_ports(data, length, next, key);
  return true;
}

bool parse_ipv6(const uint8_t* data, uint32_t length, uint32_t at, FlowKey& key) noexcept {
  if (length < at + 40 || data[at] >> 4 != 6) return false;
  key.ip_version = 6;
  key.l3_offset = static_cast<uint16_t>(at);
  for (int word = 0; word < 2; ++word) {
    key.source[word] = be64(data + at + 8 + 8 * word);
    key.destination[word] = be64(data + at + 24 + 8 * word);
  }
  key.protocol = data[at + 6];
  uint32_t next = at + 40;
  for (uint32_t depth = 0; is_extension(key.protocol); ++depth) {
    if (depth == kIpv6ExtensionsMax || length < next + 8) return true;
    const uint8_t header = key.protocol;
    if (header == kFragment && (be16(data + next + 2) & 0xfff9) != 0) key.fragment = true;
    key.protocol = data[next];
    if (header == kFragment) {
      next += 8;
    } else if (header == kAuth) {
      next += (data[next + 1] + 2u) * 4;
    } else {
      next += (data[next + 1] + 1u) * 8;
    }
    // What stands behind a fragment header is extension headers of the first fragment only.
    if (key.fragment || next >= length) return true;
  }
  if (next < length) parse_ports(data, length, next, key);
  return true;
}

uint64_t mac(const uint8_t* p) noexcept {
  return static_cast<uint64_t>(be16(p)) << 32 | be32(p + 2);
}

}  // namespace

bool parse_flow(const uint8_t* data, uint32_t length, FlowKey& key) noexcept {
  key = FlowKey{};
  if (length < 14) return false;
  uint32_t at = 14;
  key.ether_type = be16(data + 12);
  while ((key.ether_type == 0x8100 || key.ether_type == 0x88a8) && key.vlan_tags < kVlanTagsMax &&
         length >= at + 4) {
    key.ether_type = be16(data + at + 2);
    at += 4;
    ++key.vlan_tags;
  }
  if (key.ether_type == 0x0800 && parse_ipv4(data, length, at, key)) return true;
  if (key.ether_type == 0x86dd && parse_ipv6(data, length, at, key)) return true;
  key.destination[1] = mac(data);
  key.source[1] = mac(data + 6);
  return true;
}

uint32_t flow_hash(const FlowKey& key) noexcept {
  using flow_detail::hash_ends;
  using flow_detail::ipv4_end;
  using flow_detail::mix;
  if (key.ip_version == 4) {
    return hash_ends(ipv4_end(static_cast<uint32_t>(key.source[1]), key.source_port),
                     ipv4_end(static_cast<uint32_t>(key.destination[1]), key.destination_port),
                     0x400u | key.protocol);
  }
  if (key.ip_version == 6) {
    constexpr uint64_t kHigh = 0x589965cc75374cc3ull, kLow = 0x1d8e4e27c47d124full;
    // The port spread over the word: added plainly it would cancel against neighbouring addresses.
    const auto end = [](const uint64_t(&address)[2], uint16_t port) {
      return mix(address[0] ^ kHigh, address[1] ^ kLow ^ (port * 0x9e3779b97f4a7c15ull));
    };
    return hash_ends(end(key.source, key.source_port), end(key.destination, key.destination_port),
                     0x600u | key.protocol);
  }
  return hash_ends(key.source[1], key.destination[1], 0x10000u | key.ether_type);
}

uint32_t flow_detail::hash_slow(const uint8_t* data, uint32_t length) noexcept {
  FlowKey key;
  return parse_flow(data, length, key) ? flow_hash(key) : 0;
}

}  // namespace vanity
