// The 82574L without its rings' contents: reset, addresses, filters, link, interrupts, statistics.
// Registers only, on the control path and one thread; the queues have a few registers of their own.
#pragma once

#include <array>
#include <cstdint>

#include "device/irq.hpp"
#include "device/mmio.hpp"
#include "port/e1000e/registers.hpp"

namespace vanity::e1000e {

using MacAddress = std::array<uint8_t, 6>;

// How much the device puts into one buffer, and what RCTL says so. A buffer with room for a plain
// Ethernet frame is declared as 2048 bytes and long frames are refused: the device then writes 1522
// bytes at most. Larger buffers take what fits in whole KiB; what doesn't comes in pieces.
struct RxSize {
  uint32_t rctl;
  uint32_t bytes;  // 0: the buffer is too small for the device
};
RxSize rx_size(uint32_t room) noexcept;

class Device {
 public:
  explicit Device(const MmioView& registers) : registers_(registers) {}

  // Stops everything and puts every register that matters into a known state; believes in no reset
  // but its own, and not in all of that. Throws VANITY_E_PORT_DEVICE when the device doesn't
  // answer.
  void reset();
  // The address that the EEPROM gave it. Throws VANITY_E_PORT_DEVICE when that is none.
  MacAddress mac() const;

  // Between reset() and enable(). `size` in descriptors, a multiple of 8.
  void set_rx_ring(uint32_t queue, uint64_t address, uint32_t size);
  void set_tx_ring(uint32_t queue, uint64_t address, uint32_t size);
  // Frames to the address (all 0: its own), broadcasts and all multicasts; or all there are.
  void set_filter(const MacAddress& given, bool promiscuous);
  // Both directions of a flow go to the same queue.
  void spread_over_two_queues();
  // Vectors 0 .. n-1 are the receive queues', vector n is the device's own. Masks nothing: that is
  // the queues' and watch_link()'s.
  void set_vectors(IrqKind kind, uint32_t rx_queues);

  void enable(const RxSize& size);
  // No frame, no DMA, no interrupt any more. Fine on a device that is gone.
  void stop() noexcept;
  // The last that is done to it, once it is stopped.
  void leave() noexcept;

  // All ones: the device is gone.
  uint32_t status() const noexcept { return read(kStatus); }
  // Arms the vector of link changes, again after each; `kind` as set_vectors() was told.
  void watch_link(IrqKind kind);

  struct Losses {
    uint64_t missed = 0;   // no room in the device, or longer than it takes
    uint64_t damaged = 0;  // on the wire
  };
  // Since the last call.
  Losses take_losses();

  const MmioView& registers() const noexcept { return registers_; }

 private:
  uint32_t read(uint64_t offset) const { return registers_.read32(offset); }
  void write(uint64_t offset, uint32_t value) const { registers_.write32(offset, value); }
  bool becomes(uint64_t offset, uint32_t mask, uint32_t value) const;

  MmioView registers_;
  uint32_t rctl_ = 0;
};

}  // namespace vanity::e1000e
