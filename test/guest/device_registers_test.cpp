// Registers of real devices: what is granted is seen, and nothing else; and when they go away.
#include <atomic>

#include "device_fixture.hpp"

using namespace vanity;

TEST(edu_is_itself_and_alive) {
  Edu edu;
  CHECK_EQ(edu.view.read32(0) & 0xff, 0xedu);
  edu.view.write32(4, 0x12345678);
  CHECK_EQ(edu.view.read32(4), ~0x12345678u);
  CHECK_EQ(edu.device.config_read<uint16_t>(PCI_VENDOR_ID), 0x1234);
  CHECK_EQ(edu.device.config_read<uint16_t>(PCI_DEVICE_ID), 0x11e8);
  CHECK_EQ(edu.device.bar_bytes(0), uint64_t{1} << 20);
  CHECK_EQ(edu.device.bar_bytes(1), 0u);
  CHECK_EQ(edu.device.bar_bytes(6), 0u);
}

TEST(nothing_beyond_the_grant_is_seen) {
  Opened device(edu_address());
  const MmioView view = device.mmio(0, 0, 8);  // identity and liveness only
  CHECK_EQ(view.read32(0) & 0xff, 0xedu);
  CHECK_EQ(caught([&] { view.read32(8); }).code, "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(caught([&] { view.write32(0x60, 1); }).code, "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(caught([&] { view.read32(2); }).code, "VANITY_E_VFIO_ACCESS");
  const Caught beyond = caught([&] { device.mmio(0, 0xff000, 0x2000); });
  CHECK_EQ(beyond.code, "VANITY_E_BAR");
  CHECK(holds(beyond.message, "it has 0x100000 bytes"));
  CHECK_EQ(caught([&] { device.mmio(0, ~uint64_t{0}, 2); }).code, "VANITY_E_BAR");
  CHECK_EQ(caught([&] { device.mmio(0, 0, 0); }).code, "VANITY_E_BAR");
  CHECK(holds(caught([&] { device.mmio(3, 0, 8); }).message, "no such BAR"));
}

// A granted page is mapped, its neighbour is not: the kernel itself stops a stray pointer there.
TEST(only_the_pages_of_the_grant_are_mapped) {
  Opened device(edu_address());
  device.mmio(0, 0x1008, 8);
  std::ifstream maps("/proc/self/maps");
  std::string found;
  for (std::string line; std::getline(maps, line);)
    if (line.find("vfio") != std::string::npos) found += line + "\n";
  CHECK_EQ(std::count(found.begin(), found.end(), '\n'), 1);
  const uint64_t first = std::stoull(found, nullptr, 16);
  const uint64_t end = std::stoull(found.substr(found.find('-') + 1), nullptr, 16);
  CHECK_EQ(end - first, 4096u);
}

TEST(the_table_of_msix_is_not_to_be_had) {
  Opened device(device_of("VANITY_NVME"));  // registers and table in one BAR
  device.mmio(0, 0, 0x1000).read32(0);
  const unsigned at = device.capability(PCI_CAP_ID_MSIX);
  CHECK(at != 0);
  const uint64_t table = device.config_read<uint32_t>(at + PCI_MSIX_TABLE);
  CHECK_EQ(table & PCI_MSIX_TABLE_BIR, 0u);
  CHECK(table > 0);
  for (const uint64_t offset : {table, table - 4, table + 16}) {
    const Caught error = caught([&] { device.mmio(0, offset, 8); });
    CHECK_EQ(error.code, "VANITY_E_BAR");
    CHECK(holds(error.message, "MSI-X"));
  }
}

TEST(a_function_level_reset_forgets_what_was_written) {
  Opened device(device_of("VANITY_VIRTIO_NET"));
  CHECK(device.can_reset());
  // VIRTIO 1.2 section 4.1.4: where the common configuration is.
  unsigned at = device.capability(PCI_CAP_ID_VNDR);
  while (device.config_read<uint8_t>(at + 3) != 1) {
    at = device.config_read<uint8_t>(at + PCI_CAP_LIST_NEXT);
    CHECK(at != 0);
  }
  const MmioView common =
      device.mmio(device.config_read<uint8_t>(at + 4), device.config_read<uint32_t>(at + 8), 56);
  constexpr uint64_t kStatus = 20;
  common.write8(kStatus, 3);  // ACKNOWLEDGE, DRIVER
  CHECK_EQ(common.read8(kStatus), 3);
  device.reset();
  CHECK_EQ(common.read8(kStatus), 0);
  // Halted it is reset, too.
  common.write8(kStatus, 3);
  device.bus_master(true);
  device.halt();
  CHECK(!device.bus_master());
  CHECK_EQ(common.read8(kStatus), 0);
  device.resume(true);
  CHECK(device.bus_master());
}

// As when a device is pulled out, or falls off the bus: an access faults instead of reading ones.
TEST(registers_that_disappear_read_as_ones) {
  Edu edu;
  Opened nic(e1000e_address());
  const MmioView nic_view = nic.mmio(0, 0, 0x20000);
  const MmioView other_page = edu.device.mmio(0, 0x1000, 8);
  CHECK(!edu.device.gone());
  const auto command = edu.device.config_read<uint16_t>(PCI_COMMAND);
  const auto without = static_cast<uint16_t>(command & ~PCI_COMMAND_MEMORY);
  edu.device.config_write<uint16_t>(PCI_COMMAND, without);
  CHECK(!edu.device.gone());  // nobody has looked yet
  CHECK_EQ(edu.view.read32(0), 0xffffffffu);
  CHECK(edu.device.gone());
  CHECK_EQ(edu.view.read64(0x80), ~uint64_t{0});
  edu.view.write32(4, 1);
  edu.device.config_write<uint16_t>(PCI_COMMAND, command);
  CHECK(edu.view.read32(0) == 0xffffffffu);  // gone is gone
  other_page.read32(0);
  CHECK(!nic.gone());
  CHECK(nic_view.read32(e1000e::kRal0) != 0xffffffff);
  edu.device.quiesce();
}

TEST(a_device_that_came_back_is_opened_anew) {
  Edu edu;
  CHECK(!edu.device.gone());
  CHECK_EQ(edu.view.read32(0) & 0xff, 0xedu);
}

// Many accesses on several threads at the moment it goes: each ends, and reads the device or ones.
TEST(threads_that_use_registers_survive_their_end) {
  Edu edu;
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> wrong{0};
  const Register<uint32_t> identity = edu.view.at<uint32_t>(0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        const uint32_t value = identity.read();
        if (value != 0xffffffff && (value & 0xff) != 0xed) wrong.fetch_add(1);
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto command = edu.device.config_read<uint16_t>(PCI_COMMAND);
  edu.device.config_write<uint16_t>(PCI_COMMAND,
                                    static_cast<uint16_t>(command & ~PCI_COMMAND_MEMORY));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  stop = true;
  for (auto& thread : threads) thread.join();
  CHECK(edu.device.gone());
  CHECK_EQ(wrong.load(), 0u);
}
