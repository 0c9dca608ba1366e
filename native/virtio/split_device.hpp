// The device's side of a split virtqueue (VIRTIO 1.2 §2.7).
#pragma once

#include "virtio/device_ring.hpp"

namespace vanity::virtio {

class SplitDevice {
 public:
  static constexpr bool kPacked = false;
  static constexpr uint32_t kBaseOfNew = 0;

  // `size`: a power of two. `base`: where the device before this one stopped. All of the queue's
  // buffers go in one direction.
  SplitDevice(uint16_t size, const RingParts& parts, RingFeatures features, Direction direction,
              uint32_t base = kBaseOfNew)
      : descriptors_(reinterpret_cast<SplitDescriptor*>(parts.descriptors)),
        available_(reinterpret_cast<AvailableRing*>(parts.driver)),
        used_ring_(reinterpret_cast<UsedRing*>(parts.device)),
        driver_event_(&available_->ring[size]),
        device_event_(reinterpret_cast<uint16_t*>(parts.device + 4 + 8 * size)),
        mask_(size - 1u),
        order_(features.order_platform),
        direction_(direction == Direction::device_writes ? SplitDescriptor::kDeviceWrites : 0),
        taken_index_(static_cast<uint16_t>(base)),
        seen_index_(taken_index_),
        // What the device before gave back stands in the ring itself.
        used_index_(look(used_ring_->index)),
        shown_(used_index_),
        event_index_(features.event_index) {
    suppress();
  }

  uint32_t size() const noexcept { return mask_ + 1; }
  bool broken() const noexcept { return broken_; }
  // The driver said what cannot be.
  void fail() noexcept { broken_ = true; }

  // ---- taking: up to n buffers with one look at the ring
  uint32_t take(Offer* offers, uint32_t n) noexcept {
    if (broken_) return 0;
    uint32_t ready = static_cast<uint16_t>(seen_index_ - taken_index_);
    if (ready < n) {
      // The line comes from the driver's core: not while there is enough without it.
      seen_index_ = look(available_->index);
      ready = static_cast<uint16_t>(seen_index_ - taken_index_);
      if (ready == 0) return 0;
      if (ready > size()) [[unlikely]] {
        fail();
        return 0;
      }
      order_.after_observe();
      n = std::min(n, ready);
    }
    more_.clear();
    uint32_t got = 0;
    while (got < n) {
      // Descriptors lie wherever the driver likes: all are asked for before one is read.
      uint16_t heads[kAtOnce];
      const uint32_t count = std::min(n - got, kAtOnce);
      for (uint32_t i = 0; i < count; ++i) {
        heads[i] = look(available_->ring[(taken_index_ + i) & mask_]);
        __builtin_prefetch(&descriptors_[heads[i] & mask_]);
      }
      for (uint32_t i = 0; i < count; ++i, ++got) {
        if (!read(heads[i], offers[got])) [[unlikely]]
          return got;
        ++taken_index_;
      }
    }
    return got;
  }
  // A part of a buffer behind its first, from Offer::more on. Until the next take().
  const Piece& more(uint32_t index) const noexcept { return more_[index]; }
  // The last n that were taken are as if they had not been.
  void untake(const Offer* /*first*/, uint32_t n) noexcept {
    taken_index_ = static_cast<uint16_t>(taken_index_ - n);
  }
  bool pending() const noexcept { return look(available_->index) != taken_index_; }

  // ---- giving back: give() any number in the order they were taken, then publish() once.
  // `bytes`: that were written.
  void give(const Offer& offer, uint32_t bytes) noexcept {
    UsedElement& element = used_ring_->ring[used_index_ & mask_];
    // Often it holds the same as a lap ago, and the line stays shared.
    if (look(element.id) != offer.id) put(element.id, uint32_t{offer.id});
    if (look(element.bytes) != bytes) put(element.bytes, bytes);
    ++used_index_;
  }
  // Shows the driver what was given. True: it wants to be told.
  bool publish() noexcept {
    const uint16_t before = shown_;
    if (before == used_index_) return false;
    order_.before_publish();
    put(used_ring_->index, used_index_);
    shown_ = used_index_;
    order_.between_store_and_look();
    if (!event_index_) return (look(available_->flags) & AvailableRing::kNoInterrupt) == 0;
    // How far the device before told the driver is not known.
    if (!std::exchange(told_, true)) return true;
    return passed(look(*driver_event_), used_index_, before);
  }

  // ---- kicks. A hint only: one may come all the same (§2.7.10).
  void suppress() noexcept {
    if (event_index_) {
      put(*device_event_, static_cast<uint16_t>(taken_index_ - 1));
    } else {
      put(used_ring_->flags, UsedRing::kNoNotify);
    }
  }
  // True: the next buffer brings a kick. False: one came meanwhile, for which none may come.
  bool arm() noexcept {
    if (event_index_) {
      put(*device_event_, taken_index_);
    } else {
      put(used_ring_->flags, uint16_t{0});
    }
    order_.between_store_and_look();
    return !pending();
  }

  // For the device that comes after.
  uint32_t base() const noexcept { return taken_index_; }

 private:
  static constexpr uint32_t kAtOnce = 32;
  static constexpr uint16_t kKnown =
      SplitDescriptor::kNext | SplitDescriptor::kDeviceWrites | SplitDescriptor::kIndirect;

  // False: the ring is broken, or there is no room for another chain in this take().
  bool read(uint16_t head, Offer& offer) noexcept {
    if (head > mask_) [[unlikely]] {
      fail();
      return false;
    }
    const SplitDescriptor& descriptor = descriptors_[head];
    offer = {look(descriptor.address), look(descriptor.bytes), head, 1, more_.count()};
    const uint16_t flags = look(descriptor.flags) & kKnown;
    if (flags == direction_) [[likely]]
      return true;
    return read_chain(flags, look(descriptor.next), offer);
  }
  [[gnu::noinline]] bool read_chain(uint16_t flags, uint16_t next, Offer& offer) noexcept {
    if (!more_.fits()) return false;
    while (flags == (direction_ | SplitDescriptor::kNext)) {
      if (next > mask_ || offer.parts == Pieces::kChainMax) break;
      const SplitDescriptor& descriptor = descriptors_[next];
      more_.add(look(descriptor.address), look(descriptor.bytes));
      ++offer.parts;
      flags = look(descriptor.flags) & kKnown;
      next = look(descriptor.next);
    }
    if (flags == direction_) return true;
    fail();
    return false;
  }

  SplitDescriptor* descriptors_;
  AvailableRing* available_;
  UsedRing* used_ring_;
  uint16_t* driver_event_;  // used_event (§2.7.7)
  uint16_t* device_event_;  // avail_event (§2.7.10)
  uint32_t mask_;
  Order order_;
  uint16_t direction_;
  uint16_t taken_index_;
  uint16_t seen_index_;
  uint16_t used_index_;
  uint16_t shown_;
  bool event_index_;
  bool told_ = false;
  bool broken_ = false;
  Pieces more_;
};

}  // namespace vanity::virtio
