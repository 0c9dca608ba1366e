// One address space for DMA. Devices attached to it reach what is mapped in it and nothing else:
// the IOMMU enforces that, whatever the device or its driver does.
//
// A device has a space of its own unless it is told to share one (two NICs that hand packets to
// each other; functions that Linux keeps in one IOMMU group). Control path; one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "device/fd.hpp"
#include "device/iova.hpp"
#include "device/pci.hpp"

namespace vanity {

// Descriptors that a privileged parent opened, so that this process needs no rights of its own. The
// space takes them over.
struct VfioDescriptors {
  Fd container;  // /dev/vfio/vfio
  Fd group;      // /dev/vfio/<number of the IOMMU group>
};

// What devices may do with memory: read it, or write it too. The IOMMU sees to it.
enum class DmaAccess : uint8_t { read_only, read_write };

struct DmaMapping {
  std::vector<uint64_t> pages;  // as the devices see them, one for each 2^shift bytes
  uint32_t shift = 63;
};

class DmaSpace {
 public:
  virtual ~DmaSpace() = default;
  DmaSpace(const DmaSpace&) = delete;
  DmaSpace& operator=(const DmaSpace&) = delete;

  // VFIO's groups and a container of type 1 (v2), on every Linux that has VFIO.
  static std::shared_ptr<DmaSpace> group(VfioDescriptors descriptors = {});

  // The device's descriptor; the caller closes it before the space ends.
  // Throws VANITY_E_VFIO_ABSENT, _DRIVER, _IOMMU, _GROUP, _BUSY, _PERMISSION or
  // VANITY_E_VFIO_KERNEL.
  virtual Fd attach(PciAddress address) = 0;

  // Lets every attached device reach `memory`, whole pages of the system that stay where they are
  // until unmap(). Its addresses lie below 2^bits, and in a huge page of `page_bytes` where the
  // memory does, so that huge pages stay huge in the IOMMU; one region is one entry there however
  // many pages it has. Throws VANITY_E_VFIO_IOVA, _MEMLOCK or VANITY_E_VFIO_KERNEL.
  DmaMapping map(void* memory, uint64_t bytes, uint64_t page_bytes, unsigned bits,
                 DmaAccess access);
  // When this returns, no device reaches the memory any more.
  void unmap(const DmaMapping& mapping, uint64_t bytes);

  const IovaSpace& iova() const noexcept { return iova_; }

 protected:
  DmaSpace() : iova_({}) {}
  // After a device joined: the windows now, less what its group's interrupts and firmware use.
  void joined(const std::vector<IovaRange>& windows, const std::vector<ReservedRange>& reserved);

  virtual void map_at(uint64_t iova, void* memory, uint64_t bytes, DmaAccess access) = 0;
  virtual void unmap_at(uint64_t iova, uint64_t bytes) = 0;

 private:
  IovaSpace iova_;
  std::map<uint64_t, uint64_t> allocated_;  // what a mapping begins in, by its first address
  bool empty_ = true;
};

}  // namespace vanity
