// Memory that devices of one address space read and write, mapped from construction to the end.
#pragma once

#include <cstdint>
#include <memory>

#include "device/dma_space.hpp"
#include "memory/arena.hpp"

namespace vanity {

class DmaRegion {
 public:
  // An arena of its own: huge pages if the host has them, zeroed.
  DmaRegion(std::shared_ptr<DmaSpace> space, uint64_t bytes, unsigned bits,
            uint32_t numa_node = kAnyNode);
  // Memory of somebody else, who keeps it until this ends: an arena that a shard has already.
  DmaRegion(std::shared_ptr<DmaSpace> space, Arena& arena, unsigned bits);
  ~DmaRegion();
  DmaRegion(const DmaRegion&) = delete;
  DmaRegion& operator=(const DmaRegion&) = delete;

  std::byte* data() const noexcept { return data_; }
  uint64_t bytes() const noexcept { return bytes_; }
  // What a device is told for data(); `iova() + n` for `data() + n`.
  uint64_t iova() const noexcept { return iova_; }
  const Arena& arena() const noexcept { return *arena_; }

  // No device reaches the memory any more; it stays readable here. Idempotent.
  // Throws VANITY_E_VFIO_KERNEL, and then the memory is never given back: better lost than written
  // by a device when somebody else has it.
  void unmap();

 private:
  void map(unsigned bits);

  std::shared_ptr<DmaSpace> space_;
  std::unique_ptr<Arena> own_;
  Arena* arena_;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t iova_ = 0;
  bool mapped_ = false;
};

}  // namespace vanity
