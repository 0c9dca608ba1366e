#include "device/groups.hpp"

#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "device/host.hpp"

namespace vanity {

Fd Groups::open_device(const Sysfs& sysfs, PciAddress address, int number,
                       const std::string& node) {
  const Fd& group = join(sysfs, address, number, node);
  Fd device(ioctl(group.get(), VFIO_GROUP_GET_DEVICE_FD, address.text().c_str()));
  if (!device) throw refused("opening " + address.text(), errno);
  return device;
}

const Fd& Groups::join(const Sysfs& sysfs, PciAddress address, int number,
                       const std::string& node) {
  const auto known = groups_.find(number);
  if (known != groups_.end()) return known->second;

  if (!container_) container_ = open_node(kContainerNode);
  if (ioctl(container_.get(), VFIO_CHECK_EXTENSION, iommu_type_) != 1)
    throw refused(std::string(kContainerNode) + " has no IOMMU of this type", ENOTSUP);
  Fd group = given_group_ ? std::move(given_group_) : open_node(node);

  vfio_group_status status = {};
  status.argsz = sizeof status;
  if (ioctl(group.get(), VFIO_GROUP_GET_STATUS, &status) != 0) throw refused(node, errno);
  if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0)
    throw not_viable(address, number, others_in_group(sysfs, number));
  if ((status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET) == 0) {
    const int container = container_.get();
    if (ioctl(group.get(), VFIO_GROUP_SET_CONTAINER, &container) != 0)
      throw refused(node + ": joining a container", errno);
  }
  if (groups_.empty() && ioctl(container_.get(), VFIO_SET_IOMMU, iommu_type_) != 0)
    throw refused("switching the IOMMU on for " + address.text(), errno);
  return groups_.emplace(number, std::move(group)).first->second;
}

}  // namespace vanity
