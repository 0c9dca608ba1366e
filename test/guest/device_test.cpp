// native/device against real VFIO, a real IOMMU and QEMU's device models. Runs inside the guest
// only (test/guest/jobs/device.sh), as root; the devices named in the environment are with
// vfio-pci.
#include <fcntl.h>
#include <grp.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../native/check.hpp"
#include "device/vfio.hpp"
#include "platform/error.hpp"

using namespace vanity;

namespace {

PciAddress device_of(const char* variable) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) throw std::runtime_error(std::string("no device in $") + variable);
  return PciAddress::parse(text);
}
PciAddress edu_address() {
  return device_of("VANITY_EDU");
}
PciAddress e1000e_address() {
  return device_of("VANITY_E1000E");
}

// The hardware's own view, past VFIO and this process.
uint16_t command_of(PciAddress address) {
  return Sysfs().config_read16(address, PCI_COMMAND);
}
bool masters_bus(PciAddress address) {
  return (command_of(address) & PCI_COMMAND_MASTER) != 0;
}

bool fired(const Irq& irq, uint32_t vector, int ms, uint64_t* count = nullptr) {
  pollfd wait = {irq.fd(vector), POLLIN, 0};
  if (poll(&wait, 1, ms) != 1) return false;
  const uint64_t events = irq.take(vector);
  if (count != nullptr) *count = events;
  return events > 0;
}
constexpr int kSoonMs = 3000;  // for what must come
constexpr int kQuietMs = 150;  // for what must not

struct Caught {
  std::string code;
  std::string message;
};
Caught caught(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {"none", ""};
}
bool holds(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  std::printf("  \"%s\" does not hold \"%s\"\n", text.c_str(), part.c_str());
  return false;
}

bool all_are(const DmaRegion& region, unsigned char value) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(region.data());
  return bytes[0] == value && std::memcmp(bytes, bytes + 1, region.bytes() - 1) == 0;
}

// In a process of its own, since limits, users and death can't be taken back. The child's error, or
// "" when it ended well.
std::string in_child(const std::function<void()>& run) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("pipe");
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    std::string text;
    try {
      run();
    } catch (const Error& error) {
      text = std::string(error.code()) + ": " + error.what();
    } catch (const std::exception& error) {
      text = error.what();
    }
    if (write(ends[1], text.data(), text.size()) < 0) _exit(2);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[512];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) text += " (the child died)";
  return text;
}

void become_nobody(uint64_t memlock_bytes) {
  const rlimit limit = {memlock_bytes, memlock_bytes};
  if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || setgroups(0, nullptr) != 0 ||
      setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
    throw std::runtime_error("cannot become nobody");
}

std::string group_node(PciAddress address) {
  return "/dev/vfio/" + std::to_string(Sysfs().iommu_group(address));
}

// QEMU's edu (docs/specs/edu.txt): a DMA takes about 100 ms, addresses have 28 bits, and one of
// 4096 bytes aborts QEMU 7.2.
struct Edu {
  static constexpr unsigned kBits = 28;
  static constexpr uint64_t kBuffer = 0x40000;  // the device's own memory, as its DMA sees it

  VfioDevice device;
  MmioView view;

  explicit Edu(std::shared_ptr<DmaSpace> space = DmaSpace::group())
      : device(edu_address(), std::move(space)), view(device.mmio(0, 0, 0x100)) {
    acknowledge(~0u);  // it can't be reset, so what the last owner raised may still be up
  }

