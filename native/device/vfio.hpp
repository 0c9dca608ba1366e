// A PCI device in the hands of this process, and everything that was granted of it.
//
// The device owns what is made from it: register ranges, interrupts, DMA regions. So there is one
// way down, on every path (end of scope, exception, quiesce()), in the only order that is safe:
//
//   bus master off     no new DMA and no new messages leave the device
//   interrupts off     nobody is woken for what is going away
//   reset              the device forgets its rings, where it can (FLR, power, bus)
//   unmap              the IOMMU forgets the memory; then the memory may go
//   close              registers and descriptors; Linux takes the device back
//
// After SIGKILL Linux does the same: closing the last descriptor ends bus mastering and all
// mappings, and it resets the device, where it can, both then and when it is opened next.
//
// What is enforced by whom: DMA and messages by the IOMMU, per device. Whole BARs by the kernel,
// per device. A register range smaller than a BAR by what is mapped (whole pages) and by MmioView,
// in software: code in this process that makes its own pointers can pass both. See
// docs/design/devices.md.
//
// Control path, one thread at a time; Register, Irq::take and writes to unmask_fd() are for any.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "device/dma.hpp"
#include "device/dma_space.hpp"
#include "device/irq.hpp"
#include "device/mmio.hpp"
#include "device/pci.hpp"
#include "device/region.hpp"
#include "memory/guarded_mapping.hpp"

namespace vanity {

class VfioDevice {
 public:
  // Opens, with bus mastering off and, where the device can be reset, as after power-on. `space`:
  // one of its own, or that of another device, to share its memory. Throws what DmaSpace::attach
  // does.
  explicit VfioDevice(PciAddress address, std::shared_ptr<DmaSpace> space);
  explicit VfioDevice(PciAddress address) : VfioDevice(address, DmaSpace::open(address)) {}
  ~VfioDevice();
  VfioDevice(const VfioDevice&) = delete;
  VfioDevice& operator=(const VfioDevice&) = delete;

  PciAddress address() const noexcept { return address_; }
  const std::shared_ptr<DmaSpace>& space() const noexcept { return space_; }

  // Configuration space, 1, 2 or 4 bytes wide; Linux filters what could harm the host.
  // Throws VANITY_E_VFIO_KERNEL, as for a device that is gone.
  template <class T>
  T config_read(unsigned offset) const {
    T value = 0;
    config_read_bytes(offset, &value, sizeof value);
    return value;
  }
  template <class T>
  void config_write(unsigned offset, T value) {
    config_write_bytes(offset, &value, sizeof value);
  }
  // Where the first capability of this kind is; 0: the device has none.
  unsigned capability(uint8_t id) const;

  // A driver switches it on once its rings are right.
  void bus_master(bool on);
  bool bus_master() const;

  bool can_reset() const noexcept { return can_reset_; }
  // Throws VANITY_E_VFIO_KERNEL when the device can't.
  void reset();

  uint64_t bar_bytes(unsigned bar) const;  // 0: there is no such BAR
  // Maps the pages of the range and no others, and sees no byte beyond it. Refuses, with
  // VANITY_E_BAR, what isn't there, isn't memory, and the table of MSI-X, in which a
  // driver could redirect its interrupts.
  MmioView mmio(unsigned bar, uint64_t offset, uint64_t bytes);

  IrqInfo irq_info(IrqKind kind) const { return vanity::irq_info(fd_.get(), kind); }
  Irq& arm(IrqKind kind, uint32_t count = 1);
  void disarm(Irq& irq) noexcept;

  // Memory that the device reaches, at addresses below 2^bits: an arena of its own on the device's
  // NUMA node, or somebody's memory, as DmaRegion says.
  DmaRegion& dma(uint64_t bytes, unsigned bits, Sharing sharing = Sharing::none);
  DmaRegion& dma(void* memory, uint64_t bytes, uint64_t page_bytes, unsigned bits,
                 DmaAccess access);
  DmaRegion& dma(Arena& arena, unsigned bits, DmaAccess access = DmaAccess::read_write) {
    return dma(arena.base(), arena.bytes(), arena.page_bytes(), bits, access);
  }

  // An access to its registers found nothing there. They read as ones from then on, or as what was
  // written to them since, for good: close this, and open the device anew when it is back.
  bool gone() const noexcept;

  // Between two who work it: bus mastering off, interrupts off, and, where it can be reset, it
  // forgets what it was told; memory stays mapped for it. Then interrupts, and bus mastering if it
  // is to. Both throw VANITY_E_VFIO_KERNEL, and then it is gone or as good as that.
  void halt();
  void resume(bool masters);

  // For another process that maps a range of mmio(): this descriptor, and where in it a BAR begins.
  int fd() const noexcept { return fd_.get(); }
  uint64_t bar_at(unsigned bar) const { return region(bar).offset; }
  const std::vector<std::unique_ptr<DmaRegion>>& regions() const noexcept { return regions_; }

  // Everything but close, in order; the destructor does the rest. Again does nothing, unless
  // something was made or switched on since. What was made before stays valid to call, but is dead:
  // no interrupt comes, no DMA arrives. Memory of DMA regions is readable until the device ends.
  void quiesce() noexcept;
  // And close too: Linux has it back, while all memory stays and register ranges read ones, for
  // those who have not heard yet. Nothing else may be called from here on, but the destructor.
  void give_back() noexcept;

 private:
  void config_read_bytes(unsigned offset, void* to, unsigned bytes) const;
  void config_write_bytes(unsigned offset, const void* from, unsigned bytes);
  Region region(unsigned index) const;
  bool holds_msix_table(unsigned bar, uint64_t offset, uint64_t bytes) const;
  void set_command(uint16_t clear, uint16_t set);

  PciAddress address_;
  std::shared_ptr<DmaSpace> space_;
  Fd fd_;
  bool can_reset_ = false;
  bool used_ = false;    // since it was opened or quiesced
  uint64_t config_ = 0;  // offset of configuration space in fd_
  std::vector<std::unique_ptr<GuardedMapping>> mappings_;
  std::vector<std::unique_ptr<Irq>> irqs_;
  std::vector<std::unique_ptr<DmaRegion>> regions_;
};

}  // namespace vanity
