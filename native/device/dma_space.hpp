// One address space for DMA. Devices attached to it reach what is mapped in it and nothing else:
// the IOMMU enforces that, whatever the device or its driver does. (Without an IOMMU nobody does;
// see noiommu.cpp.)
//
// A device has a space of its own unless it is told to share one (two NICs that hand packets to
// each other; functions that Linux keeps in one IOMMU group). Control path; one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "device/iova.hpp"
#include "device/pci.hpp"
#include "platform/fd.hpp"

namespace vanity {

// Which of VFIO's interfaces. `automatic`: the device's own node (cdev) where this process may open
// it, else groups.
enum class BackendChoice : uint8_t { automatic, group, cdev };

// Descriptors that a privileged parent opened, so that this process needs no rights of its own; the
// space takes them over. What is missing is looked for among inherited descriptors, then opened.
struct VfioDescriptors {
  Fd container;  // /dev/vfio/vfio
  Fd group;      // /dev/vfio/<number of the IOMMU group>
  Fd iommu;      // /dev/iommu
  Fd device;     // /dev/vfio/devices/vfio<number>
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

  // A space that the device can join, by what this host offers. A device that no IOMMU guards is
  // refused unless `unsafe_noiommu`, which changes nothing for one that is guarded.
  // Throws VANITY_E_DEVICE_NONE, VANITY_E_DEVICE_BACKEND, VANITY_E_VFIO_DRIVER or VANITY_E_IOMMU.
  static std::shared_ptr<DmaSpace> open(PciAddress address,
                                        BackendChoice choice = BackendChoice::automatic,
                                        bool unsafe_noiommu = false,
                                        VfioDescriptors descriptors = {});

  virtual const char* backend() const noexcept = 0;  // "group", "cdev", "noiommu"

  // The device's descriptor; the caller closes it before the space ends.
  // Throws VANITY_E_DEVICE_NONE, VANITY_E_DEVICE_BUSY, VANITY_E_IOMMU, VANITY_E_GROUP,
  // VANITY_E_VFIO_DRIVER, VANITY_E_VFIO_PERMISSION or VANITY_E_VFIO_KERNEL.
  virtual Fd attach(PciAddress address) = 0;

  // Lets every attached device reach `memory`, whole pages of the system that stay where they are
  // until unmap(). Its addresses lie below 2^bits.
  // Throws VANITY_E_VFIO_IOVA, VANITY_E_MEMLOCK, VANITY_E_PAGES or VANITY_E_VFIO_KERNEL.
  virtual DmaMapping map(void* memory, uint64_t bytes, uint64_t page_bytes, unsigned bits,
                         DmaAccess access) = 0;
  // When this returns, no device reaches the memory any more.
  virtual void unmap(const DmaMapping& mapping, uint64_t bytes) = 0;

  // The least that DmaRegion::contiguous_bytes() can be for memory on huge pages.
  virtual uint64_t contiguous_bytes() const noexcept { return UINT64_MAX; }
  // The addresses that are left to give, in order; none without an IOMMU, which gives none.
  virtual std::vector<IovaRange> free_ranges() const { return {}; }

 protected:
  DmaSpace() = default;
};

}  // namespace vanity
