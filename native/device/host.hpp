// Opening VFIO's nodes, and saying in plain words why that cannot be.
#pragma once

#include <string>

#include "device/pci.hpp"
#include "platform/error.hpp"
#include "platform/fd.hpp"

namespace vanity {

inline constexpr const char* kContainerNode = "/dev/vfio/vfio";
inline constexpr const char* kIommuNode = "/dev/iommu";

// The device's IOMMU group, once all that can be known without opening anything is right. Of a
// device that no IOMMU guards only with `unsafe_noiommu`.
// Throws VANITY_E_DEVICE_NONE, VANITY_E_VFIO_DRIVER or VANITY_E_IOMMU.
int require_vfio(const Sysfs& sysfs, PciAddress address, bool unsafe_noiommu);

bool exists(const std::string& node);
// Inherited, or with rights to read and write.
bool may_open(const std::string& node);
// An inherited descriptor of the node if there is one, else it is opened.
// Throws VANITY_E_DEVICE_BUSY, VANITY_E_VFIO_PERMISSION or VANITY_E_VFIO_KERNEL.
Fd open_node(const std::string& node);

// Who else is in the group, and with a driver of the kernel's: "" when nobody is. Everybody but
// bridges must be with vfio-pci or with nobody, else one device of the group could reach, through
// another's driver, what it was not granted.
std::string others_in_group(const Sysfs& sysfs, int group);
Error not_viable(PciAddress address, int group, const std::string& others);  // VANITY_E_GROUP

// By a process that we may look at.
bool is_held(const std::string& node);
Error busy(const std::string& node);                       // VANITY_E_DEVICE_BUSY, with the process
Error refused(const std::string& what, int error_number);  // VANITY_E_VFIO_KERNEL

// Throws VANITY_E_MEMLOCK when the limit of locked memory forbids `bytes` more. Pages for DMA
// count there, huge ones too.
void throw_if_memlock(uint64_t bytes);

}  // namespace vanity
