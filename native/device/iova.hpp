// Which DMA addresses (IOVAs) of one address space are given out, and to whom the next ones go.
//
// The IOMMU gives windows; the rest (holes for interrupts, firmware's own) is never ours. Devices
// with narrow DMA engines compete for low addresses, so everybody gets the highest that it can
// reach, and low ones stay for who needs them. Control path; not for several threads at once.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace vanity {

// Both ends included: the last byte of a 64-bit space has no address after it.
struct IovaRange {
  uint64_t first = 0;
  uint64_t last = 0;
  bool operator==(const IovaRange&) const = default;
};

class IovaSpace {
 public:
  // Nothing is ever given out below this: a descriptor that nobody filled in points at 0.
  static constexpr uint64_t kFloor = 4096;

  // Windows in any order; they may overlap.
  explicit IovaSpace(const std::vector<IovaRange>& windows);

  // A device joined that reaches less. What is given out already stays where it is.
  void restrict_to(const std::vector<IovaRange>& windows);
  void reserve(IovaRange range);

  // `bytes` > 0 and `align` a power of two of 4096 or more: bytes are rounded up to 4096. The range
  // ends below 2^`bits`. Throws VANITY_E_VFIO_IOVA with the largest gap there is.
  uint64_t allocate(uint64_t bytes, uint64_t align, unsigned bits);
  // What allocate() gave. Anything else is a defect of the caller and throws VANITY_E_INTERNAL.
  void free(uint64_t first);

  // In order of address; neighbours are one range.
  std::vector<IovaRange> free_ranges() const;

 private:
  void take(uint64_t first, uint64_t last);
  void give(uint64_t first, uint64_t last);

  std::map<uint64_t, uint64_t> windows_;  // first -> last, disjoint, apart from each other
  std::map<uint64_t, uint64_t> free_;     // the same of what nobody has
  std::map<uint64_t, uint64_t> used_;
};

}  // namespace vanity
