// Backend: the device's own node, and an address space of IOMMUFD.
#include <sys/ioctl.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "device/backends.hpp"
#include "device/host.hpp"
#include "device/iommu_space.hpp"
#include "device/iommufd_abi.hpp"

namespace vanity {
namespace {

class CdevSpace final : public IommuSpace {
 public:
  explicit CdevSpace(VfioDescriptors given)
      : iommu_(std::move(given.iommu)), given_device_(std::move(given.device)) {}

  ~CdevSpace() override {
    // The descriptor may be a copy that others go on using.
    if (ioas_ == 0) return;
    abi::Destroy request = {sizeof request, ioas_};
    ioctl(iommu_.get(), abi::kDestroy, &request);
  }

  const char* backend() const noexcept override { return "cdev"; }

  Fd attach(PciAddress address) override {
    const int group = require_vfio(sysfs_, address, false);
    const std::string node = sysfs_.vfio_node(address);
    Fd device = given_device_ ? std::move(given_device_) : open_node(node);
    if (!iommu_) iommu_ = open_node(kIommuNode);
    bind(device, address, group, node);
    if (ioas_ == 0) {
      abi::IoasAlloc request = {sizeof request, 0, 0};
      if (ioctl(iommu_.get(), abi::kIoasAlloc, &request) != 0)
        throw refused("an address space for DMA", errno);
      ioas_ = request.ioas_id;
    }
    abi::AttachPageTable request = {sizeof request, 0, ioas_};
    if (ioctl(device.get(), abi::kAttachPageTable, &request) != 0)
      throw refused(address.text() + ": joining an address space", errno);
    joined(windows(), sysfs_.reserved(group));
    return device;
  }

 protected:
  void map_at(uint64_t iova, void* memory, uint64_t bytes, DmaAccess access) override {
    abi::IoasMap request = {};
    request.size = sizeof request;
    request.flags = abi::IoasMap::kFixedIova | abi::IoasMap::kReadable;
    if (access == DmaAccess::read_write) request.flags |= abi::IoasMap::kWriteable;
    request.ioas_id = ioas_;
    request.memory = reinterpret_cast<uintptr_t>(memory);
    request.bytes = bytes;
    request.iova = iova;
    if (ioctl(iommu_.get(), abi::kIoasMap, &request) == 0) return;
    const int error_number = errno;
    if (error_number == ENOMEM) throw_if_memlock(bytes);
    throw refused("mapping " + std::to_string(bytes >> 10) + " KiB for DMA", error_number);
  }

  void unmap_at(uint64_t iova, uint64_t bytes) override {
    abi::IoasUnmap request = {sizeof request, ioas_, iova, bytes};
    if (ioctl(iommu_.get(), abi::kIoasUnmap, &request) != 0)
      throw refused("unmapping " + std::to_string(bytes >> 10) + " KiB", errno);
  }

 private:
  // Binding is what claims a device: it fails when anybody has the node or the group already, or
  // when a device of the group is with a driver of the kernel's.
  void bind(Fd& device, PciAddress address, int group, const std::string& node) {
    abi::BindIommufd request = {sizeof request, 0, iommu_.get(), 0};
    if (ioctl(device.get(), abi::kBindIommufd, &request) == 0) return;
    const int error_number = errno;
    device.reset();  // so that we are not found among those who hold it
    const std::string others = others_in_group(sysfs_, group);
    if (!others.empty()) throw not_viable(address, group, others);
    // Of the group, for it has one address space.
    std::vector<std::string> nodes = {"/dev/vfio/" + std::to_string(group)};
    for (const PciAddress member : sysfs_.members(group)) nodes.push_back(sysfs_.vfio_node(member));
    for (const std::string& held : nodes) {
      if (is_held(held)) throw busy(held);
    }
    if (error_number == EBUSY || error_number == EINVAL || error_number == EPERM) throw busy(node);
    throw refused("opening " + address.text(), error_number);
  }

  std::vector<IovaRange> windows() const {
    std::vector<abi::IoasIovaRange> ranges(16);
    for (;;) {
      abi::IoasIovaRanges request = {};
      request.size = sizeof request;
      request.ioas_id = ioas_;
      request.count = static_cast<uint32_t>(ranges.size());
      request.ranges = reinterpret_cast<uintptr_t>(ranges.data());
      const bool ok = ioctl(iommu_.get(), abi::kIoasIovaRanges, &request) == 0;
      if (!ok && errno != EMSGSIZE) throw refused("the windows of the IOMMU", errno);
      ranges.resize(request.count);
      if (ok) break;
    }
    std::vector<IovaRange> found;
    found.reserve(ranges.size());
    for (const auto& range : ranges) found.push_back({range.first, range.last});
    return found;
  }

  Sysfs sysfs_;
  Fd iommu_;
  Fd given_device_;
  uint32_t ioas_ = 0;  // identifiers begin at 1
};

}  // namespace

std::shared_ptr<DmaSpace> make_cdev_space(VfioDescriptors descriptors) {
  return std::make_shared<CdevSpace>(std::move(descriptors));
}

}  // namespace vanity