  void raise(uint32_t cause) { view.write32(0x60, cause); }
  void acknowledge(uint32_t cause) { view.write32(0x64, cause); }
  uint32_t cause() { return view.read32(0x24); }
  // Waits for the end by polling: the busy bit, or an interrupt if `irq` is there.
  bool transfer(uint64_t from, uint64_t to, uint64_t bytes, bool to_ram, const Irq* irq = nullptr) {
    CHECK(bytes < 4096);
    view.write64(0x80, from);
    view.write64(0x88, to);
    view.write64(0x90, bytes);
    view.write64(0x98, 1u | (to_ram ? 2u : 0u) | (irq != nullptr ? 4u : 0u));
    if (irq != nullptr) {
      const bool done = fired(*irq, 0, kSoonMs);
      acknowledge(cause());
      return done;
    }
    for (int ms = 0; ms < kSoonMs; ms += 10) {
      if ((view.read64(0x98) & 1) == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  bool to_device(uint64_t iova, uint64_t bytes, const Irq* irq = nullptr) {
    return transfer(iova, kBuffer, bytes, false, irq);
  }
  bool to_ram(uint64_t iova, uint64_t bytes, const Irq* irq = nullptr) {
    return transfer(kBuffer, iova, bytes, true, irq);
  }
};

// 82574L registers (Intel 82574 datasheet, section 10).
namespace e1000e {
constexpr uint64_t kIcs = 0xc8, kIms = 0xd0, kEiac = 0xdc, kIvar = 0xe4;
constexpr uint64_t kRdbal = 0x2800;  // a ring's address
constexpr uint64_t kRal0 = 0x5400;   // the MAC address
constexpr unsigned kVectors = 5;
}  // namespace e1000e

}  // namespace

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
  VfioDevice device(edu_address());
  const MmioView view = device.mmio(0, 0, 8);  // identity and liveness only
  CHECK_EQ(view.read32(0) & 0xff, 0xedu);
  CHECK_EQ(caught([&] { view.read32(8); }).code, "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(caught([&] { view.write32(0x60, 1); }).code, "VANITY_E_VFIO_ACCESS");
  CHECK_EQ(caught([&] { view.read32(2); }).code, "VANITY_E_VFIO_ACCESS");
  const Caught beyond = caught([&] { device.mmio(0, 0xff000, 0x2000); });
  CHECK_EQ(beyond.code, "VANITY_E_VFIO_REGION");
  CHECK(holds(beyond.message, "it has 0x100000 bytes"));
  CHECK_EQ(caught([&] { device.mmio(0, ~uint64_t{0}, 2); }).code, "VANITY_E_VFIO_REGION");
  CHECK_EQ(caught([&] { device.mmio(0, 0, 0); }).code, "VANITY_E_VFIO_REGION");
  CHECK(holds(caught([&] { device.mmio(3, 0, 8); }).message, "no such BAR"));
}

// A granted page is mapped, its neighbour is not: the kernel itself stops a stray pointer there.
TEST(only_the_pages_of_the_grant_are_mapped) {
  VfioDevice device(edu_address());
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
  VfioDevice device(device_of("VANITY_NVME"));  // registers and table in one BAR
  device.mmio(0, 0, 0x1000).read32(0);
  const unsigned at = device.capability(PCI_CAP_ID_MSIX);
  CHECK(at != 0);
  const uint64_t table = device.config_read<uint32_t>(at + PCI_MSIX_TABLE);
  CHECK_EQ(table & PCI_MSIX_TABLE_BIR, 0u);
  CHECK(table > 0);
  for (const uint64_t offset : {table, table - 4, table + 16}) {
    const Caught error = caught([&] { device.mmio(0, offset, 8); });
    CHECK_EQ(error.code, "VANITY_E_VFIO_REGION");
    CHECK(holds(error.message, "MSI-X"));
  }
}

TEST(a_level_line_is_masked_until_its_eoi) {
  Edu edu;
  CHECK(edu.device.irq_info(IrqKind::intx).automasked);
  Irq& irq = edu.device.arm(IrqKind::intx);
  CHECK(trigger_of(irq.kind()) == Trigger::level);
  uint64_t count = 0;
  edu.raise(1);
  CHECK(fired(irq, 0, kSoonMs, &count));
  CHECK_EQ(count, 1u);
  CHECK(!fired(irq, 0, kQuietMs));  // high still, and masked
  irq.unmask(0);
  CHECK(fired(irq, 0, kSoonMs));  // not acknowledged: delivered again at once
  edu.acknowledge(1);
  irq.unmask(0);
  CHECK(!fired(irq, 0, kQuietMs));
  edu.raise(2);
  CHECK(fired(irq, 0, kSoonMs));
  CHECK_EQ(edu.cause(), 2u);
  edu.acknowledge(2);
  irq.unmask(0);
}

TEST(a_line_that_is_masked_by_hand_waits) {
  Edu edu;
  Irq& irq = edu.device.arm(IrqKind::intx);
  irq.mask(0);
  edu.raise(4);
  CHECK(!fired(irq, 0, kQuietMs));
  irq.unmask(0);
  CHECK(fired(irq, 0, kSoonMs));
  edu.acknowledge(4);
}

TEST(a_write_to_the_unmask_descriptor_is_the_eoi) {
  Edu edu;
  Irq& irq = edu.device.arm(IrqKind::intx);
  const int eoi = irq.unmask_fd(0);
  CHECK_EQ(irq.unmask_fd(0), eoi);
  edu.raise(1);
  CHECK(fired(irq, 0, kSoonMs));
  CHECK(!fired(irq, 0, kQuietMs));
  CHECK(eventfd_write(eoi, 1) == 0);
  CHECK(fired(irq, 0, kSoonMs));  // still high
  edu.acknowledge(1);
  CHECK(eventfd_write(eoi, 1) == 0);
  CHECK(!fired(irq, 0, kQuietMs));
  edu.raise(8);
  CHECK(fired(irq, 0, kSoonMs));
  edu.acknowledge(8);
}

TEST(messages_come_once_and_have_nothing_to_mask) {
  Edu edu;
  Irq& irq = edu.device.arm(IrqKind::msi);
  CHECK(trigger_of(irq.kind()) == Trigger::edge);
  edu.device.bus_master(true);  // a message is a write of the device
  for (uint32_t i = 0; i < 20; ++i) {
    uint64_t count = 0;
    edu.raise(1);
    CHECK(fired(irq, 0, kSoonMs, &count));
    CHECK_EQ(count, 1u);
    edu.acknowledge(1);
  }
  CHECK(!fired(irq, 0, kQuietMs));
  CHECK_EQ(caught([&] { irq.mask(0); }).code, "VANITY_E_VFIO_VECTOR");
  CHECK_EQ(caught([&] { irq.unmask_fd(0); }).code, "VANITY_E_VFIO_VECTOR");
}

TEST(vectors_that_the_device_lacks_are_refused) {
  Edu edu;
  const Caught many = caught([&] { edu.device.arm(IrqKind::msi, 2); });
  CHECK_EQ(many.code, "VANITY_E_VFIO_VECTOR");
  CHECK_EQ(many.message, "2 MSI vectors asked for; the device has 1");
  CHECK_EQ(caught([&] { edu.device.arm(IrqKind::msix); }).code, "VANITY_E_VFIO_VECTOR");
  CHECK_EQ(caught([&] { edu.device.arm(IrqKind::intx, 0); }).code, "VANITY_E_VFIO_VECTOR");
  edu.device.arm(IrqKind::intx);
  CHECK_EQ(caught([&] { edu.device.arm(IrqKind::msi); }).code,
           "VANITY_E_VFIO_KERNEL");  // one at a time
}

TEST(dma_goes_both_ways) {
  Edu edu;
  DmaRegion& region = edu.device.dma(2 << 20, Edu::kBits);
  CHECK(region.iova() + region.bytes() <= uint64_t{1} << Edu::kBits);
  CHECK_EQ(region.iova() % region.page_bytes(), 0u);
  CHECK_EQ(region.page_bytes(), uint64_t{2} << 20);
  Irq& irq = edu.device.arm(IrqKind::msi);
  edu.device.bus_master(true);
  constexpr size_t kBytes = 2048;
  constexpr size_t kBack = 0x10000;
  for (size_t i = 0; i < kBytes; ++i) region.data()[i] = static_cast<std::byte>(i * 7 + 1);
  CHECK(edu.to_device(region.iova(), kBytes, &irq));
  CHECK(edu.to_ram(region.iova() + kBack, kBytes, &irq));
  CHECK(std::memcmp(region.data(), region.data() + kBack, kBytes) == 0);
  CHECK(region.data()[kBack + kBytes] == std::byte{0});
}

// A part of an arena at a place that no huge page begins at, as pools have.
TEST(memory_mapped_to_be_read_is_not_written) {
  Edu edu;
  Arena arena(4 << 20);
  constexpr uint64_t kOffset = 0x3000;
  constexpr uint64_t kBytes = 0x5000;
  std::byte* const memory = arena.base() + kOffset;
  std::memset(arena.base(), 0xaa, arena.bytes());
  const DmaRegion& region =
      edu.device.dma(memory, kBytes, arena.page_bytes(), Edu::kBits, DmaAccess::read_only);
  CHECK_EQ(region.iova() % arena.page_bytes(), kOffset);
  CHECK_EQ(region.view().address(0x1234), region.iova() + 0x1234);
  edu.device.bus_master(true);
  DmaRegion& writable = edu.device.dma(4096, Edu::kBits);
  CHECK(edu.to_device(region.iova() + 0x1000, 256));
  CHECK(edu.to_ram(writable.iova(), 256));
  CHECK(writable.data()[255] == std::byte{0xaa});  // it can be read
  std::memset(writable.data(), 0x55, 256);
  CHECK(edu.to_device(writable.iova(), 256));
  edu.to_ram(region.iova() + 0x1000, 256);
  CHECK(all_are(region, 0xaa));
  edu.to_ram(region.iova() - 0x1000, 256);  // and its neighbours are not reached at all
  edu.to_ram(region.iova() + kBytes, 256);
  CHECK(arena.base()[kOffset - 0x1000] == std::byte{0xaa});
  CHECK(arena.base()[kOffset + kBytes] == std::byte{0xaa});
}

TEST(without_bus_mastering_nothing_moves) {
  Edu edu;
  DmaRegion& region = edu.device.dma(4096, Edu::kBits);
  CHECK(!edu.device.bus_master());
  std::memset(region.data(), 0xaa, region.bytes());
  edu.to_ram(region.iova(), 1024);
  CHECK(all_are(region, 0xaa));
}

TEST(after_unmap_no_write_reaches_memory) {
  Edu edu;
  DmaRegion& region = edu.device.dma(2 << 20, Edu::kBits);
  edu.device.bus_master(true);
  std::memset(region.data(), 0x11, 1024);
  CHECK(edu.to_device(region.iova(), 1024));
  const uint64_t iova = region.iova();
  CHECK(edu.to_ram(iova + 4096, 1024));  // it does reach it while it is mapped
  CHECK(region.data()[4096] == std::byte{0x11});
  std::memset(region.data(), 0xaa, region.bytes());
  region.unmap();
  region.unmap();
  edu.to_ram(iova, 1024);
  edu.to_ram(iova + 4096, 1024);
  CHECK(all_are(region, 0xaa));
}

TEST(what_was_never_mapped_is_not_reached) {
  Edu edu;
  DmaRegion& mine = edu.device.dma(4096, Edu::kBits);
  edu.device.bus_master(true);
  std::memset(mine.data(), 0xaa, mine.bytes());
  edu.to_ram(mine.iova() - 4096, 1024);
  edu.to_ram(mine.iova() - 4096, 1024);
  CHECK(all_are(mine, 0xaa));
}

TEST(unmapped_addresses_can_be_used_again) {
  Edu edu;
  edu.device.bus_master(true);
  const auto before = edu.device.space()->iova().free_ranges();
  for (int i = 0; i < 100; ++i) {
    DmaRegion one(edu.device.space(), 4096, Edu::kBits);
    DmaRegion two(edu.device.space(), 4096, 64);
    CHECK(one.iova() < uint64_t{1} << Edu::kBits);
    CHECK(two.iova() >= uint64_t{1} << 32);  // low addresses are left to who needs them
  }
  CHECK(edu.device.space()->iova().free_ranges() == before);
}

TEST(the_windows_leave_out_what_interrupts_use) {
  Edu edu;
  const auto ranges = edu.device.space()->iova().free_ranges();
  CHECK(!ranges.empty());
  for (const IovaRange range : ranges) CHECK(range.last < 0xfee00000 || range.first > 0xfeefffff);
}

TEST(no_room_below_the_bits_of_the_device) {
  Edu edu;
  const Caught error = caught([&] { edu.device.dma(8192, 13); });
  CHECK_EQ(error.code, "VANITY_E_VFIO_IOVA");
  CHECK(holds(error.message, "below 2^13; the largest gap there has 4 KiB"));
}

TEST(quiesce_switches_bus_mastering_off_and_again_does_nothing) {
  Edu edu;
  edu.device.dma(4096, Edu::kBits);
  edu.device.arm(IrqKind::msi);
  edu.device.bus_master(true);
  CHECK(masters_bus(edu_address()));
  edu.device.quiesce();
  CHECK(!masters_bus(edu_address()));  // the device is open still: it was us
  edu.device.quiesce();
  edu.device.bus_master(true);
  CHECK(masters_bus(edu_address()));
  edu.device.quiesce();  // what was switched on since goes off too
  CHECK(!masters_bus(edu_address()));
}

TEST(an_exception_quiesces_too) {
  std::optional<VfioDevice> watcher;
  try {
    Edu edu;
    edu.device.dma(4096, Edu::kBits);
    edu.device.bus_master(true);
    CHECK(masters_bus(edu_address()));
    edu.view.read32(0x1000);
    CHECK(false);
  } catch (const Error&) {
  }
  CHECK(!masters_bus(edu_address()));
  watcher.emplace(edu_address());  // given back: it can be had again
}

TEST(a_killed_owner_leaves_a_clean_device) {
  for (const PciAddress address : {edu_address(), e1000e_address()}) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      try {
        VfioDevice device(address);
        const DmaRegion& region = device.dma(2 << 20, Edu::kBits);
        device.arm(IrqKind::msi);
        device.bus_master(true);
        if (address == e1000e_address()) {
          device.mmio(0, 0, 0x20000).write32(e1000e::kRdbal, 0x12345000);
        } else {
          const MmioView view = device.mmio(0, 0, 0x100);
          view.write32(0x60, 1);             // an interrupt that nobody acknowledges
          view.write64(0x80, Edu::kBuffer);  // and a DMA that ends after its owner
          view.write64(0x88, region.iova());
          view.write64(0x90, 1024);
          view.write64(0x98, 1 | 2);
        }
        if (write(ends[1], "x", 1) == 1) pause();
      } catch (const std::exception& error) {
        std::printf("  %s\n", error.what());
      }
      _exit(1);
    }
    char x;
    close(ends[1]);
    CHECK(read(ends[0], &x, 1) == 1);
    close(ends[0]);
    CHECK(masters_bus(address));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    CHECK(!masters_bus(address));

    VfioDevice device(address);
    CHECK(!device.bus_master());
    const unsigned msi = device.capability(PCI_CAP_ID_MSI);
    CHECK(msi != 0);
    CHECK_EQ(Sysfs().config_read16(address, msi + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_ENABLE, 0);
    if (device.can_reset()) CHECK_EQ(device.mmio(0, 0, 0x20000).read32(e1000e::kRdbal), 0u);
    const DmaRegion& region = device.dma(2 << 20, Edu::kBits);  // at the same address as before
    std::memset(region.data(), 0xaa, region.bytes());
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    CHECK(all_are(region, 0xaa));
  }
}

TEST(a_group_belongs_to_one_process_and_the_error_names_it) {
  Edu edu;
  const Caught error = caught([] { VfioDevice second(edu_address()); });
  CHECK_EQ(error.code, "VANITY_E_VFIO_BUSY");
  CHECK(holds(error.message, group_node(edu_address())));
  CHECK(holds(error.message, "process " + std::to_string(getpid()) + " (device_test)"));
}

TEST(too_little_memlock_says_how_much) {
  const PciAddress address = edu_address();
  CHECK(chown(group_node(address).c_str(), 65534, 65534) == 0);
  const auto as_nobody = [&](uint64_t memlock) {
    return in_child([&] {
      become_nobody(memlock);
      VfioDevice device(address);
      device.dma(2 << 20, Edu::kBits);
    });
  };
  CHECK_EQ(as_nobody(8 << 20), "");
  const std::string error = as_nobody(1 << 20);
  CHECK(holds(error, "VANITY_E_VFIO_MEMLOCK"));
  CHECK(holds(error, "mapping 2048 KiB for DMA needs"));
  CHECK(holds(error, "the limit is 1024 KiB"));
  CHECK(chown(group_node(address).c_str(), 0, 0) == 0);
}

TEST(without_rights_the_error_says_so_and_given_descriptors_do) {
  const PciAddress address = edu_address();
  CHECK(holds(in_child([&] {
                become_nobody(8 << 20);
                VfioDevice device(address);
              }),
              "VANITY_E_VFIO_PERMISSION"));
  const std::string error = in_child([&] {
    VfioDescriptors given{Fd(open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC)),
                          Fd(open(group_node(address).c_str(), O_RDWR | O_CLOEXEC))};
    become_nobody(8 << 20);
    Edu edu(DmaSpace::group(std::move(given)));
    DmaRegion& region = edu.device.dma(4096, Edu::kBits);
    edu.device.bus_master(true);
    if (!edu.to_ram(region.iova(), 64)) throw std::runtime_error("no DMA");
  });
  CHECK_EQ(error, "");
}

