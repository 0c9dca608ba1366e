#include "device/dma_space.hpp"

namespace vanity {

void DmaSpace::joined(const std::vector<IovaRange>& windows,
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

uint64_t DmaSpace::map(void* memory, uint64_t bytes, uint64_t align, unsigned bits) {
  const uint64_t iova = iova_.allocate(bytes, align, bits);
  try {
    map_at(iova, memory, bytes);
  } catch (...) {
    iova_.free(iova);
    throw;
  }
  return iova;
}

void DmaSpace::unmap(uint64_t iova, uint64_t bytes) {
  unmap_at(iova, bytes);  // first: an address must not be given anew while a device still has it
  iova_.free(iova);
}

}  // namespace vanity
