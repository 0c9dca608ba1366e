#include "device/dma.hpp"

#include "platform/error.hpp"

namespace vanity {

DmaRegion::DmaRegion(std::shared_ptr<DmaSpace> space, uint64_t bytes, unsigned bits,
                     uint32_t numa_node)
    : space_(std::move(space)),
      own_(std::make_unique<Arena>(bytes, numa_node)),
      arena_(own_.get()) {
  map(bits);
}

DmaRegion::DmaRegion(std::shared_ptr<DmaSpace> space, Arena& arena, unsigned bits)
    : space_(std::move(space)), arena_(&arena) {
  map(bits);
}

void DmaRegion::map(unsigned bits) {
  data_ = arena_->base();
  bytes_ = arena_->bytes();
  iova_ = space_->map(data_, bytes_, arena_->page_bytes(), bits);
  mapped_ = true;
}

DmaRegion::~DmaRegion() {
  try {
    unmap();
  } catch (...) {
    (void)own_.release();  // still mapped for the device, so never free
  }
}

void DmaRegion::unmap() {
  if (!mapped_) return;
  space_->unmap(iova_, bytes_);
  mapped_ = false;
}

}  // namespace vanity
