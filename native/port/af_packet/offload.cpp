#include "port/af_packet/offload.hpp"

#include <cstring>

#include "packet/checksum.hpp"
#include "packet/flow.hpp"

namespace vanity {
namespace {

using checksum::fold;
using checksum::sum;
using flow_detail::be16;
using flow_detail::be32;

constexpr uint8_t kTcp = 6, kUdp = 17;
constexpr uint8_t kFin = 0x01, kPush = 0x08, kReduced = 0x80;

void put16(uint8_t* to, uint32_t value) noexcept {
  to[0] = static_cast<uint8_t>(value >> 8);
  to[1] = static_cast<uint8_t>(value);
}

void put32(uint8_t* to, uint32_t value) noexcept {
  put16(to, value >> 16);
  put16(to + 2, value & 0xffff);
}

}  // namespace

bool Segmenter::begin(const uint8_t* frame, uint32_t length,
                      const OffloadHeader& offload) noexcept {
  payload_ = done_ = 0;
  index_ = 0;
  FlowKey key;
  if (offload.gso_size == 0 || !parse_flow(frame, length, key)) return false;
  if (key.ip_version == 0 || key.l4_offset == 0 || key.fragment) return false;
  frame_ = frame;
  l3_ = key.l3_offset;
  l4_ = key.l4_offset;
  version_ = key.ip_version;
  protocol_ = key.protocol;
  size_ = offload.gso_size;
  if (protocol_ == kTcp) {
    if (length < l4_ + 20) return false;
    const uint32_t tcp_bytes = (frame[l4_ + 12] >> 4) * 4u;
    if (tcp_bytes < 20) return false;
    header_ = l4_ + tcp_bytes;
  } else if (protocol_ == kUdp) {
    header_ = l4_ + 8;
  } else {
    return false;
  }
  if (header_ >= length) return false;
  payload_ = length - header_;
  return true;
}

uint32_t Segmenter::chunk() const noexcept {
  const uint32_t left = payload_ - done_;
  return left < size_ ? left : size_;
}

uint32_t Segmenter::next_length() const noexcept {
  return header_ + chunk();
}

void Segmenter::skip() noexcept {
  done_ += chunk();
  ++index_;
}

void Segmenter::take(uint8_t* to) noexcept {
  const uint32_t bytes = chunk();
  std::memcpy(to, frame_, header_);
  std::memcpy(to + header_, frame_ + header_ + done_, bytes);
  const uint32_t l4_bytes = header_ - l4_ + bytes;
  uint64_t pseudo = protocol_ + l4_bytes;
  uint8_t* ip = to + l3_;
  if (version_ == 4) {
    put16(ip + 2, l4_ - l3_ + l4_bytes);
    put16(ip + 4, (be16(ip + 4) + index_) & 0xffffu);
    put16(ip + 10, 0);
    put16(ip + 10, static_cast<uint16_t>(~fold(sum(ip, l4_ - l3_))));
    pseudo += sum(ip + 12, 8);
  } else {
    put16(ip + 4, l4_ - l3_ - 40 + l4_bytes);
    pseudo += sum(ip + 8, 32);
  }
  uint8_t* l4 = to + l4_;
  uint32_t checksum_at = 6;
  if (protocol_ == kTcp) {
    checksum_at = 16;
    put32(l4 + 4, be32(l4 + 4) + done_);
    const bool last = done_ + bytes == payload_;
    if (!last) l4[13] &= static_cast<uint8_t>(~(kFin | kPush));
    if (index_ != 0) l4[13] &= static_cast<uint8_t>(~kReduced);
  } else {
    put16(l4 + 4, l4_bytes);
  }
  put16(l4 + checksum_at, 0);
  const uint16_t complement = static_cast<uint16_t>(~fold(pseudo + sum(l4, l4_bytes)));
  put16(l4 + checksum_at, complement == 0 && protocol_ == kUdp ? 0xffff : complement);
  skip();
}

}  // namespace vanity
