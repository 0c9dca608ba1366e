// Work handed to a peer through slots of shared memory, and taken back: how an accelerator behind
// ivshmem is driven. The slot's number is also that of the vector by which the peer says that the
// work is done; vector 0 of the peer says that there is some.
//
//   slot   0       4           8       12       16 .. 64   64 .. 4096
//          | state | operation | bytes | result |          | data       |
//
// The peer writes into the same memory at any time, so nothing that is decided here is read back
// from it: the length of the data is kept on this side.
#pragma once

#include <array>
#include <cstdint>

#include "port/ivshmem/ivshmem.hpp"

namespace vanity::ivshmem {

inline constexpr uint32_t kSlots = 4;
inline constexpr uint64_t kSlotBytes = 4096;
inline constexpr uint64_t kSlotHeader = 64;
inline constexpr uint32_t kSlotDataMax = kSlotBytes - kSlotHeader;

template <class Registers, class Memory = Registers>
class Mailbox {
 public:
  enum State : uint32_t { kFree = 0, kAsked = 1, kDone = 2 };

  Mailbox(const Ivshmem<Registers, Memory>& device, uint16_t peer) : device_(device), peer_(peer) {}

  // False: the slot is busy, too small, or not there.
  bool ask(uint32_t slot, uint32_t operation, const void* data, uint32_t bytes) {
    if (slot >= kSlots || busy_[slot] || bytes > kSlotDataMax) return false;
    const uint64_t at = slot * kSlotBytes;
    if (!device_.write(at + kSlotHeader, data, bytes) || !device_.put(at + 4, operation) ||
        !device_.put(at + 8, bytes) || !device_.put(at, kAsked))
      return false;
    busy_[slot] = true;
    bytes_[slot] = bytes;
    device_.ring(peer_, 0);
    return true;
  }

  // After the slot's vector came: the result, and the data as the peer left it. False: not done.
  bool take(uint32_t slot, uint32_t& result, void* data) {
    uint32_t state = kFree;
    const uint64_t at = slot * kSlotBytes;
    if (slot >= kSlots || !busy_[slot] || !device_.get(at, state) || state != kDone) return false;
    device_.get(at + 12, result);
    device_.read(at + kSlotHeader, data, bytes_[slot]);
    device_.put(at, kFree);
    busy_[slot] = false;
    return true;
  }
  bool busy(uint32_t slot) const { return slot < kSlots && busy_[slot]; }

 private:
  Ivshmem<Registers, Memory> device_;
  uint16_t peer_;
  std::array<bool, kSlots> busy_{};
  std::array<uint32_t, kSlots> bytes_{};
};

}  // namespace vanity::ivshmem
