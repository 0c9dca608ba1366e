#include "device/vfio.hpp"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "platform/error.hpp"

namespace vanity {
namespace {

constexpr unsigned kBars = 6;
constexpr unsigned kCapabilitiesMax = 48;  // of four bytes each in what configuration space offers

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

uint64_t page_bytes() {
  return static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

Error refused(PciAddress address, const std::string& what, int error_number) {
  return system_error("VANITY_E_VFIO_KERNEL", address.text() + ": " + what, error_number,
                      "Look at what the kernel says: dmesg | grep -iE 'vfio|DMAR|iommu'");
}

}  // namespace

VfioDevice::VfioDevice(PciAddress address, std::shared_ptr<DmaSpace> space)
    : address_(address), space_(std::move(space)), fd_(space_->attach(address)) {
  vfio_device_info info = {};
  info.argsz = sizeof info;
  if (ioctl(fd_.get(), VFIO_DEVICE_GET_INFO, &info) != 0)
    throw refused(address_, "what the device has", errno);
  if ((info.flags & VFIO_DEVICE_FLAGS_PCI) == 0)
    throw refused(address_, "this is no PCI device", ENOTSUP);
  can_reset_ = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
  config_ = region(VFIO_PCI_CONFIG_REGION_INDEX).offset;
  set_command(PCI_COMMAND_MASTER, PCI_COMMAND_MEMORY);
}

VfioDevice::~VfioDevice() {
  quiesce();
  regions_.clear();
  irqs_.clear();
}

bool VfioDevice::gone() const noexcept {
  return std::any_of(mappings_.begin(), mappings_.end(),
                     [](const auto& mapping) { return mapping->gone(); });
}

void VfioDevice::quiesce() noexcept {
  if (!std::exchange(used_, false)) return;
  // A device that was pulled out answers none of this; the steps after must be taken all the same.
  const auto attempt = [](auto&& step) {
    try {
      step();
    } catch (...) {
    }
  };
  attempt([&] { bus_master(false); });
  for (const auto& irq : irqs_) irq->disarm();
  if (can_reset_) attempt([&] { reset(); });
  for (const auto& region : regions_) attempt([&] { region->unmap(); });
}

void VfioDevice::halt() {
  bus_master(false);
  // What a read returns comes after all that the device had sent.
  if (bus_master()) throw refused(address_, "ending its bus mastering", EIO);
  for (const auto& irq : irqs_) {
    if (irq->kind() <= IrqKind::msix) irq->silence();
  }
  if (can_reset_) reset();
}

void VfioDevice::resume(bool masters) {
  for (const auto& irq : irqs_) {
    if (irq->kind() <= IrqKind::msix) irq->arm_again();
  }
  if (masters) bus_master(true);
}

void VfioDevice::give_back() noexcept {
  quiesce();
  for (const auto& mapping : mappings_) mapping->detach();
  fd_.reset();
  space_.reset();  // regions have let go of it
}

void VfioDevice::config_read_bytes(unsigned offset, void* to, unsigned bytes) const {
  if (pread(fd_.get(), to, bytes, static_cast<off_t>(config_ + offset)) != bytes)
    throw refused(address_, "reading configuration space at " + hex(offset), errno);
}

void VfioDevice::config_write_bytes(unsigned offset, const void* from, unsigned bytes) {
  if (pwrite(fd_.get(), from, bytes, static_cast<off_t>(config_ + offset)) != bytes)
    throw refused(address_, "writing configuration space at " + hex(offset), errno);
}

unsigned VfioDevice::capability(uint8_t id) const {
  if ((config_read<uint16_t>(PCI_STATUS) & PCI_STATUS_CAP_LIST) == 0) return 0;
  unsigned at = config_read<uint8_t>(PCI_CAPABILITY_LIST) & ~3u;
  for (unsigned i = 0; i < kCapabilitiesMax && at >= 0x40; ++i) {
    if (config_read<uint8_t>(at + PCI_CAP_LIST_ID) == id) return at;
    at = config_read<uint8_t>(at + PCI_CAP_LIST_NEXT) & ~3u;
  }
  return 0;
}

void VfioDevice::set_command(uint16_t clear, uint16_t set) {
  const auto command = config_read<uint16_t>(PCI_COMMAND);
  config_write<uint16_t>(PCI_COMMAND, static_cast<uint16_t>((command & ~clear) | set));
}

void VfioDevice::bus_master(bool on) {
  used_ |= on;
  set_command(on ? 0 : PCI_COMMAND_MASTER, on ? PCI_COMMAND_MASTER : 0);
}

bool VfioDevice::bus_master() const {
  return (config_read<uint16_t>(PCI_COMMAND) & PCI_COMMAND_MASTER) != 0;
}

void VfioDevice::reset() {
  if (ioctl(fd_.get(), VFIO_DEVICE_RESET) != 0) throw refused(address_, "reset", errno);
}

Region VfioDevice::region(unsigned index) const {
  vfio_region_info head = {};
  head.argsz = sizeof head;
  head.index = index;
  const auto ask = [&](vfio_region_info* info) {
    if (ioctl(fd_.get(), VFIO_DEVICE_GET_REGION_INFO, info) != 0)
      throw refused(address_, "region " + std::to_string(index), errno);
  };
  ask(&head);
  std::vector<uint64_t> buffer((head.argsz + 7) / 8);
  auto* const info = reinterpret_cast<vfio_region_info*>(buffer.data());
  *info = head;
  ask(info);
  return parse_region(info, page_bytes());
}

uint64_t VfioDevice::bar_bytes(unsigned bar) const {
  return bar < kBars ? region(bar).bytes : 0;
}

bool VfioDevice::holds_msix_table(unsigned bar, uint64_t offset, uint64_t bytes) const {
  const unsigned at = capability(PCI_CAP_ID_MSIX);
  if (at == 0) return false;
  const auto where = config_read<uint32_t>(at + PCI_MSIX_TABLE);
  if ((where & PCI_MSIX_TABLE_BIR) != bar) return false;
  const uint64_t entries = (config_read<uint16_t>(at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u;
  const uint64_t first = where & PCI_MSIX_TABLE_OFFSET;
  return offset < first + entries * PCI_MSIX_ENTRY_SIZE && first < offset + bytes;
}

MmioView VfioDevice::mmio(unsigned bar, uint64_t offset, uint64_t bytes) {
  const std::string what = "BAR " + std::to_string(bar) + " of " + address_.text();
  const auto wrong = [&](const std::string& reason) {
    return Error(
        "VANITY_E_BAR",
        what + ": " + hex(bytes) + " bytes at " + hex(offset) + " cannot be granted: " + reason,
        "See what is there: lspci -vv -s " + address_.text());
  };
  const Region found = bar < kBars ? region(bar) : Region{};
  if (found.bytes == 0) throw wrong("the device has no such BAR");
  if (bytes == 0 || bytes > found.bytes || offset > found.bytes - bytes)
    throw wrong("it has " + hex(found.bytes) + " bytes");
  if (holds_msix_table(bar, offset, bytes))
    throw wrong("the table of MSI-X lies there, which Linux alone writes");
  const uint64_t page = page_bytes();
  const uint64_t first = offset / page * page;
  const uint64_t end = (offset + bytes + page - 1) / page * page;
  if (!found.mappable(first, end)) throw wrong("Linux does not let it be mapped");
  const auto& mapping = mappings_.emplace_back(
      std::make_unique<GuardedMapping>(fd_.get(), found.offset + first, end - first));
  used_ = true;
  return {static_cast<char*>(mapping->base()) + (offset - first), bytes};
}

Irq& VfioDevice::arm(IrqKind kind, uint32_t count) {
  used_ = true;
  return *irqs_.emplace_back(std::make_unique<Irq>(fd_.get(), kind, count));
}

void VfioDevice::disarm(Irq& irq) noexcept {
  const auto at = std::find_if(irqs_.begin(), irqs_.end(),
                               [&](const auto& known) { return known.get() == &irq; });
  if (at != irqs_.end()) irqs_.erase(at);
}

DmaRegion& VfioDevice::dma(uint64_t bytes, unsigned bits, Sharing sharing) {
  used_ = true;
  const uint32_t node = Sysfs().numa_node(address_);
  return *regions_.emplace_back(std::make_unique<DmaRegion>(space_, bytes, bits, node, sharing));
}

DmaRegion& VfioDevice::dma(void* memory, uint64_t bytes, uint64_t page_bytes, unsigned bits,
                           DmaAccess access) {
  used_ = true;
  return *regions_.emplace_back(
      std::make_unique<DmaRegion>(space_, memory, bytes, page_bytes, bits, access));
}

}  // namespace vanity
