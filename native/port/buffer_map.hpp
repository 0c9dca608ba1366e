// Where one device finds the buffers of pools in its own addresses. Filled before the shards start,
// read only from then on; a load or two a packet, and nothing crosses between cores.
#pragma once

#include <array>
#include <cstdint>

#include "memory/pool.hpp"

namespace vanity {

class BufferMap {
 public:
  // `pages`: addresses of the device, one for each 2^`shift` bytes of the pool's memory from its
  // base on. Behind an IOMMU that is one address and shift 63. The table stays the caller's.
  void add(const Pool& pool, const uint64_t* pages, uint32_t shift) noexcept {
    entries_[pool.index()] = {pages, shift, pool.stride()};
  }
  // May the device reach the pool of this buffer?
  bool reaches(uint32_t buffer) const noexcept {
    return entries_[buffer >> kPoolShift].pages != nullptr;
  }
  // Of the byte at `offset` in a buffer that reaches() is true for. No buffer lies across two pages
  // (Pool), so the rest of it follows.
  uint64_t address(uint32_t buffer, uint32_t offset) const noexcept {
    const Entry& entry = entries_[buffer >> kPoolShift];
    const uint64_t at = uint64_t{buffer & kPoolIndexMask} * entry.stride + offset;
    return entry.pages[at >> entry.shift] + (at & ((uint64_t{1} << entry.shift) - 1));
  }

 private:
  struct Entry {
    const uint64_t* pages = nullptr;
    uint32_t shift = 63;
    uint32_t stride = 0;
  };
  std::array<Entry, kPoolsMax> entries_{};
};

}  // namespace vanity
