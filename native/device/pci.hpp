// What Linux says of a PCI device before anybody opens it.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "device/iova.hpp"
#include "memory/arena.hpp"

namespace vanity {

// domain:bus:device.function, as in `lspci -D`.
struct PciAddress {
  uint32_t domain = 0;
  uint8_t bus = 0;
  uint8_t device = 0;
  uint8_t function = 0;

  // "0000:01:00.0", or "01:00.0" in domain 0. Throws VANITY_E_DEVICE_SELECTOR.
  static PciAddress parse(std::string_view text);
  std::string text() const;
  auto operator<=>(const PciAddress&) const = default;
};

struct ReservedRange : IovaRange {
  std::string type;  // "msi", "direct", "reserved", "direct-relaxable"
};

class Sysfs {
 public:
  // Tests give a folder of their own.
  explicit Sysfs(std::string root = "/sys") : root_(std::move(root)) {}

  bool present(PciAddress address) const;
  std::string driver(PciAddress address) const;  // "" when nobody has it
  bool is_bridge(PciAddress address) const;
  int iommu_group(PciAddress address) const;     // -1 without an IOMMU
  uint32_t numa_node(PciAddress address) const;  // kAnyNode when Linux names none
  std::vector<PciAddress> members(int iommu_group) const;
  std::vector<ReservedRange> reserved(int iommu_group) const;
  // A group that VFIO made up for a device without an IOMMU (enable_unsafe_noiommu_mode).
  bool unguarded(int iommu_group) const;
  // "/dev/vfio/devices/vfio0"; "" when this kernel has no such nodes, or vfio-pci not the device.
  std::string vfio_node(PciAddress address) const;
  // Configuration space as the hardware has it, whoever holds the device: 2 bytes at `offset`.
  // Throws VANITY_E_DEVICE_NONE when it can't be read.
  uint16_t config_read16(PciAddress address, unsigned offset) const;

 private:
  std::string of(PciAddress address, const char* file) const;
  std::string of(int iommu_group, const char* file) const;

  std::string root_;
};

}  // namespace vanity
