// The front-end's memory as it is given to the back-end: whole memfds, for a descriptor opens all
// of its file. So what is shared lies in memory of its own, sealed against being cut short by the
// peer.
//
// The addresses by which the back-end knows it are made up, and tell nothing of this process.
#pragma once

#include <cstdint>
#include <vector>

#include "vhost/message.hpp"

namespace vanity::vhost {

struct SharedRegion {
  uint64_t address;
  uint64_t bytes;
  int fd;  // stays the caller's
};
using SharedRegions = std::vector<SharedRegion>;

// One region is the rings'.
inline constexpr uint32_t kSharedPoolsMax = kRegionsMax - 1;

inline constexpr uint64_t kRingsAddress = uint64_t{1} << 38;
// A pool has less than 2^38 bytes.
constexpr uint64_t pool_address(uint32_t pool) noexcept {
  return (uint64_t{pool} + 2) << 38;
}

}  // namespace vanity::vhost
