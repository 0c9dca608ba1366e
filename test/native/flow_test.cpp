#include "packet/flow.hpp"

#include <random>
#include <set>

#include "capture_bytes.hpp"
#include "check.hpp"

using vanity::flow_hash;
using vanity::FlowKey;
using vanity::parse_flow;

namespace {

struct Shape {
  int version = 4;
  uint8_t protocol = 6;
  std::vector<uint16_t> tags = {};
  uint32_t source = 0x0a000001, destination = 0x0a000002;
  uint16_t source_port = 1000, destination_port = 80;
  uint32_t options = 0;  // bytes of IPv4 options, or extension headers of IPv6
  uint16_t fragment = 0;
};

std::vector<uint8_t> build(const Shape& s, bool reversed = false) {
  Bytes b{{}, true};
  const uint32_t from = reversed ? s.destination : s.source;
  const uint32_t to = reversed ? s.source : s.destination;
  b.u32(to).u16(1).u32(from).u16(1);
  for (const uint16_t tag : s.tags) b.u16(tag).u16(100);
  b.u16(s.version == 4 ? 0x0800 : 0x86dd);
  if (s.version == 4) {
    b.u8(uint8_t(0x45 + s.options / 4)).u8(0).u16(100).u16(1).u16(s.fragment).u8(64).u8(s.protocol);
    b.u16(0).u32(from).u32(to).raw(std::vector<uint8_t>(s.options, 1));
  } else {
    const bool fragmented = s.fragment != 0;
    b.u32(0x60000000).u16(100).u8(s.options ? 0 : fragmented ? 44 : s.protocol).u8(64);
    b.u64(0x20010db800000000).u64(from).u64(0x20010db800000000).u64(to);
    for (uint32_t i = 0; i < s.options; ++i) {
      const bool last = i + 1 == s.options;
      b.u8(last ? (fragmented ? 44 : s.protocol) : 60).u8(0).u16(0).u32(0);
    }
    if (fragmented) b.u8(s.protocol).u8(0).u16(s.fragment).u32(77);
  }
  b.u16(reversed ? s.destination_port : s.source_port);
  b.u16(reversed ? s.source_port : s.destination_port);
  return b.raw(frame_of(20)).bytes;
}

uint32_t hash(const std::vector<uint8_t>& f) {
  return flow_hash(f.data(), uint32_t(f.size()));
}

FlowKey key_of(const std::vector<uint8_t>& f) {
  FlowKey key;
  CHECK(parse_flow(f.data(), uint32_t(f.size()), key));
  return key;
}

}  // namespace

TEST(both_directions_hash_alike_in_every_shape) {
  for (const int version : {4, 6}) {
    for (const uint8_t protocol : {1, 6, 17, 58, 132}) {
      for (const auto& tags : std::vector<std::vector<uint16_t>>{
               {}, {0x8100}, {0x88a8, 0x8100}, {0x88a8, 0x8100, 0x8100, 0x8100}}) {
        for (const uint32_t options : {0u, 4u, 8u}) {
          for (const uint16_t fragment : {0, 0x2000, 0x0008}) {
            const Shape shape{.version = version,
                              .protocol = protocol,
                              .tags = tags,
                              .options = options,
                              .fragment = fragment};
            CHECK_EQ(hash(build(shape)), hash(build(shape, true)));
            CHECK(hash(build(shape)) != 0);
          }
        }
      }
    }
  }
}

TEST(the_fast_path_and_the_parser_agree) {
  for (const uint8_t protocol : {6, 17}) {
    const Shape plain{.protocol = protocol};
    Shape tagged = plain, optioned = plain;
    tagged.tags = {0x8100};
    optioned.options = 8;
    CHECK_EQ(hash(build(plain)), flow_hash(key_of(build(plain))));
    CHECK_EQ(hash(build(plain)), hash(build(tagged)));
    CHECK_EQ(hash(build(plain)), hash(build(optioned)));
  }
}

TEST(the_hash_is_the_same_on_every_machine) {
  CHECK_EQ(hash(build({})), 2834682133u);
  CHECK_EQ(hash(build({.version = 6})), 1501885659u);
  CHECK_EQ(hash(frame_of(60)), 4068237997u);
}

