// A granted range of device registers, seen through checks.
//
// Every access is one load or store of the register's own width, aligned, and inside the grant;
// anything else throws VANITY_E_VFIO_ACCESS before the device sees it. A driver's data path makes
// a Register<> once, which is checked then, and costs one instruction (and a barrier) from there
// on.
//
// Order against memory that the device reads and writes by DMA:
//   write  everything stored before is visible to the device before the register is (the doorbell
//          rings last): `dmb oshst` on Arm, `fence w,o` on RISC-V; on x86 stores to uncached memory
//          come after earlier stores anyway.
//   read   everything loaded after is loaded after the register was: `dmb oshld` on Arm,
//          `fence i,r` on RISC-V; on x86 loads keep their order.
// Registers among themselves keep program order on all three, for the mapping is uncached (Arm:
// Device-nGnRE; RISC-V: strongly ordered I/O by its memory attributes).
// Writes may be posted: to know that one arrived, read a register of the same device.
#pragma once

#include <cstdint>
#include <type_traits>

namespace vanity {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "registers of PCI are little-endian");

[[noreturn]] void refuse_access(uint64_t offset, uint64_t width, uint64_t granted);

inline void order_before_register_write() noexcept {
#if defined(__aarch64__)
  asm volatile("dmb oshst" ::: "memory");
#elif defined(__riscv)
  asm volatile("fence w, o" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

inline void order_after_register_read() noexcept {
#if defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#elif defined(__riscv)
  asm volatile("fence i, r" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

// One register, checked when it was made.
template <class T>
class Register {
 public:
  static_assert(std::is_unsigned_v<T>);

  T read() const noexcept {
    const T value = *address_;
    order_after_register_read();
    return value;
  }
  void write(T value) const noexcept {
    order_before_register_write();
    *address_ = value;
  }

 private:
  friend class MmioView;
  explicit Register(volatile T* address) noexcept : address_(address) {}

  volatile T* address_;
};

class MmioView {
 public:
  MmioView(volatile void* base, uint64_t bytes) noexcept
      : base_(static_cast<volatile uint8_t*>(base)), bytes_(bytes) {}

  template <class T>
  Register<T> at(uint64_t offset) const {
    const bool inside = sizeof(T) <= bytes_ && offset <= bytes_ - sizeof(T);
    volatile uint8_t* const address = base_ + (inside ? offset : 0);
    if (!inside || reinterpret_cast<uintptr_t>(address) % sizeof(T) != 0) [[unlikely]]
      refuse_access(offset, sizeof(T), bytes_);
    return Register<T>(reinterpret_cast<volatile T*>(address));
  }
  // A smaller grant inside this one. Throws as at() does.
  MmioView part(uint64_t offset, uint64_t bytes) const {
    if (bytes > bytes_ || offset > bytes_ - bytes) refuse_access(offset, bytes, bytes_);
    return {base_ + offset, bytes};
  }

  uint8_t read8(uint64_t offset) const { return at<uint8_t>(offset).read(); }
  uint16_t read16(uint64_t offset) const { return at<uint16_t>(offset).read(); }
  uint32_t read32(uint64_t offset) const { return at<uint32_t>(offset).read(); }
  uint64_t read64(uint64_t offset) const { return at<uint64_t>(offset).read(); }
  void write8(uint64_t offset, uint8_t value) const { at<uint8_t>(offset).write(value); }
  void write16(uint64_t offset, uint16_t value) const { at<uint16_t>(offset).write(value); }
  void write32(uint64_t offset, uint32_t value) const { at<uint32_t>(offset).write(value); }
  void write64(uint64_t offset, uint64_t value) const { at<uint64_t>(offset).write(value); }

  uint64_t bytes() const noexcept { return bytes_; }
  volatile uint8_t* data() const noexcept { return base_; }  // unchecked from here on

 private:
  volatile uint8_t* base_;
  uint64_t bytes_;
};

}  // namespace vanity
