// What driver and device share in memory, as VIRTIO 1.2 lays it out: little-endian, and every word
// that the device may write is read once, by look(), and believed by nobody.
#pragma once

#include <cstdint>

namespace vanity::virtio {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "VIRTIO 1.2 §1.4: little-endian");

// One load or store of the word's own width: none is repeated, torn or left out. Nothing is ordered
// by it; order.hpp does that.
template <class T>
T look(const T& word) noexcept {
  return __atomic_load_n(&word, __ATOMIC_RELAXED);
}
template <class T>
void put(T& word, T value) noexcept {
  __atomic_store_n(&word, value, __ATOMIC_RELAXED);
}

// ---- §2.1 status, §6 feature bits
namespace status {
inline constexpr uint8_t kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8,
                         kNeedsReset = 64;
}  // namespace status

namespace feature {
inline constexpr unsigned kEventIndex = 29, kVersion1 = 32, kAccessPlatform = 33;
inline constexpr unsigned kRingPacked = 34, kInOrder = 35, kOrderPlatform = 36,
                          kNotificationData = 38, kRingReset = 40;
}  // namespace feature

constexpr uint64_t bit(unsigned feature) noexcept {
  return uint64_t{1} << feature;
}

// ---- §2.7 split virtqueues
struct SplitDescriptor {
  static constexpr uint16_t kNext = 1, kDeviceWrites = 2, kIndirect = 4;
  uint64_t address;
  uint32_t bytes;
  uint16_t flags;
  uint16_t next;
};
static_assert(sizeof(SplitDescriptor) == 16);

// Followed by the ring and, behind it, `used_event` (§2.7.6).
struct AvailableRing {
  static constexpr uint16_t kNoInterrupt = 1;
  uint16_t flags;
  uint16_t index;
  uint16_t ring[];
};

struct UsedElement {
  uint32_t id;
  uint32_t bytes;
};
// Followed by the ring and, behind it, `avail_event` (§2.7.8).
struct UsedRing {
  static constexpr uint16_t kNoNotify = 1;
  uint16_t flags;
  uint16_t index;
  UsedElement ring[];
};

// ---- §2.8 packed virtqueues
struct PackedDescriptor {
  static constexpr uint16_t kNext = 1, kDeviceWrites = 2, kIndirect = 4;
  static constexpr uint16_t kAvailable = 1u << 7, kUsed = 1u << 15;
  uint64_t address;
  uint32_t bytes;
  uint16_t id;
  uint16_t flags;
};
static_assert(sizeof(PackedDescriptor) == 16);

// §2.8.10, read and written as one word: `offset_wrap` in the low half.
struct EventSuppression {
  static constexpr uint16_t kEnable = 0, kDisable = 1, kDescriptor = 2;
  uint32_t word;
};

// §2.7.7.2, §2.8.10: did the index go past `event` on its way from `before` to `now`?
constexpr bool passed(uint16_t event, uint16_t now, uint16_t before) noexcept {
  return static_cast<uint16_t>(now - event - 1) < static_cast<uint16_t>(now - before);
}

}  // namespace vanity::virtio
