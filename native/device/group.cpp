// The backend of DmaSpace that every Linux with VFIO has: IOMMU groups, and a container of type 1.
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <utility>

#include "device/capability_chain.hpp"
#include "device/dma_space.hpp"
#include "device/folder.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

namespace fs = std::filesystem;

std::string node_of(int group) {
  return "/dev/vfio/" + std::to_string(group);
}

// "process 123 (node)" for everybody who has `path` open and whom we may look at.
std::string holders(const std::string& path) {
  std::string found;
  each_entry("/proc", [&](const fs::path& process) {
    const std::string pid = process.filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) return;
    bool holds = false;
    each_entry(process / "fd", [&](const fs::path& fd) {
      std::error_code none;
      holds |= fs::read_symlink(fd, none) == path;
    });
    if (!holds) return;
    std::string name;
    std::getline(std::ifstream(process / "comm"), name);
    found.append(found.empty() ? "process " : ", process ").append(pid);
    found.append(" (").append(name).append(")");
  });
  return found.empty() ? "another process" : found;
}

Error refused(const std::string& what, int error_number) {
  return system_error("VANITY_E_VFIO_KERNEL", what, error_number,
                      "Look at what the kernel says: dmesg | grep -iE 'vfio|DMAR|iommu'");
}

Fd open_node(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (fd) return fd;
  switch (errno) {
    case EBUSY:
      throw Error("VANITY_E_VFIO_BUSY", path + " is held by " + holders(path),
                  "Stop it first; a group of devices belongs to one process.");
    case EACCES:
    case EPERM:
      throw Error("VANITY_E_VFIO_PERMISSION", "this user may not open " + path,
                  "Type: sudo chown $USER " + path);
    default:
      throw refused(path, errno);
  }
}

// Everybody but bridges must be with vfio-pci or with nobody: else one device of the group could
// reach, through another's driver, what it was not granted.
std::string others_of(const Sysfs& sysfs, int group) {
  std::string text;
  for (const PciAddress address : sysfs.members(group)) {
    const std::string driver = sysfs.driver(address);
    if (driver.empty() || driver == "vfio-pci" || driver == "pci-stub" || sysfs.is_bridge(address))
      continue;
    text += (text.empty() ? "" : ", ") + address.text() + " (with " + driver + ")";
  }
  return text;
}

uint64_t status_kib(const char* key) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(key, 0) == 0) return std::strtoull(line.c_str() + std::strlen(key), nullptr, 10);
  }
  return 0;
}

class GroupSpace final : public DmaSpace {
 public:
  explicit GroupSpace(VfioDescriptors given)
      : container_(std::move(given.container)), given_group_(std::move(given.group)) {}

  Fd attach(PciAddress address) override {
    const int number = check_host(address);
    const Fd& group = join(address, number);
    Fd device(ioctl(group.get(), VFIO_GROUP_GET_DEVICE_FD, address.text().c_str()));
    if (!device) throw refused("opening " + address.text(), errno);
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
    if (ioctl(container_.get(), VFIO_IOMMU_MAP_DMA, &request) == 0) return;
    const int error_number = errno;
    if (error_number == ENOMEM) throw_if_memlock(bytes);
    throw refused("mapping " + std::to_string(bytes >> 10) + " KiB for DMA", error_number);
  }

  void unmap_at(uint64_t iova, uint64_t bytes) override {
    vfio_iommu_type1_dma_unmap request = {};
    request.argsz = sizeof request;
    request.iova = iova;
    request.size = bytes;
    if (ioctl(container_.get(), VFIO_IOMMU_UNMAP_DMA, &request) != 0)
      throw refused("unmapping " + std::to_string(bytes >> 10) + " KiB", errno);
  }

