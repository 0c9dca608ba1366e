// The copy between a buffer of the driver and one of ours. Short frames are copied in place: the
// call of the library's function costs more than they do.
#pragma once

#include <cstdint>
#include <cstring>

namespace vanity::vhost_user {

// Blocks of 16 bytes, the last of which may lie over the one before.
inline void copy(void* to, const void* from, uint32_t bytes) noexcept {
  constexpr uint32_t kBlock = 16, kInPlaceMax = 256;
  if (bytes < kBlock || bytes > kInPlaceMax) [[unlikely]] {
    std::memcpy(to, from, bytes);
    return;
  }
  struct Block {
    uint64_t words[2];
  };
  auto* out = static_cast<uint8_t*>(to);
  const auto* in = static_cast<const uint8_t*>(from);
  const auto step = [&](uint32_t at) {
    Block block;
    std::memcpy(&block, in + at, kBlock);
    std::memcpy(out + at, &block, kBlock);
  };
  for (uint32_t at = 0; at + kBlock < bytes; at += kBlock) step(at);
  step(bytes - kBlock);
}

}  // namespace vanity::vhost_user
