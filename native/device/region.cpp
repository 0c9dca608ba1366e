#include "device/region.hpp"

#include <algorithm>

#include "device/capability_chain.hpp"

namespace vanity {

bool Region::mappable(uint64_t first, uint64_t end) const noexcept {
  return std::any_of(areas.begin(), areas.end(), [&](const Area& area) {
    return first >= area.offset && end <= area.offset + area.bytes;
  });
}

Region parse_region(const void* answer, uint64_t page_bytes) {
  const auto info = copied_from<vfio_region_info>(static_cast<const char*>(answer));
  Region found{info.size, info.offset, {}};
  if ((info.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0 || info.size == 0) return found;
  bool sparse = false;
  const bool more = (info.flags & VFIO_REGION_INFO_FLAG_CAPS) != 0;
  each_capability(answer, more ? info.cap_offset : 0, [&](uint16_t id, const char* bytes) {
    if (id != VFIO_REGION_INFO_CAP_SPARSE_MMAP) return;
    sparse = true;
    const auto list = copied_from<vfio_region_info_cap_sparse_mmap>(bytes);
    for (uint32_t i = 0; i < list.nr_areas; ++i) {
      const auto area = copied_from<vfio_region_sparse_mmap_area>(
          bytes + sizeof list + i * sizeof(vfio_region_sparse_mmap_area));
      found.areas.push_back({area.offset, area.size});
    }
  });
  if (!sparse) found.areas.push_back({0, (info.size + page_bytes - 1) / page_bytes * page_bytes});
  return found;
}

}  // namespace vanity
