#include "device/iommu_space.hpp"

#include <unistd.h>

#include <algorithm>
#include <bit>

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
  // A region smaller than its page fills none, so it need not lie as in one: few addresses must be
  // enough for a device of few bits.
  const uint64_t align = std::min(page_bytes, std::max(system_page, std::bit_ceil(bytes)));
  const uint64_t lead = reinterpret_cast<uintptr_t>(memory) % align;
  const uint64_t first = iova_.allocate(lead + bytes, align, bits);
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
