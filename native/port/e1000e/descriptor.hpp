// Descriptors of the 82574L: extended receive descriptors and legacy transmit descriptors
// (datasheet chapter 7, "Extended Rx Descriptor", "Legacy Transmit Descriptor Format"), both of 16
// bytes.
//
//   receive, to the device     | address of the buffer      | 0, so that DD is clear    |
//   receive, written back      | RSS hash | MRQ             | VLAN | length | status    |
//   transmit                   | address of the frame       | VLAN | status | command | length |
//
// The device writes them while we read, so every access is one load or store of a word, and a word
// is looked at once.
#pragma once

#include <atomic>
#include <cstdint>

namespace vanity::e1000e {

struct Descriptor {
  uint64_t low;
  uint64_t high;
};
static_assert(sizeof(Descriptor) == 16);

inline uint64_t load(uint64_t& word) noexcept {
  return std::atomic_ref(word).load(std::memory_order_relaxed);
}
inline void store(uint64_t& word, uint64_t value) noexcept {
  std::atomic_ref(word).store(value, std::memory_order_relaxed);
}

// What the device wrote before the word just loaded is loaded after it, and what was read before is
// not written over by what the device is given next. x86 keeps loads before later loads and stores.
inline void order_after_dma_read() noexcept {
#if defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#elif defined(__riscv)
  asm volatile("fence r, rw" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

// What the device says of one buffer that it filled.
struct RxDone {
  static constexpr uint64_t kDone = 1u << 0;
  static constexpr uint64_t kEndOfPacket = 1u << 1;
  // CE, SE, SEQ, CXE and RXE: the frame came damaged. Not those of IP and TCP checksums, which are
  // not a link's business.
  static constexpr uint64_t kDamaged = 0x97000000u;

  static constexpr uint64_t kTransportSummed = 1u << 5;  // TCPCS
  static constexpr uint64_t kTransportWrong = 1u << 29;  // TCPE

  explicit RxDone(uint64_t high) noexcept : high_(high) {}
  bool done() const noexcept { return (high_ & kDone) != 0; }
  bool end_of_packet() const noexcept { return (high_ & kEndOfPacket) != 0; }
  bool damaged() const noexcept { return (high_ & kDamaged) != 0; }
  bool checksum_right() const noexcept {
    return (high_ & (kTransportSummed | kTransportWrong)) == kTransportSummed;
  }
  uint32_t length() const noexcept { return high_ >> 32 & 0xffff; }

 private:
  uint64_t high_;
};

// One whole frame; the device adds the FCS.
inline constexpr uint64_t kTxFrame = uint64_t{0x01 | 0x02} << 24;  // EOP, IFCS
inline constexpr uint64_t kTxReport = uint64_t{0x08} << 24;        // RS: say when it is done
inline constexpr uint64_t kTxDone = uint64_t{1} << 32;

}  // namespace vanity::e1000e
