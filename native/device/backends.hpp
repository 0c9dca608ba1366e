// The backends of DmaSpace; DmaSpace::open() chooses.
#pragma once

#include <memory>

#include "device/dma_space.hpp"

namespace vanity {

// Groups and a container of type 1 (v2): every Linux that has VFIO.
std::shared_ptr<DmaSpace> make_group_space(VfioDescriptors descriptors);
// The device's own node and IOMMUFD: Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV and CONFIG_IOMMUFD.
std::shared_ptr<DmaSpace> make_cdev_space(VfioDescriptors descriptors);
// Groups without an IOMMU.
std::shared_ptr<DmaSpace> make_noiommu_space(VfioDescriptors descriptors);

}  // namespace vanity
