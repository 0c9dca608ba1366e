// Backend: IOMMU groups, and a container of type 1, which every Linux with VFIO has.
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <string>
#include <utility>

#include "device/backends.hpp"
#include "device/capability_chain.hpp"
#include "device/groups.hpp"
#include "device/host.hpp"
#include "device/iommu_space.hpp"

namespace vanity {
namespace {

class GroupSpace final : public IommuSpace {
 public:
  explicit GroupSpace(VfioDescriptors given)
      : groups_(VFIO_TYPE1v2_IOMMU, std::move(given.container), std::move(given.group)) {}

  const char* backend() const noexcept override { return "group"; }

  Fd attach(PciAddress address) override {
    const int number = require_vfio(sysfs_, address, false);
    Fd device = groups_.open_device(sysfs_, address, number, "/dev/vfio/" + std::to_string(number));
    joined(windows(), sysfs_.reserved(number));
    return device;
  }

 protected:
  void map_at(uint64_t iova, void* memory, uint64_t bytes, DmaAccess access) override {
    vfio_iommu_type1_dma_map request = {};
    request.argsz = sizeof request;
    request.flags = VFIO_DMA_MAP_FLAG_READ;
    if (access == DmaAccess::read_write) request.flags |= VFIO_DMA_MAP_FLAG_WRITE;
    request.vaddr = reinterpret_cast<uintptr_t>(memory);
    request.iova = iova;
    request.size = bytes;
    if (ioctl(groups_.container(), VFIO_IOMMU_MAP_DMA, &request) == 0) return;
    const int error_number = errno;
    if (error_number == ENOMEM) throw_if_memlock(bytes);
    if (error_number == ENOSPC) throw too_many();
    throw refused("mapping " + std::to_string(bytes >> 10) + " KiB for DMA", error_number);
  }

  void unmap_at(uint64_t iova, uint64_t bytes) override {
    vfio_iommu_type1_dma_unmap request = {};
    request.argsz = sizeof request;
    request.iova = iova;
    request.size = bytes;
    if (ioctl(groups_.container(), VFIO_IOMMU_UNMAP_DMA, &request) != 0)
      throw refused("unmapping " + std::to_string(bytes >> 10) + " KiB", errno);
  }

 private:
  // Linux counts the mappings of a container.
  static Error too_many() {
    const std::string limit = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";
    return {"VANITY_E_VFIO_KERNEL",
            "one mapping for DMA more than Linux allows a container: " + limit,
            "Raise it, and start again: echo 65535 | sudo tee " + limit};
  }

  // What the IOMMU translates for every group of this container.
  std::vector<IovaRange> windows() const {
    vfio_iommu_type1_info head = {};
    head.argsz = sizeof head;
    if (ioctl(groups_.container(), VFIO_IOMMU_GET_INFO, &head) != 0)
      throw refused("the windows of the IOMMU", errno);
    std::vector<uint64_t> buffer((head.argsz + 7) / 8);
    auto* const info = reinterpret_cast<vfio_iommu_type1_info*>(buffer.data());
    info->argsz = head.argsz;
    if (ioctl(groups_.container(), VFIO_IOMMU_GET_INFO, info) != 0)
      throw refused("the windows of the IOMMU", errno);
    std::vector<IovaRange> found;
    const bool more = (info->flags & VFIO_IOMMU_INFO_CAPS) != 0;
    each_capability(info, more ? info->cap_offset : 0, [&](uint16_t id, const char* bytes) {
      if (id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) return;
      const auto ranges = copied_from<vfio_iommu_type1_info_cap_iova_range>(bytes);
      for (uint32_t i = 0; i < ranges.nr_iovas; ++i) {
        const auto range =
            copied_from<vfio_iova_range>(bytes + sizeof ranges + i * sizeof(vfio_iova_range));
        found.push_back({range.start, range.end});
      }
    });
    if (found.empty()) throw refused("this kernel (before 5.4) names no windows", ENOTSUP);
    return found;
  }

  Sysfs sysfs_;
  Groups groups_;
};

}  // namespace

std::shared_ptr<DmaSpace> make_group_space(VfioDescriptors descriptors) {
  return std::make_shared<GroupSpace>(std::move(descriptors));
}

}  // namespace vanity
