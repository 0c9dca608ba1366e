#include "device/iommu_space.hpp"

#include <unistd.h>

#include "platform/error.hpp"

namespace vanity {

void IommuSpace::joined(const std::vector<IovaRange>& windows,
                        const std::vector<ReservedRange>& reserved) {
  if (empty_) {
    iova_ = IovaSpace(windows);
  } else {
    iova_.restrict_to(windows);
  }
  empty_ = false;
  for (const auto& range : reserved) {
    if (range.type != "direct-relaxable") iova_.reserve(range);
  }
}

DmaMapping IommuSpace::map(void* memory, uint64_t bytes, uint64_t page_bytes, unsigned bits,
                           DmaAccess access) {
  const uint64_t system_page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (reinterpret_cast<uintptr_t>(memory) % system_page != 0 || bytes % system_page != 0)
    throw Error("VANITY_E_INTERNAL", "memory for DMA is whole pages");
  const uint64_t lead = reinterpret_cast<uintptr_t>(memory) % page_bytes;
  const uint64_t first = iova_.allocate(lead + bytes, page_bytes, bits);
  const uint64_t iova = first + lead;
  try {
    map_at(iova, memory, bytes, access);
  } catch (...) {
    iova_.free(first);
    throw;
  }
  allocated_[iova] = first;
  return {{iova}, 63};
}

void IommuSpace::unmap(const DmaMapping& mapping, uint64_t bytes) {
  const uint64_t iova = mapping.pages.front();
  unmap_at(iova, bytes);  // first: an address must not be given anew while a device still has it
  const auto known = allocated_.find(iova);
  iova_.free(known->second);
  allocated_.erase(known);
}

}  // namespace vanity
