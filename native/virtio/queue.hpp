// What split and packed rings have in common: the driver's private book of what the device holds.
//
// The device writes into the rings what it likes. So nothing that was told to the device is ever
// read back: which descriptors are out, how many belong together and what they stand for is kept
// here, in memory that no device reaches. A device that names a descriptor that is not out, or more
// than are out, makes the ring `broken`: no more is taken from it until it is made anew.
//
// One thread at a time; nothing throws, allocates or blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "vanity/platform.hpp"
#include "virtio/layout.hpp"
#include "virtio/order.hpp"

namespace vanity::virtio {

inline constexpr uint32_t kLine = 128;  // parts that different sides write share no line

// How a ring's words are read, written and ordered. A simulator gives its own to the same rings,
// and to all of them in the policy build.
#if defined(VANITY_SIM)
using HardwareBus = sim::Bus;
#else
struct HardwareBus {
  using Order = virtio::Order;
  template <class T>
  static T look(const T& word) noexcept {
    return virtio::look(word);
  }
  template <class T>
  static void put(T& word, T value) noexcept {
    virtio::put(word, value);
  }
  // Of a ring that nobody works.
  static void clear(std::byte* at, uint32_t bytes) noexcept { std::memset(at, 0, bytes); }
};
#endif

// Where the three parts of a ring lie in one piece of memory (§2.7, §2.8). `driver` and `device`
// are the areas that each side writes; the descriptors of a packed ring are written by both.
struct RingLayout {
  uint32_t descriptors = 0;
  uint32_t driver = 0;
  uint32_t device = 0;
  uint32_t bytes = 0;

  // `size` is a power of two.
  static constexpr RingLayout of(bool packed, uint32_t size) noexcept {
    const auto lines = [](uint32_t bytes) { return (bytes + kLine - 1) / kLine * kLine; };
    RingLayout layout;
    layout.driver = lines(size * 16);
    layout.device = layout.driver + lines(packed ? 4 : 6 + 2 * size);
    layout.bytes = layout.device + lines(packed ? 4 : 6 + 8 * size);
    return layout;
  }
};

struct RingFeatures {
  bool event_index = false;     // VIRTIO_F_EVENT_IDX
  bool order_platform = false;  // VIRTIO_F_ORDER_PLATFORM
};

// A part of a buffer as the device sees it.
struct Part {
  uint64_t address;
  uint32_t bytes;
  bool device_writes;
};

// What came back: the token of add(), and how many bytes the device claims to have written.
struct Used {
  uint32_t token;
  uint32_t bytes;
  uint16_t note;
};

class Book {
 public:
  static constexpr uint32_t kNobody = 0xffffffff;  // no token

  explicit Book(uint16_t size)
      : slots_(std::make_unique<Slot[]>(size)),
        free_(std::make_unique<uint16_t[]>(size)),
        size_(size),
        free_count_(size) {
    for (uint32_t i = 0; i < size; ++i) {
      slots_[i].token = kNobody;
      free_[i] = static_cast<uint16_t>(i);
    }
  }

  uint32_t free_count() const noexcept { return free_count_; }
  uint32_t size() const noexcept { return size_; }
  // Chains that are with the device.
  uint32_t out() const noexcept { return out_; }

  // Descriptors come back in the order they went, of nearly every device; so those that are free
  // are taken in the order they came, and neighbours stay neighbours.
  uint16_t take() noexcept {
    const uint16_t id = free_[free_head_];
    free_head_ = (free_head_ + 1) & (size_ - 1);
    --free_count_;
    return id;
  }
  void lend(uint16_t id, uint32_t token, uint16_t note) noexcept {
    slots_[id].token = token;
    slots_[id].note = note;
    ++out_;
  }
  void link(uint16_t id, uint16_t link) noexcept { slots_[id].link = link; }
  uint16_t link(uint16_t id) const noexcept { return slots_[id].link; }

  // `id` is what the device says.
  bool lent(uint32_t id) const noexcept { return id < size_ && slots_[id].token != kNobody; }
  // Of an id that is lent().
  void settle(uint16_t id, Used& used) noexcept {
    used.token = slots_[id].token;
    used.note = slots_[id].note;
    slots_[id].token = kNobody;
    --out_;
  }
  void release(uint16_t id) noexcept {
    free_[(free_head_ + free_count_) & (size_ - 1)] = id;
    ++free_count_;
  }

  // Up to n of what is out, when no device has the ring any more; the ring is useless then.
  uint32_t take_back(Used* used, uint32_t n) noexcept {
    uint32_t got = 0;
    for (uint32_t id = 0; got < n && out_ != 0 && id < size_; ++id) {
      if (!lent(id)) continue;
      used[got].bytes = 0;
      settle(static_cast<uint16_t>(id), used[got++]);
    }
    return got;
  }

 private:
  struct Slot {
    uint32_t token;
    uint16_t note;
    uint16_t link;  // split: the chain's next; packed: descriptors of the chain
  };

  std::unique_ptr<Slot[]> slots_;
  std::unique_ptr<uint16_t[]> free_;
  uint32_t size_;
  uint32_t free_head_ = 0;
  uint32_t free_count_;
  uint32_t out_ = 0;
};

}  // namespace vanity::virtio
