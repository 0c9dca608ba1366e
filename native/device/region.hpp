// A region of a device as VFIO describes it: its size, its place, and which parts may be mapped.
#pragma once

#include <cstdint>
#include <vector>

namespace vanity {

struct Region {
  struct Area {
    uint64_t offset;
    uint64_t bytes;
  };

  uint64_t bytes = 0;
  uint64_t offset = 0;  // in the device's descriptor
  std::vector<Area> areas;

  // May [first, end) be mapped, whole pages as they are?
  bool mappable(uint64_t first, uint64_t end) const noexcept;
};

// Of a `vfio_region_info` and what follows it. A region is mappable as a whole or, where VFIO names
// areas, in these; less than a page counts as one.
Region parse_region(const void* info, uint64_t page_bytes);

}  // namespace vanity
