// VFIO's groups, joined to one container: how the older interface opens devices, with an IOMMU or
// without.
#pragma once

#include <map>
#include <string>

#include "device/pci.hpp"
#include "platform/fd.hpp"

namespace vanity {

class Groups {
 public:
  // `iommu_type` as in VFIO_SET_IOMMU. Descriptors that are not given are opened.
  Groups(uint32_t iommu_type, Fd container, Fd group)
      : iommu_type_(iommu_type), container_(std::move(container)), given_group_(std::move(group)) {}

  // Opens a device of group `number`, which `node` stands for.
  // Throws VANITY_E_GROUP, VANITY_E_DEVICE_BUSY, VANITY_E_VFIO_PERMISSION or VANITY_E_VFIO_KERNEL.
  Fd open_device(const Sysfs& sysfs, PciAddress address, int number, const std::string& node);

  int container() const noexcept { return container_.get(); }

 private:
  const Fd& join(const Sysfs& sysfs, PciAddress address, int number, const std::string& node);

  uint32_t iommu_type_;
  // The groups close before the container: closing the last group ends the translation.
  Fd container_;
  Fd given_group_;
  std::map<int, Fd> groups_;
};

}  // namespace vanity