TEST(ports_and_protocol_matter_where_there_are_ports) {
  for (const int version : {4, 6}) {
    CHECK(hash(build({.version = version})) !=
          hash(build({.version = version, .source_port = 1001})));
    CHECK(hash(build({.version = version})) != hash(build({.version = version, .protocol = 17})));
    const FlowKey key = key_of(build({.version = version, .tags = {0x8100}}));
    CHECK_EQ(key.source_port, 1000);
    CHECK_EQ(key.destination_port, 80);
    CHECK_EQ(int(key.vlan_tags), 1);
    CHECK_EQ(int(key.ip_version), version);
    CHECK_EQ(key.l3_offset, 18);
    CHECK_EQ(key.l4_offset, version == 4 ? 38 : 58);
    CHECK_EQ(key_of(build({.version = version, .protocol = 1})).source_port, 0);
  }
}

TEST(the_fragments_of_a_datagram_stay_together) {
  for (const int version : {4, 6}) {
    const uint16_t more = version == 4 ? 0x2000 : 0x0001;
    Shape first{.version = version, .protocol = 17, .fragment = more};
    Shape later = first;
    later.fragment = version == 4 ? 0x00b9 : 0x05c8;
    later.source_port = 0xdead;  // payload stands where the ports were
    CHECK(key_of(build(first)).fragment);
    CHECK_EQ(hash(build(first)), hash(build(later)));
  }
  // "Don't fragment" is no fragment, and neither is IPv6's atomic fragment.
  CHECK_EQ(hash(build({.fragment = 0x4000})), hash(build({})));
}

TEST(extension_headers_and_tags_are_bounded) {
  CHECK_EQ(key_of(build({.version = 6, .options = vanity::kIpv6ExtensionsMax})).source_port, 1000);
  CHECK_EQ(key_of(build({.version = 6, .options = vanity::kIpv6ExtensionsMax + 1})).source_port, 0);
  const std::vector<uint16_t> four(4, 0x8100), five(5, 0x8100);
  CHECK_EQ(int(key_of(build({.tags = four})).ip_version), 4);
  CHECK_EQ(int(key_of(build({.tags = five})).ip_version), 0);
}

TEST(short_frames_have_no_hash_and_cut_ones_keep_theirs) {
  const auto frame = build({});
  for (uint32_t length = 0; length <= frame.size(); ++length) {
    // A copy of exactly that many bytes, so that a sanitizer sees one byte too many.
    const std::vector<uint8_t> cut(frame.begin(), frame.begin() + length);
    CHECK_EQ(hash(cut) != 0, length >= 14);
    if (length >= 38) CHECK_EQ(hash(cut), hash(frame));
  }
}

TEST(nothing_beyond_the_frame_is_read) {
  std::mt19937 random(1);
  const Shape shapes[] = {{},
                          {.version = 6, .options = 3},
                          {.tags = {0x8100, 0x8100}, .options = 12},
                          {.version = 6, .protocol = 17, .fragment = 1}};
  for (int round = 0; round < 200'000; ++round) {
    auto frame = build(shapes[random() % 4]);
    for (uint32_t i = random() % 4; i > 0; --i)
      frame[12 + random() % (frame.size() - 12)] = uint8_t(random());
    std::vector<uint8_t> cut(frame.begin(), frame.begin() + long(random() % (frame.size() + 1)));
    FlowKey key;
    if (parse_flow(cut.data(), uint32_t(cut.size()), key)) {
      CHECK_EQ(flow_hash(key), hash(cut));
      CHECK(key.l3_offset <= cut.size() && key.l4_offset < cut.size());
    } else {
      CHECK_EQ(hash(cut), 0u);
    }
  }
}

TEST(flows_spread_evenly) {
  for (const int version : {4, 6}) {
    for (const uint32_t outputs : {2u, 3u, 8u, 13u}) {
      std::vector<uint32_t> load(outputs), high(outputs);
      const uint32_t flows = 20'000;
      std::set<uint32_t> distinct;
      for (uint32_t i = 0; i < flows; ++i) {
        // Neighbouring addresses and ports, as real traffic has them.
        const uint32_t h = hash(build({.version = version,
                                       .source = 0x0a000000 + i % 200,
                                       .source_port = uint16_t(32768 + i / 200)}));
        distinct.insert(h);
        ++load[h % outputs];
        ++high[uint64_t(h) * outputs >> 32];
      }
      CHECK(distinct.size() > flows - 5);
      for (uint32_t i = 0; i < outputs; ++i) {
        CHECK(load[i] > flows / outputs * 9 / 10 && load[i] < flows / outputs * 11 / 10);
        CHECK(high[i] > flows / outputs * 9 / 10 && high[i] < flows / outputs * 11 / 10);
      }
    }
  }
}
