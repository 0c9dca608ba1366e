#include "device/dma_space.hpp"

#include "device/backends.hpp"
#include "device/host.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

[[noreturn]] void throw_no_cdev(PciAddress address, const std::string& why) {
  throw Error("VANITY_E_DEVICE_BACKEND", address.text() + " cannot be opened by cdev: " + why,
              "Let the backend be \"group\" or \"auto\".");
}

}  // namespace

std::shared_ptr<DmaSpace> DmaSpace::open(PciAddress address, BackendChoice choice,
                                         bool unsafe_noiommu, VfioDescriptors given) {
  const Sysfs sysfs;
  const int group = require_vfio(sysfs, address, unsafe_noiommu);
  if (sysfs.unguarded(group)) {
    if (choice == BackendChoice::cdev) throw_no_cdev(address, "it has no mode without an IOMMU");
    return make_noiommu_space(std::move(given));
  }
  const std::string node = sysfs.vfio_node(address);
  const bool offered = !node.empty() && (given.iommu || exists(kIommuNode));
  switch (choice) {
    case BackendChoice::group:
      return make_group_space(std::move(given));
    case BackendChoice::cdev:
      if (!offered)
        throw_no_cdev(address, "this kernel has no node for it, or no " + std::string(kIommuNode));
      return make_cdev_space(std::move(given));
    case BackendChoice::automatic:
      break;
  }
  const bool openable =
      offered && (given.device || may_open(node)) && (given.iommu || may_open(kIommuNode));
  if (openable && !given.group) return make_cdev_space(std::move(given));
  return make_group_space(std::move(given));
}

}  // namespace vanity
