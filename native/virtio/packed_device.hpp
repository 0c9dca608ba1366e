// The device's side of a packed virtqueue (VIRTIO 1.2 §2.8).
#pragma once

#include "virtio/device_ring.hpp"

namespace vanity::virtio {

class PackedDevice {
 public:
  static constexpr bool kPacked = true;
  static constexpr uint32_t kBaseOfNew = 0x8000;  // the first place, on the first lap

  // `size`: up to 2^15. `base`: where the device before this one stopped, its lap in bit 15; it
  // had given back all that it took. All of the queue's buffers go in one direction.
  PackedDevice(uint16_t size, const RingParts& parts, RingFeatures features, Direction direction,
               uint32_t base = kBaseOfNew)
      : descriptors_(reinterpret_cast<PackedDescriptor*>(parts.descriptors)),
        driver_event_(reinterpret_cast<EventSuppression*>(parts.driver)),
        device_event_(reinterpret_cast<EventSuppression*>(parts.device)),
        size_(size),
        order_(features.order_platform),
        direction_(direction == Direction::device_writes ? PackedDescriptor::kDeviceWrites : 0),
        taken_index_(base & 0x7fff),
        used_index_(taken_index_),
        taken_wrap_((base & 0x8000) != 0),
        used_wrap_(taken_wrap_),
        event_index_(features.event_index) {
    if (taken_index_ >= size) {
      taken_index_ = used_index_ = 0;
      fail();
    }
    suppress();
  }

  uint32_t size() const noexcept { return size_; }
  bool broken() const noexcept { return broken_; }
  // The driver said what cannot be.
  void fail() noexcept { broken_ = true; }

  // ---- taking: up to n buffers. Descriptors lie in order, a cache line of them is looked at and
  // ordered at a time.
  uint32_t take(Offer* offers, uint32_t n) noexcept {
    if (broken_) return 0;
    more_.clear();
    uint32_t got = 0;
    while (got < n) {
      uint16_t flags[kAtOnce];
      const uint32_t run = run_of_available(flags, std::min({n - got, kAtOnce, size_ - out_}));
      if (run == 0) break;
      order_.after_observe();
      for (uint32_t i = 0; i < run; ++i, ++got) {
        const PackedDescriptor& descriptor = descriptors_[taken_index_];
        Offer& offer = offers[got];
        offer = {look(descriptor.address), look(descriptor.bytes), look(descriptor.id), 1,
                 more_.count()};
        if ((flags[i] & kKnown) == direction_) [[likely]] {
          forward(taken_index_, taken_wrap_, 1);
          ++out_;
          continue;
        }
        if (!read_chain(flags[i] & kKnown, offer)) return got;
        // What was seen behind it are its own parts.
        ++got;
        break;
      }
    }
    return got;
  }
  // A part of a buffer behind its first, from Offer::more on. Until the next take().
  const Piece& more(uint32_t index) const noexcept { return more_[index]; }
  // The last n that were taken are as if they had not been.
  void untake(const Offer* first, uint32_t n) noexcept {
    uint32_t places = 0;
    for (uint32_t i = 0; i < n; ++i) places += first[i].parts;
    if (places > taken_index_) {
      taken_index_ += size_;
      taken_wrap_ = !taken_wrap_;
    }
    taken_index_ -= places;
    out_ -= places;
  }
  bool pending() const noexcept {
    return is_available(look(descriptors_[taken_index_].flags), taken_wrap_);
  }

  // ---- giving back: give() any number in the order they were taken, then publish() once.
  // `bytes`: that were written.
  void give(const Offer& offer, uint32_t bytes) noexcept {
    PackedDescriptor& descriptor = descriptors_[used_index_];
    constexpr uint16_t kBoth = PackedDescriptor::kAvailable | PackedDescriptor::kUsed;
    uint16_t flags = used_wrap_ ? kBoth : 0;
    if (bytes != 0) flags |= PackedDescriptor::kDeviceWrites;
    put(descriptor.bytes, bytes);
    put(descriptor.id, offer.id);
    if (given_ == 0) {
      // The driver takes them in order, so the flags of the first show all of them (§2.8.6).
      first_given_ = used_index_;
      first_flags_ = flags;
    } else {
      put(descriptor.flags, flags);
    }
    given_ += offer.parts;
    out_ -= offer.parts;
    forward(used_index_, used_wrap_, offer.parts);
  }
  // Shows the driver what was given. True: it wants to be told.
  bool publish() noexcept {
    if (given_ == 0) return false;
    order_.before_publish();
    put(descriptors_[first_given_].flags, first_flags_);
    const uint16_t given = static_cast<uint16_t>(given_);
    given_ = 0;
    order_.between_store_and_look();
    const uint32_t event = look(driver_event_->word);
    switch (static_cast<uint16_t>(event >> 16) & 3) {
      case EventSuppression::kDisable:
        return false;
      case EventSuppression::kDescriptor: {
        // How far the device before told the driver is not known.
        if (!event_index_ || !std::exchange(told_, true)) return true;
        // Places of the other lap lie a ring behind (§2.8.21.3.1).
        uint16_t wanted = event & 0x7fff;
        if (((event & 0x8000) != 0) != used_wrap_) wanted = static_cast<uint16_t>(wanted - size_);
        const uint16_t now = static_cast<uint16_t>(used_index_);
        return passed(wanted, now, static_cast<uint16_t>(now - given));
      }
      default:
        return true;
    }
  }

