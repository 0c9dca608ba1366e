#include "device/pci.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "device/folder.hpp"
#include "platform/error.hpp"
#include "platform/fd.hpp"

namespace vanity {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kClassBridge = 0x06;

// `least` to `most` hexadecimal digits, eaten from the front of `text`.
bool eat_hex(std::string_view& text, size_t least, size_t most, uint32_t& value) {
  size_t n = 0;
  value = 0;
  for (; n < most && n < text.size(); ++n) {
    const char c = text[n];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) break;
    value = value * 16 + static_cast<uint32_t>(digit);
  }
  text.remove_prefix(n);
  return n >= least;
}

bool eat(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

// The last part of where a link points to, "" without a link.
std::string link_name(const std::string& path) {
  std::error_code none;
  return fs::read_symlink(path, none).filename().string();
}

}  // namespace

PciAddress PciAddress::parse(std::string_view text) {
  std::string_view rest = text;
  uint32_t domain = 0;
  uint32_t bus = 0;
  uint32_t device = 0;
  uint32_t function = 0;
  const bool short_form = std::count(text.begin(), text.end(), ':') == 1;
  const bool ok = (short_form || (eat_hex(rest, 4, 8, domain) && eat(rest, ':'))) &&
                  eat_hex(rest, 2, 2, bus) && eat(rest, ':') && eat_hex(rest, 2, 2, device) &&
                  eat(rest, '.') && eat_hex(rest, 1, 1, function) && rest.empty() && device < 32 &&
                  function < 8;
  if (!ok) {
    throw Error("VANITY_E_DEVICE_SELECTOR",
                "\"" + std::string(text) +
                    "\" is no PCI address; one looks like 0000:01:00.0 (domain, bus, device, "
                    "function, hexadecimal)",
                "List the devices: lspci -D");
  }
  return {domain, static_cast<uint8_t>(bus), static_cast<uint8_t>(device),
          static_cast<uint8_t>(function)};
}

std::string PciAddress::text() const {
  char buffer[24];
  std::snprintf(buffer, sizeof buffer, "%04x:%02x:%02x.%x", domain, bus, device, function);
  return buffer;
}

std::string Sysfs::of(PciAddress address, const char* file) const {
  return root_ + "/bus/pci/devices/" + address.text() + "/" + file;
}

std::string Sysfs::of(int iommu_group, const char* file) const {
  return root_ + "/kernel/iommu_groups/" + std::to_string(iommu_group) + "/" + file;
}

bool Sysfs::present(PciAddress address) const {
  std::error_code none;
  return fs::exists(of(address, ""), none);
}

std::string Sysfs::driver(PciAddress address) const {
  return link_name(of(address, "driver"));
}

bool Sysfs::is_bridge(PciAddress address) const {
  std::ifstream file(of(address, "class"));
  uint32_t code = 0;
  file >> std::hex >> code;
  return code >> 16 == kClassBridge;
}

int Sysfs::iommu_group(PciAddress address) const {
  const std::string name = link_name(of(address, "iommu_group"));
  return name.empty() ? -1 : std::atoi(name.c_str());
}

uint32_t Sysfs::numa_node(PciAddress address) const {
  std::ifstream file(of(address, "numa_node"));
  int node = -1;
  file >> node;
  return node < 0 ? kAnyNode : static_cast<uint32_t>(node);
}

std::vector<PciAddress> Sysfs::members(int iommu_group) const {
  std::vector<PciAddress> found;
  each_entry(of(iommu_group, "devices"), [&](const fs::path& entry) {
    try {
      found.push_back(PciAddress::parse(entry.filename().string()));
    } catch (const Error&) {  // a group may hold what is not PCI: platform devices on Arm
    }
  });
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<ReservedRange> Sysfs::reserved(int iommu_group) const {
  std::vector<ReservedRange> found;
  std::ifstream file(of(iommu_group, "reserved_regions"));
  ReservedRange range;
  while (file >> std::hex >> range.first >> range.last >> range.type) found.push_back(range);
  return found;
}

bool Sysfs::unguarded(int iommu_group) const {
  std::ifstream file(of(iommu_group, "name"));
  std::string name;
  std::getline(file, name);
  return name == "vfio-noiommu";
}

std::string Sysfs::vfio_node(PciAddress address) const {
  std::string node;
  each_entry(of(address, "vfio-dev"), [&](const fs::path& entry) {
    std::error_code none;  // the folder is older than the nodes: Linux 6.1 against 6.6
    if (fs::exists(entry / "dev", none)) node = "/dev/vfio/devices/" + entry.filename().string();
  });
  return node;
}

uint16_t Sysfs::config_read16(PciAddress address, unsigned offset) const {
  const Fd file(open(of(address, "config").c_str(), O_RDONLY | O_CLOEXEC));
  uint8_t bytes[2];
  if (!file || pread(file.get(), bytes, sizeof bytes, offset) != sizeof bytes) {
    throw Error("VANITY_E_DEVICE_NONE",
                "the configuration of " + address.text() + " cannot be read",
                "List the devices: lspci -D");
  }
  return static_cast<uint16_t>(bytes[0] | bytes[1] << 8);
}

}  // namespace vanity
