#include "device/host.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "device/folder.hpp"
#include "device/inherited.hpp"

namespace vanity {
namespace {

namespace fs = std::filesystem;

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
  return found;
}

uint64_t status_kib(const char* key) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(key, 0) == 0) return std::strtoull(line.c_str() + std::strlen(key), nullptr, 10);
  }
  return 0;
}

}  // namespace

Error refused(const std::string& what, int error_number) {
  return system_error("VANITY_E_VFIO_KERNEL", what, error_number,
                      "Look at what the kernel says: dmesg | grep -iE 'vfio|DMAR|iommu'");
}

Error busy(const std::string& node) {
  const std::string found = holders(node);
  return {"VANITY_E_DEVICE_BUSY",
          node + " is held by " + (found.empty() ? "another process" : found),
          "Stop it first; a device belongs to one process, and so does its IOMMU group."};
}

int require_vfio(const Sysfs& sysfs, PciAddress address, bool unsafe_noiommu) {
  const std::string text = address.text();
  if (!sysfs.present(address)) {
    throw Error("VANITY_E_DEVICE_NONE", "there is no PCI device " + text,
                "List the devices: lspci -D");
  }
  const int group = sysfs.iommu_group(address);
  if ((group < 0 || sysfs.unguarded(group)) && !unsafe_noiommu) {
    throw Error("VANITY_E_IOMMU", "no IOMMU guards " + text + ", so its DMA could reach all memory",
                "Switch it on in the firmware (VT-d, AMD-Vi, SMMU) and boot Linux with "
                "intel_iommu=on (Intel). On a machine that has none: unsafe_noiommu = true");
  }
  const std::string driver = sysfs.driver(address);
  if (driver != "vfio-pci") {
    throw Error("VANITY_E_VFIO_DRIVER",
                text + " is with " + (driver.empty() ? "no driver" : "the driver " + driver) +
                    "; it must be with vfio-pci",
                "Type: sudo vanity device bind " + text);
  }
  if (group < 0) {
    throw Error("VANITY_E_IOMMU",
                "no IOMMU guards " + text +
                    ", and VFIO's mode without one was off when vfio-pci "
                    "took it",
                "Type: echo 1 | sudo tee /sys/module/vfio/parameters/enable_unsafe_noiommu_mode; "
                "sudo vanity device unbind " +
                    text + "; sudo vanity device bind " + text);
  }
  return group;
}

bool exists(const std::string& node) {
  return access(node.c_str(), F_OK) == 0;
}

bool may_open(const std::string& node) {
  return is_inherited(node) || faccessat(AT_FDCWD, node.c_str(), R_OK | W_OK, AT_EACCESS) == 0;
}

Fd open_node(const std::string& node) {
  // All spaces of a process may share /dev/iommu; of the others each is one space's alone.
  Fd given = node == kIommuNode ? copy_inherited(node) : take_inherited(node);
  if (given) return given;
  Fd fd(open(node.c_str(), O_RDWR | O_CLOEXEC));
  if (fd) return fd;
  switch (errno) {
    case EBUSY:
      throw busy(node);
    case EACCES:
    case EPERM:
      throw Error("VANITY_E_VFIO_PERMISSION", "this user may not open " + node,
                  "Type: sudo chown $USER " + node);
    default:
      throw refused(node, errno);
  }
}

bool is_held(const std::string& node) {
  return !holders(node).empty();
}

std::string others_in_group(const Sysfs& sysfs, int group) {
  std::string others;
  for (const PciAddress other : sysfs.members(group)) {
    const std::string driver = sysfs.driver(other);
    if (driver.empty() || driver == "vfio-pci" || driver == "pci-stub" || sysfs.is_bridge(other))
      continue;
    others += (others.empty() ? "" : ", ") + other.text() + " (with " + driver + ")";
  }
  return others;
}

Error not_viable(PciAddress address, int group, const std::string& others) {
  return {"VANITY_E_GROUP",
          "IOMMU group " + std::to_string(group) + " of " + address.text() +
              " cannot be used: in it is also " + (others.empty() ? "a device" : others),
          "The IOMMU cannot tell these devices apart: give all of them to vfio-pci (sudo vanity "
          "device bind ADDRESS), or use another slot."};
}

void throw_if_memlock(uint64_t bytes) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  // Groups count as locked, IOMMUFD as pinned.
  const uint64_t used = status_kib("VmLck:") + status_kib("VmPin:");
  const uint64_t needed = used + (bytes >> 10);
  if (needed <= limit.rlim_cur >> 10) return;
  throw Error(
      "VANITY_E_MEMLOCK",
      "mapping " + std::to_string(bytes >> 10) + " KiB for DMA needs " + std::to_string(needed) +
          " KiB of locked memory; the limit is " + std::to_string(limit.rlim_cur >> 10) +
          " KiB, of which " + std::to_string(used) + " KiB are used",
      "Raise it: ulimit -l " + std::to_string(needed) + " (LimitMEMLOCK= of a systemd service)");
}

}  // namespace vanity