TEST(what_is_wrong_on_the_host_is_said_before_anything_is_opened) {
  CHECK_EQ(caught([] { VfioDevice none(PciAddress::parse("0000:7f:1f.7")); }).code,
           "VANITY_E_VFIO_ABSENT");
  const Caught kernel = caught([] { VfioDevice nic(device_of("VANITY_SLOT_OTHER")); });
  CHECK_EQ(kernel.code, "VANITY_E_VFIO_DRIVER");
  CHECK(holds(kernel.message, "is with the driver virtio-pci; it must be with vfio-pci"));
  const Caught group = caught([] { VfioDevice one(device_of("VANITY_SLOT_MATE")); });
  CHECK_EQ(group.code, "VANITY_E_VFIO_GROUP");
  CHECK(holds(group.message, device_of("VANITY_SLOT_OTHER").text() + " (with virtio-pci)"));
}

TEST(devices_of_one_group_come_together) {
  const PciAddress first = device_of("VANITY_SLOT_MATE");
  const PciAddress second = device_of("VANITY_SLOT_OTHER");
  const std::string folder = "/sys/bus/pci/devices/" + second.text();
  const auto give_to = [&](const char* driver) {
    std::ofstream(folder + "/driver/unbind") << second.text();
    std::ofstream(folder + "/driver_override") << driver << '\n';
    std::ofstream("/sys/bus/pci/drivers_probe") << second.text();
  };
  give_to("vfio-pci");
  {
    VfioDevice one(first);
    CHECK_EQ(caught([&] { VfioDevice apart(second); }).code, "VANITY_E_VFIO_BUSY");
    VfioDevice two(second, one.space());
    CHECK_EQ(two.config_read<uint16_t>(PCI_VENDOR_ID), 0x1af4);
    one.dma(4096, Edu::kBits);
    two.dma(4096, 64);
  }
  give_to("");
  CHECK_EQ(Sysfs().driver(second), "virtio-pci");
}

