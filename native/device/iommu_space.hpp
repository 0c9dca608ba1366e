// A space behind an IOMMU: the addresses are ours to choose. What its two backends share.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "device/dma_space.hpp"
#include "device/iova.hpp"

namespace vanity {

class IommuSpace : public DmaSpace {
 public:
  // In a huge page of the IOMMU where the memory is in one, so that it translates few large pages;
  // one region is one entry there however many pages it has.
  DmaMapping map(void* memory, uint64_t bytes, uint64_t page_bytes, unsigned bits,
                 DmaAccess access) final;
  void unmap(const DmaMapping& mapping, uint64_t bytes) final;
  std::vector<IovaRange> free_ranges() const final { return iova_.free_ranges(); }

 protected:
  // After a device joined: the windows now, less what its group's interrupts and firmware use.
  void joined(const std::vector<IovaRange>& windows, const std::vector<ReservedRange>& reserved);

  virtual void map_at(uint64_t iova, void* memory, uint64_t bytes, DmaAccess access) = 0;
  virtual void unmap_at(uint64_t iova, uint64_t bytes) = 0;

 private:
  IovaSpace iova_{{}};
  std::map<uint64_t, uint64_t> allocated_;  // where a mapping's allocation begins, by its address
  bool empty_ = true;
};

}  // namespace vanity
