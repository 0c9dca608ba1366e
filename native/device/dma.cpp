#include "device/dma.hpp"

#include <utility>

namespace vanity {
namespace {

PageChoice pages_for(const DmaSpace& space) {
  return space.contiguous_bytes() == UINT64_MAX ? PageChoice::automatic : PageChoice::huge_2m;
}

}  // namespace

DmaRegion::DmaRegion(std::shared_ptr<DmaSpace> space, uint64_t bytes, unsigned bits,
                     uint32_t numa_node, Sharing sharing)
    : space_(std::move(space)),
      own_(std::make_unique<Arena>(bytes, numa_node, pages_for(*space_), sharing)),
      data_(own_->base()),
      bytes_(own_->bytes()),
      page_bytes_(own_->page_bytes()),
      mapping_(space_->map(data_, bytes_, page_bytes_, bits, DmaAccess::read_write)) {}

DmaRegion::DmaRegion(std::shared_ptr<DmaSpace> space, void* memory, uint64_t bytes,
                     uint64_t page_bytes, unsigned bits, DmaAccess access)
    : space_(std::move(space)),
      data_(static_cast<std::byte*>(memory)),
      bytes_(bytes),
      page_bytes_(page_bytes),
      mapping_(space_->map(data_, bytes_, page_bytes_, bits, access)) {}

DmaRegion::~DmaRegion() {
  try {
    unmap();
  } catch (...) {
    // Linux keeps pages pinned that a device may still write, so nobody else gets them.
  }
}

void DmaRegion::unmap() {
  if (!mapped_) return;
  space_->unmap(mapping_, bytes_);
  mapped_ = false;
  space_.reset();
}

}  // namespace vanity