TEST(one_arena_may_be_in_several_spaces_and_outlives_them) {
  Arena arena(2 << 20);
  std::memset(arena.base(), 0x77, 256);
  {
    Edu edu;
    VfioDevice nic(e1000e_address());
    const uint64_t iova = edu.device.dma(arena, Edu::kBits).iova();
    nic.dma(arena, 64);
    edu.device.bus_master(true);
    CHECK(edu.to_device(iova, 256));
    CHECK(edu.to_ram(iova + 4096, 256));
  }
  CHECK(std::memcmp(arena.base(), arena.base() + 4096, 256) == 0);
  std::memset(arena.base(), 0, arena.bytes());
}

TEST(every_vector_of_a_device_with_many) {
  VfioDevice device(device_of("VANITY_NVME"));
  const uint32_t count = device.irq_info(IrqKind::msix).count;
  CHECK_EQ(count, 65u);
  Irq& irq = device.arm(IrqKind::msix, count);
  CHECK_EQ(irq.count(), count);
  device.disarm(irq);
  device.arm(IrqKind::msix, 1);
  CHECK_EQ(caught([&] { device.arm(IrqKind::msix, count + 1); }).code, "VANITY_E_VFIO_VECTOR");
}

TEST(all_five_msix_vectors_of_the_e1000e) {
  VfioDevice device(e1000e_address());
  const MmioView view = device.mmio(0, 0, 0x20000);
  CHECK(view.read32(e1000e::kRal0) != 0);
  CHECK_EQ(device.irq_info(IrqKind::msix).count, e1000e::kVectors);
  Irq& irq = device.arm(IrqKind::msix, e1000e::kVectors);
  device.bus_master(true);
  uint32_t ivar = 0;
  for (uint32_t i = 0; i < e1000e::kVectors; ++i) ivar |= (8 | i) << (4 * i);
  view.write32(e1000e::kIvar, ivar);
  constexpr uint32_t kCauses = 0x1f00000;  // RxQ0, RxQ1, TxQ0, TxQ1, Other
  view.write32(e1000e::kEiac, kCauses);    // a message clears its cause
  view.write32(e1000e::kIms, kCauses);
  while (fired(irq, 4, kQuietMs)) view.write32(e1000e::kIms, kCauses);  // the link came up
  for (uint32_t i = 0; i < e1000e::kVectors; ++i) {
    view.write32(e1000e::kIcs, 1u << (20 + i));
    CHECK(fired(irq, i, kSoonMs));
    for (uint32_t other = 0; other < e1000e::kVectors; ++other)
      if (other != i) CHECK_EQ(irq.take(other), 0u);
  }
}

