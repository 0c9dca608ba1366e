// Memory that devices of one address space reach, mapped from construction to the end.
#pragma once

#include <cstdint>
#include <memory>

#include "device/dma_space.hpp"
#include "memory/arena.hpp"

namespace vanity {

// Where the devices find a region: one address for each 2^shift bytes of it. Behind an IOMMU that
// is one address for all of it, and shift 63. Good as long as the region.
struct DmaView {
  const uint64_t* pages = nullptr;
  uint32_t shift = 63;

  uint64_t address(uint64_t offset) const noexcept {
    return pages[offset >> shift] + (offset & ((uint64_t{1} << shift) - 1));
  }
};

class DmaRegion {
 public:
  // An arena of its own: huge pages if the host has them, zeroed.
  DmaRegion(std::shared_ptr<DmaSpace> space, uint64_t bytes, unsigned bits,
            uint32_t numa_node = kAnyNode, Sharing sharing = Sharing::none);
  // Memory of somebody else, who keeps it until this ends: an arena that a shard has already, or a
  // part of one. `memory` and `bytes` are whole pages of the system, `page_bytes` is how large the
  // pages are that the memory consists of.
  DmaRegion(std::shared_ptr<DmaSpace> space, void* memory, uint64_t bytes, uint64_t page_bytes,
            unsigned bits, DmaAccess access);
  ~DmaRegion();
  DmaRegion(const DmaRegion&) = delete;
  DmaRegion& operator=(const DmaRegion&) = delete;

  // Its memory, for another process; -1: it is somebody else's, or cannot be passed.
  int fd() const noexcept { return own_ == nullptr ? -1 : own_->fd(); }
  std::byte* data() const noexcept { return data_; }
  uint64_t bytes() const noexcept { return bytes_; }
  uint64_t page_bytes() const noexcept { return page_bytes_; }
  DmaView view() const noexcept { return {mapping_.pages.data(), mapping_.shift}; }
  // What a device is told for data(). `iova() + n` is data() + n within contiguous_bytes().
  uint64_t iova() const noexcept { return mapping_.pages.front(); }
  // The region falls into pieces of this size, and each has addresses that follow one another: an
  // object that the device takes for one piece must lie within one. Without end behind an IOMMU.
  uint64_t contiguous_bytes() const noexcept {
    return mapping_.shift == 63 ? UINT64_MAX : uint64_t{1} << mapping_.shift;
  }

  // No device reaches the memory any more; it stays readable here. Idempotent.
  // Throws VANITY_E_VFIO_KERNEL, and then its addresses are not given again, and Linux keeps its
  // pages pinned until the process ends: better lost than written when somebody else has them.
  void unmap();

 private:
  std::shared_ptr<DmaSpace> space_;
  std::unique_ptr<Arena> own_;
  std::byte* data_;
  uint64_t bytes_;
  uint64_t page_bytes_;
  DmaMapping mapping_;
  bool mapped_ = true;
};

}  // namespace vanity
