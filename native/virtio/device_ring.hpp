// What the device's sides of split and packed rings have in common.
//
// The driver writes into descriptors and indexes what it likes, at any time. So each word is read
// once, into what a device ring hands out, and nobody goes back to the ring for it: an index beyond
// the ring, a chain without an end, a buffer of the wrong direction makes the ring `broken`. What
// the addresses mean is for their user to check.
//
// One thread at a time; nothing throws, allocates or blocks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "virtio/layout.hpp"
#include "virtio/order.hpp"
#include "virtio/queue.hpp"

namespace vanity::virtio {

// Where the driver says that the three parts of a ring are, as the device finds them. Aligned as
// §2.7 and §2.8 say: 16, 2 and 4 bytes, or 16, 4 and 4 of a packed ring.
struct RingParts {
  std::byte* descriptors = nullptr;
  std::byte* driver = nullptr;
  std::byte* device = nullptr;
};

// A buffer of the driver's: nearly always in one part.
struct Offer {
  uint64_t address;
  uint32_t bytes;
  uint16_t id;
  uint16_t parts;  // descriptors
  uint32_t more;   // of several: where the second is, for more()
};

struct Piece {
  uint64_t address;
  uint32_t bytes;
};

// The other parts of what one take() handed out. A chain that is longer than kChainMax is broken:
// none is that long where nothing is segmented by the device, and a loop ends there too.
class Pieces {
 public:
  static constexpr uint32_t kChainMax = 64;

  const Piece& operator[](uint32_t index) const noexcept { return pieces_[index]; }
  uint32_t count() const noexcept { return count_; }
  // Is there room for any chain?
  bool fits() const noexcept { return count_ + kChainMax <= kMax; }
  void clear() noexcept { count_ = 0; }
  void add(uint64_t address, uint32_t bytes) noexcept { pieces_[count_++] = {address, bytes}; }

 private:
  static constexpr uint32_t kMax = 4 * kChainMax;

  Piece pieces_[kMax];
  uint32_t count_ = 0;
};

enum class Direction : uint8_t { device_reads, device_writes };

}  // namespace vanity::virtio