TEST(a_function_level_reset_forgets_what_was_written) {
  VfioDevice device(device_of("VANITY_VIRTIO_NET"));
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
}

TEST(two_devices_may_share_a_space_and_then_reach_the_same_memory) {
  Edu edu;
  const auto windows = edu.device.space()->iova().free_ranges();
  DmaRegion& region = edu.device.dma(4096, Edu::kBits);
  {
    VfioDevice nic(e1000e_address(), edu.device.space());
    edu.device.bus_master(true);
    CHECK(edu.to_ram(region.iova(), 256));
    DmaRegion& other = nic.dma(4096, Edu::kBits);
    CHECK(other.iova() != region.iova());
    std::memset(other.data(), 0x3c, 256);
    CHECK(edu.to_device(other.iova(), 256));
    CHECK(edu.to_ram(region.iova(), 256));
    CHECK(region.data()[255] == std::byte{0x3c});
  }
  CHECK(edu.to_ram(region.iova(), 256));  // the other one's end is not ours
  region.unmap();
  CHECK(edu.device.space()->iova().free_ranges() == windows);
}

TEST(linux_asks_for_the_device_back) {
  const PciAddress address = e1000e_address();
  std::optional<VfioDevice> device;
  device.emplace(address);
  const Irq& request = device->arm(IrqKind::request);
  const Irq& error = device->arm(IrqKind::error);
  device->arm(IrqKind::msix, 5);
  device->bus_master(true);
  CHECK(!fired(request, 0, kQuietMs));
  // Blocks until the last descriptor is closed.
  std::thread unbind(
      [&] { std::ofstream("/sys/bus/pci/drivers/vfio-pci/unbind") << address.text(); });
  const bool asked = fired(request, 0, kSoonMs);
  const uint64_t errors = error.take(0);
  device.reset();
  unbind.join();
  CHECK(asked);
  CHECK_EQ(errors, 0u);
  CHECK_EQ(Sysfs().driver(address), "");
  CHECK(!masters_bus(address));
  std::ofstream("/sys/bus/pci/drivers_probe") << address.text();
  CHECK_EQ(Sysfs().driver(address), "vfio-pci");
  device.emplace(address);
}
