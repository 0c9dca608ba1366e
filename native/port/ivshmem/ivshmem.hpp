// QEMU's ivshmem-doorbell: memory shared with peers on the far side of the bus, and vectors both
// ways. Register by register as QEMU's docs/specs/ivshmem-spec has it; see README.md.
//
// `Registers` and `Memory` are whatever reads and writes the granted ranges of BAR 0 and BAR 2
// (read8, write8, read32, write32, read64, write64 at an offset): MmioView in the core, or a
// program's own lines over the API. One owner, on one thread. Nothing here waits.
#pragma once

#include <cstdint>
#include <cstring>

namespace vanity::ivshmem {

inline constexpr uint16_t kVendor = 0x1af4;
inline constexpr uint16_t kDevice = 0x1110;
inline constexpr unsigned kRegisterBar = 0;
inline constexpr uint64_t kRegisterBytes = 0x100;
inline constexpr unsigned kMemoryBar = 2;

template <class Registers, class Memory = Registers>
class Ivshmem {
 public:
  // `bytes` of the memory are granted, from its start on.
  Ivshmem(const Registers& registers, const Memory& memory, uint64_t bytes)
      : registers_(registers), memory_(memory), bytes_(bytes) {}

  uint64_t bytes() const { return bytes_; }
  // Who we are to the peers: 0..65535. All ones from a device that is gone.
  uint32_t id() const { return registers_.read32(kPosition); }

  // Raises a vector of a peer. What was written to the memory before is there when it comes, since
  // a bus delivers writes in order. A peer or vector that does not exist is passed over.
  void ring(uint16_t peer, uint16_t vector) const {
    registers_.write32(kDoorbell, static_cast<uint32_t>(peer) << 16 | vector);
  }

  // The words of a protocol between the peers, on a multiple of 4. False: beyond the memory.
  bool put(uint64_t offset, uint32_t value) const {
    if (!inside(offset, sizeof value, sizeof value)) return false;
    memory_.write32(offset, value);
    return true;
  }
  bool get(uint64_t offset, uint32_t& value) const {
    if (!inside(offset, sizeof value, sizeof value)) return false;
    value = memory_.read32(offset);
    return true;
  }

  // Any number of bytes, from a multiple of 8 on. False: beyond the memory, and nothing is done.
  bool write(uint64_t offset, const void* from, uint64_t bytes) const {
    if (!inside(offset, bytes, 8)) return false;
    const auto* const data = static_cast<const uint8_t*>(from);
    uint64_t at = 0;
    for (uint64_t word; at + sizeof word <= bytes; at += sizeof word) {
      std::memcpy(&word, data + at, sizeof word);
      memory_.write64(offset + at, word);
    }
    for (; at < bytes; ++at) memory_.write8(offset + at, data[at]);
    return true;
  }
  // A peer may write while we read: what was read is then anything, but ours from there on.
  bool read(uint64_t offset, void* to, uint64_t bytes) const {
    if (!inside(offset, bytes, 8)) return false;
    auto* const data = static_cast<uint8_t*>(to);
    uint64_t at = 0;
    for (uint64_t word; at + sizeof word <= bytes; at += sizeof word) {
      word = memory_.read64(offset + at);
      std::memcpy(data + at, &word, sizeof word);
    }
    for (; at < bytes; ++at) data[at] = memory_.read8(offset + at);
    return true;
  }

 private:
  static constexpr uint64_t kPosition = 8;
  static constexpr uint64_t kDoorbell = 12;

  bool inside(uint64_t offset, uint64_t bytes, uint64_t align) const {
    return offset % align == 0 && bytes <= bytes_ && offset <= bytes_ - bytes;
  }

  Registers registers_;
  Memory memory_;
  uint64_t bytes_;
};

}  // namespace vanity::ivshmem
