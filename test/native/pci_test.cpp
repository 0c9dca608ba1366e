#include "device/pci.hpp"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "check.hpp"
#include "platform/error.hpp"

using namespace vanity;
namespace fs = std::filesystem;

namespace {

// A sysfs with what the tests need: a bridge and two functions of one slot in group 7, one of them
// with a driver, and a device without an IOMMU.
class FakeSysfs {
 public:
  FakeSysfs() {
    char name[] = "/tmp/vanity-sysfs-XXXXXX";
    root_ = mkdtemp(name);
    fs::create_directories(root_ / "bus/pci/drivers/e1000e");
    device("0000:00:1c.0", "0x060400", 7);
    device("0000:02:00.0", "0x020000", 7);
    device("0000:02:00.1", "0x020000", 7);
    device("0001:00:05.0", "0x00ff00", -1);
    fs::create_symlink("../../drivers/e1000e", of("0000:02:00.1") / "driver");
    std::ofstream(of("0000:02:00.0") / "numa_node") << "1\n";
    std::ofstream(of("0000:02:00.1") / "numa_node") << "-1\n";
    std::ofstream(of("0000:02:00.0") / "config") << std::string("\x86\x80\xd3\x10\x07\x04", 6);
    std::ofstream(root_ / "kernel/iommu_groups/7/reserved_regions")
        << "0x00000000fee00000 0x00000000feefffff msi\n"
        << "0x0000000000001000 0x0000000000001fff direct-relaxable\n";
    std::ofstream(root_ / "kernel/iommu_groups/7/devices/platform-device");
  }
  ~FakeSysfs() { fs::remove_all(root_); }

  std::string root() const { return root_; }

 private:
  fs::path of(const char* address) { return root_ / "bus/pci/devices" / address; }
  void device(const char* address, const char* class_code, int group) {
    fs::create_directories(of(address));
    std::ofstream(of(address) / "class") << class_code << '\n';
    if (group < 0) return;
    const fs::path folder = root_ / "kernel/iommu_groups" / std::to_string(group);
    fs::create_directories(folder / "devices");
    fs::create_symlink(folder, of(address) / "iommu_group");
    fs::create_symlink(of(address), folder / "devices" / address);
  }

  fs::path root_;
};

}  // namespace

TEST(addresses_are_read_and_written) {
  const PciAddress address = PciAddress::parse("0000:a1:1f.7");
  CHECK_EQ(address.bus, 0xa1);
  CHECK_EQ(address.device, 0x1f);
  CHECK_EQ(address.function, 7);
  CHECK_EQ(address.text(), "0000:a1:1f.7");
  CHECK_EQ(PciAddress::parse("01:00.0").text(), "0000:01:00.0");
  CHECK_EQ(PciAddress::parse("10000:E1:00.0").text(), "10000:e1:00.0");
  CHECK(PciAddress::parse("0000:00:02.0") < PciAddress::parse("0000:01:00.0"));
}

TEST(what_is_no_address_is_refused) {
  for (const char* text :
       {"", "0", "0000:00:02", "0000:00:02.", "0000:00:02.8", "0000:00:20.0", "000:00:02.0",
        "0000:00:02.0 ", " 0000:00:02.0", "0000:0:02.0", "0000:00:02.0.0", "0000:0g:02.0",
        "../00:02.0", "0000:00:02.00", "123456789:00:02.0", ":00:02.0"}) {
    try {
      PciAddress::parse(text);
      check::fail(__FILE__, __LINE__, std::string("accepted: ") + text);
    } catch (const Error& error) {
      CHECK_EQ(std::string(error.code()), "VANITY_E_DEVICE_SELECTOR");
    }
  }
}

TEST(sysfs_tells_who_has_a_device_and_who_is_in_its_group) {
  const FakeSysfs fake;
  const Sysfs sysfs(fake.root());
  const PciAddress nic = PciAddress::parse("0000:02:00.0");
  CHECK(sysfs.present(nic));
  CHECK(!sysfs.present(PciAddress::parse("0000:03:00.0")));
  CHECK_EQ(sysfs.driver(nic), "");
  CHECK_EQ(sysfs.driver(PciAddress::parse("0000:02:00.1")), "e1000e");
  CHECK_EQ(sysfs.iommu_group(nic), 7);
  CHECK_EQ(sysfs.iommu_group(PciAddress::parse("0001:00:05.0")), -1);
  CHECK_EQ(sysfs.numa_node(nic), 1u);
  CHECK_EQ(sysfs.numa_node(PciAddress::parse("0000:02:00.1")), kAnyNode);
  CHECK_EQ(sysfs.numa_node(PciAddress::parse("0001:00:05.0")), kAnyNode);
  const auto members = sysfs.members(7);
  CHECK_EQ(members.size(), 3u);
  CHECK_EQ(members[0].text(), "0000:00:1c.0");
  CHECK(sysfs.is_bridge(members[0]));
  CHECK(!sysfs.is_bridge(members[1]));
  CHECK(sysfs.members(8).empty());
}

TEST(sysfs_tells_the_node_of_a_device_and_whether_its_group_is_made_up) {
  const FakeSysfs fake;
  const Sysfs sysfs(fake.root());
  const PciAddress nic = PciAddress::parse("0000:02:00.0");
  const std::string folder = fake.root() + "/bus/pci/devices/" + nic.text() + "/vfio-dev/vfio3";
  CHECK_EQ(sysfs.vfio_node(nic), "");
  fs::create_directories(folder);
  CHECK_EQ(sysfs.vfio_node(nic), "");  // Linux 6.1: the folder, but no node
  std::ofstream(folder + "/dev") << "511:3\n";
  CHECK_EQ(sysfs.vfio_node(nic), "/dev/vfio/devices/vfio3");
  CHECK(!sysfs.unguarded(7));
  std::ofstream(fake.root() + "/kernel/iommu_groups/7/name") << "vfio-noiommu\n";
  CHECK(sysfs.unguarded(7));
  CHECK(!sysfs.unguarded(-1));
}

TEST(sysfs_tells_what_firmware_and_interrupts_keep) {
  const FakeSysfs fake;
  const auto ranges = Sysfs(fake.root()).reserved(7);
  CHECK_EQ(ranges.size(), 2u);
  CHECK_EQ(ranges[0].first, 0xfee00000u);
  CHECK_EQ(ranges[0].last, 0xfeefffffu);
  CHECK_EQ(ranges[0].type, "msi");
  CHECK_EQ(ranges[1].type, "direct-relaxable");
}

TEST(configuration_space_is_read_as_little_endian_and_a_missing_one_is_an_error) {
  const FakeSysfs fake;
  const Sysfs sysfs(fake.root());
  CHECK_EQ(sysfs.config_read16(PciAddress::parse("0000:02:00.0"), 0), 0x8086);
  CHECK_EQ(sysfs.config_read16(PciAddress::parse("0000:02:00.0"), 4), 0x0407);
  CHECK_THROWS(sysfs.config_read16(PciAddress::parse("0000:02:00.0"), 6), Error);
  CHECK_THROWS(sysfs.config_read16(PciAddress::parse("0000:02:00.1"), 0), Error);
}
