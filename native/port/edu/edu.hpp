// QEMU's teaching device, an accelerator of two functions: factorials, and a buffer that DMA fills
// and empties. Register by register as QEMU's docs/specs/edu has it; see README.md.
//
// `Registers` is whatever reads and writes the granted range (read32, write32, read64, write64 at
// an offset): MmioView in the core, or a program's own three lines over vanity/device.h.
// One owner, on one thread. Nothing here waits: each operation has its start, its busy bit, and an
// interrupt for who prefers that.
#pragma once

#include <cstdint>

namespace vanity::edu {

inline constexpr uint16_t kVendor = 0x1234;
inline constexpr uint16_t kDevice = 0x11e8;
inline constexpr uint64_t kRegisterBytes = 0x100;  // of BAR 0, what a driver needs to be granted

// Causes of an interrupt, as bits. Those below 0x100 but the first are free for raise().
inline constexpr uint32_t kFactorialDone = 0x1;
inline constexpr uint32_t kCopyDone = 0x100;

// The device drops address bits above these, so that a DMA would go elsewhere.
inline constexpr unsigned kAddressBits = 28;
// The device's buffer is of 4096 bytes. QEMU up to 7.2 takes a transfer that ends with its last
// byte for one beyond it, and aborts the machine: so one byte less.
inline constexpr uint32_t kBufferBytes = 4095;
// The largest factorial that its 32 bits hold; beyond it the device gives the low bits.
inline constexpr uint32_t kLargestExact = 12;

template <class Registers>
class Edu {
 public:
  explicit Edu(const Registers& registers) : registers_(registers) {}

  // 0xRRrr00ed: major and minor revision.
  uint32_t identification() const { return registers_.read32(kIdentification); }
  bool present() const { return (identification() & 0xffff) == 0x00ed; }
  // The device inverts what is written here: true when it answers at all, whatever the probe.
  bool alive(uint32_t probe) const {
    registers_.write32(kLiveness, probe);
    return registers_.read32(kLiveness) == ~probe;
  }

  // The device can't be reset, so what its last owner began goes on: an operation, a raised
  // interrupt. False: it is still busy; ask again (a DMA takes 100 ms).
  bool settle() const {
    if (computing() || copying()) return false;
    registers_.write32(kStatus, 0);
    acknowledge(~uint32_t{0});
    return true;
  }

  // ---- factorials -------------------------------------------------------------------------------
  // False: one is being computed, whose operand must not be overwritten.
  bool factorial(uint32_t n, bool interrupt) const {
    if (computing()) return false;
    registers_.write32(kStatus, interrupt ? kStatusInterrupts : 0);
    registers_.write32(kFactorial, n);
    return true;
  }
  bool computing() const { return (registers_.read32(kStatus) & kStatusComputing) != 0; }
  uint32_t result() const { return registers_.read32(kFactorial); }

  // ---- interrupts -------------------------------------------------------------------------------
  // The line is high, as INTx, while any cause is left: acknowledge first, then end the interrupt.
  uint32_t causes() const { return registers_.read32(kCauses); }
  void acknowledge(uint32_t causes) const { registers_.write32(kAcknowledge, causes); }
  void raise(uint32_t causes) const { registers_.write32(kRaise, causes); }

  // ---- copies -----------------------------------------------------------------------------------
  // `address` is one that the device's own DMA reaches; `offset` is in the device's buffer. False:
  // a copy is under way, or this one is out of bounds. Never throws and never aborts the machine.
  bool copy_in(uint64_t address, uint32_t offset, uint32_t bytes, bool interrupt) const {
    return copy(address, kBuffer + offset, address, offset, bytes, interrupt ? kCopyInterrupts : 0);
  }
  bool copy_out(uint32_t offset, uint64_t address, uint32_t bytes, bool interrupt) const {
    return copy(kBuffer + offset, address, address, offset, bytes,
                kCopyToMemory | (interrupt ? kCopyInterrupts : 0));
  }
  bool copying() const { return (registers_.read32(kCopyCommand) & kCopyStart) != 0; }

 private:
  // Registers below 0x80 are of 4 bytes, those above of 4 or 8.
  static constexpr uint64_t kIdentification = 0x00;
  static constexpr uint64_t kLiveness = 0x04;
  static constexpr uint64_t kFactorial = 0x08;
  static constexpr uint64_t kStatus = 0x20;
  static constexpr uint64_t kCauses = 0x24;
  static constexpr uint64_t kRaise = 0x60;
  static constexpr uint64_t kAcknowledge = 0x64;
  static constexpr uint64_t kCopySource = 0x80;
  static constexpr uint64_t kCopyDestination = 0x88;
  static constexpr uint64_t kCopyBytes = 0x90;
  static constexpr uint64_t kCopyCommand = 0x98;

  static constexpr uint32_t kStatusComputing = 0x01;
  static constexpr uint32_t kStatusInterrupts = 0x80;
  static constexpr uint32_t kCopyStart = 1;
  static constexpr uint32_t kCopyToMemory = 2;  // else from memory
  static constexpr uint32_t kCopyInterrupts = 4;
  static constexpr uint64_t kBuffer = 0x40000;  // the device's buffer as its own DMA sees it

  bool copy(uint64_t from, uint64_t to, uint64_t address, uint32_t offset, uint32_t bytes,
            uint32_t command) const {
    constexpr uint64_t kAddressEnd = uint64_t{1} << kAddressBits;
    if (bytes == 0 || bytes > kBufferBytes || offset > kBufferBytes - bytes) return false;
    if (address >= kAddressEnd || bytes > kAddressEnd - address) return false;
    if (copying()) return false;
    registers_.write64(kCopySource, from);
    registers_.write64(kCopyDestination, to);
    registers_.write64(kCopyBytes, bytes);
    registers_.write32(kCopyCommand, kCopyStart | command);
    return true;
  }

  Registers registers_;
};

}  // namespace vanity::edu