 private:
  // The number of the device's group, once all that can be known without opening is right.
  int check_host(PciAddress address) const {
    const std::string text = address.text();
    if (!sysfs_.present(address)) {
      throw Error("VANITY_E_VFIO_ABSENT", "there is no PCI device " + text,
                  "List the devices: lspci -D");
    }
    const int number = sysfs_.iommu_group(address);
    if (number < 0) {
      throw Error("VANITY_E_VFIO_IOMMU",
                  "no IOMMU guards " + text + ", so its DMA could reach all memory",
                  "Switch it on in the firmware (VT-d, AMD-Vi, SMMU) and boot Linux with "
                  "intel_iommu=on (Intel)");
    }
    const std::string driver = sysfs_.driver(address);
    if (driver != "vfio-pci") {
      throw Error("VANITY_E_VFIO_DRIVER",
                  text + " is with " + (driver.empty() ? "no driver" : "the driver " + driver) +
                      "; it must be with vfio-pci",
                  "Type: sudo vanity device bind " + text);
    }
    return number;
  }

  const Fd& join(PciAddress address, int number) {
    const auto known = groups_.find(number);
    if (known != groups_.end()) return known->second;

    if (!container_) container_ = open_node("/dev/vfio/vfio");
    if (ioctl(container_.get(), VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
      throw refused("/dev/vfio/vfio has no IOMMU of type 1, version 2", ENOTSUP);
    Fd group = given_group_ ? std::move(given_group_) : open_node(node_of(number));

    vfio_group_status status = {};
    status.argsz = sizeof status;
    if (ioctl(group.get(), VFIO_GROUP_GET_STATUS, &status) != 0)
      throw refused(node_of(number), errno);
    if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0) {
      const std::string others = others_of(sysfs_, number);
      throw Error("VANITY_E_VFIO_GROUP",
                  "IOMMU group " + std::to_string(number) + " of " + address.text() +
                      " cannot be used: in it is also " + (others.empty() ? "a device" : others),
                  "The IOMMU cannot tell these devices apart: give all of them to vfio-pci (sudo "
                  "vanity device bind ADDRESS), or use another slot.");
    }
    if ((status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET) == 0) {
      const int container = container_.get();
      if (ioctl(group.get(), VFIO_GROUP_SET_CONTAINER, &container) != 0)
        throw refused(node_of(number) + ": joining a container", errno);
    }
    if (groups_.empty() && ioctl(container_.get(), VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0)
      throw refused("switching the IOMMU on for " + address.text(), errno);
    return groups_.emplace(number, std::move(group)).first->second;
  }

  // What the IOMMU translates for every group of this container.
  std::vector<IovaRange> windows() const {
    vfio_iommu_type1_info head = {};
    head.argsz = sizeof head;
    if (ioctl(container_.get(), VFIO_IOMMU_GET_INFO, &head) != 0)
      throw refused("the windows of the IOMMU", errno);
    std::vector<uint64_t> buffer((head.argsz + 7) / 8);
    auto* const info = reinterpret_cast<vfio_iommu_type1_info*>(buffer.data());
    info->argsz = head.argsz;
    if (ioctl(container_.get(), VFIO_IOMMU_GET_INFO, info) != 0)
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

  // Pages for DMA count as locked memory, huge ones too.
  static void throw_if_memlock(uint64_t bytes) {
    rlimit limit = {};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    const uint64_t used = status_kib("VmLck:");
    const uint64_t needed = used + (bytes >> 10);
    if (needed <= limit.rlim_cur >> 10) return;
    throw Error(
        "VANITY_E_VFIO_MEMLOCK",
        "mapping " + std::to_string(bytes >> 10) + " KiB for DMA needs " + std::to_string(needed) +
            " KiB of locked memory; the limit is " + std::to_string(limit.rlim_cur >> 10) +
            " KiB, of which " + std::to_string(used) + " KiB are used",
        "Raise it: ulimit -l " + std::to_string(needed) + " (LimitMEMLOCK= of a systemd service)");
  }

  Sysfs sysfs_;
  // The groups close before the container: closing the last group ends the translation.
  Fd container_;
  Fd given_group_;
  std::map<int, Fd> groups_;
};

}  // namespace

std::shared_ptr<DmaSpace> DmaSpace::group(VfioDescriptors descriptors) {
  return std::make_shared<GroupSpace>(std::move(descriptors));
}

}  // namespace vanity