  // ---- kicks. A hint only: one may come all the same.
  void suppress() noexcept { put(device_event_->word, uint32_t{EventSuppression::kDisable} << 16); }
  // True: the next buffer brings a kick. False: one came meanwhile, for which none may come.
  bool arm() noexcept {
    const uint32_t kind = event_index_ ? EventSuppression::kDescriptor : EventSuppression::kEnable;
    put(device_event_->word, taken_index_ | uint32_t{taken_wrap_} << 15 | kind << 16);
    order_.between_store_and_look();
    return !pending();
  }

  // For the device that comes after: what is taken, and the same again of what is given back.
  uint32_t base() const noexcept {
    const uint32_t place = taken_index_ | uint32_t{taken_wrap_} << 15;
    return place | place << 16;
  }

 private:
  static constexpr uint32_t kAtOnce = 8;  // two lines on most processors
  static constexpr uint16_t kKnown =
      PackedDescriptor::kNext | PackedDescriptor::kDeviceWrites | PackedDescriptor::kIndirect;

  static constexpr bool is_available(uint16_t flags, bool wrap) noexcept {
    constexpr uint16_t kBoth = PackedDescriptor::kAvailable | PackedDescriptor::kUsed;
    return (flags & kBoth) == (wrap ? PackedDescriptor::kAvailable : PackedDescriptor::kUsed);
  }
  uint32_t run_of_available(uint16_t* flags, uint32_t n) const noexcept {
    uint32_t index = taken_index_;
    bool wrap = taken_wrap_;
    uint32_t run = 0;
    for (; run < n; ++run) {
      flags[run] = look(descriptors_[index].flags);
      if (!is_available(flags[run], wrap)) break;
      forward(index, wrap, 1);
    }
    return run;
  }
  void forward(uint32_t& index, bool& wrap, uint32_t n) const noexcept {
    index += n;
    if (index >= size_) {
      index -= size_;
      wrap = !wrap;
    }
  }
  // False: the ring is broken, or there is no room for another chain in this take(). The first part
  // makes the others available with it (§2.8.21), so that only what they are is looked at.
  [[gnu::noinline]] bool read_chain(uint16_t flags, Offer& offer) noexcept {
    if (!more_.fits()) return false;
    uint32_t index = taken_index_;
    bool wrap = taken_wrap_;
    forward(index, wrap, 1);
    while (flags == (direction_ | PackedDescriptor::kNext)) {
      if (offer.parts == std::min(size_ - out_, Pieces::kChainMax)) break;
      const PackedDescriptor& descriptor = descriptors_[index];
      more_.add(look(descriptor.address), look(descriptor.bytes));
      offer.id = look(descriptor.id);  // that of the last counts (§2.8.6)
      ++offer.parts;
      flags = look(descriptor.flags) & kKnown;
      forward(index, wrap, 1);
    }
    if (flags != direction_) {
      fail();
      return false;
    }
    taken_index_ = index;
    taken_wrap_ = wrap;
    out_ += offer.parts;
    return true;
  }

  PackedDescriptor* descriptors_;
  EventSuppression* driver_event_;
  EventSuppression* device_event_;
  uint32_t size_;
  Order order_;
  uint16_t direction_;
  uint32_t taken_index_;
  uint32_t used_index_;
  uint32_t out_ = 0;  // places that are taken and not given back
  uint32_t given_ = 0;
  uint32_t first_given_ = 0;
  uint16_t first_flags_ = 0;
  bool taken_wrap_;
  bool used_wrap_;
  bool event_index_;
  bool told_ = false;
  bool broken_ = false;
  Pieces more_;
};

}  // namespace vanity::virtio
