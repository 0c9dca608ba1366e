// The driver's side of a packed virtqueue (VIRTIO 1.2 §2.8).
#pragma once

#include <cstddef>

#include "virtio/queue.hpp"

namespace vanity::virtio {

template <class Bus = HardwareBus>
class BasicPackedRing {
 public:
  static constexpr bool kPacked = true;

  // `memory`: RingLayout::of(true, size).bytes, zeroed, aligned to kLine. `size`: a power of two.
  BasicPackedRing(uint16_t size, std::byte* memory, RingFeatures features)
      : book_(size), order_(features.order_platform), event_index_(features.event_index) {
    const RingLayout layout = RingLayout::of(true, size);
    descriptors_ = reinterpret_cast<PackedDescriptor*>(memory + layout.descriptors);
    driver_event_ = reinterpret_cast<EventSuppression*>(memory + layout.driver);
    device_event_ = reinterpret_cast<EventSuppression*>(memory + layout.device);
    suppress();
  }

  // Of descriptors; ids are never fewer.
  uint32_t free_count() const noexcept { return free_descriptors_; }
  uint32_t size() const noexcept { return book_.size(); }
  uint32_t out() const noexcept { return book_.out(); }
  bool broken() const noexcept { return broken_; }
  // The device said what cannot be.
  void fail() noexcept { broken_ = true; }

  // ---- giving: add() any number, then publish() once. There must be free_count() for it.
  void add(const Part& part, uint32_t token, uint16_t note = 0) noexcept {
    const uint16_t id = book_.take();
    fill(id, part, 0);
    book_.link(id, 1);
    book_.lend(id, token, note);
  }
  // Several parts that are one buffer, neighbours in the ring with one id between them; those that
  // the device reads come first (§2.8.5).
  void add_chain(const Part* parts, uint32_t n, uint32_t token, uint16_t note = 0) noexcept {
    const uint16_t id = book_.take();
    for (uint32_t i = 0; i < n; ++i)
      fill(id, parts[i], i + 1 < n ? PackedDescriptor::kNext : uint16_t{0});
    book_.link(id, static_cast<uint16_t>(n));
    book_.lend(id, token, note);
  }
  // Shows the device what was added. True: it wants to be told, with notification().
  bool publish() noexcept {
    if (added_ == 0) return false;
    order_.before_publish();
    // The device works from here on in order, so it sees none of the others before this one.
    Bus::put(descriptors_[first_added_].flags, first_flags_);
    const uint16_t added = static_cast<uint16_t>(added_);
    added_ = 0;
    order_.between_store_and_look();
    const uint32_t event = Bus::look(device_event_->word);
    switch (static_cast<uint16_t>(event >> 16) & 3) {
      case EventSuppression::kDisable:
        return false;
      case EventSuppression::kDescriptor: {
        if (!event_index_) return true;
        // Places of the other lap lie a ring behind (§2.8.21.3.1).
        uint16_t wanted = event & 0x7fff;
        if (((event & 0x8000) != 0) != available_wrap_)
          wanted = static_cast<uint16_t>(wanted - book_.size());
        const uint16_t now = static_cast<uint16_t>(available_index_);
        return passed(wanted, now, static_cast<uint16_t>(now - added));
      }
      default:
        return true;
    }
  }
  // §2.9: next_off and next_wrap for VIRTIO_F_NOTIFICATION_DATA, in the high half.
  uint32_t notification(uint16_t queue) const noexcept {
    return queue | available_index_ << 16 | uint32_t{available_wrap_} << 31;
  }

  // ---- taking: what the device is done with. Descriptors lie in order, so that one barrier serves
  // all whose flags were seen.
  uint32_t collect(Used* used, uint32_t n) noexcept {
    if (broken_) return 0;
    uint32_t got = 0;
    while (got < n) {
      uint32_t run = run_of_used(n - got);
      if (run == 0) break;
      order_.after_observe();
      do {
        const uint16_t id = Bus::look(descriptors_[used_index_].id);
        if (!book_.lent(id)) [[unlikely]] {
          fail();
          return got;
        }
        used[got].bytes = Bus::look(descriptors_[used_index_].bytes);
        const uint32_t length = book_.link(id);
        book_.settle(id, used[got++]);
        book_.release(id);
        free_descriptors_ += length;
        used_index_ += length;
        if (used_index_ >= book_.size()) {
          used_index_ -= book_.size();
          used_wrap_ = !used_wrap_;
        }
        // What was seen ends at a chain: its other descriptors are not written back (§2.8.6).
        run = length == 1 ? run - 1 : 0;
      } while (run != 0);
    }
    return got;
  }
  bool pending() const noexcept { return is_used(used_index_, used_wrap_); }

  // ---- interrupts. A hint only: one may come all the same.
  void suppress() noexcept {
    Bus::put(driver_event_->word, uint32_t{EventSuppression::kDisable} << 16);
  }
  // True: the next buffer that comes back brings an interrupt. False: one came back meanwhile, for
  // which none may come.
  bool arm() noexcept {
    const uint32_t kind = event_index_ ? EventSuppression::kDescriptor : EventSuppression::kEnable;
    Bus::put(driver_event_->word, used_index_ | uint32_t{used_wrap_} << 15 | kind << 16);
    order_.between_store_and_look();
    return !pending();
  }

  uint32_t take_back(Used* used, uint32_t n) noexcept { return book_.take_back(used, n); }

 private:
  bool is_used(uint32_t index, bool wrap) const noexcept {
    constexpr uint16_t kBoth = PackedDescriptor::kAvailable | PackedDescriptor::kUsed;
    return (Bus::look(descriptors_[index].flags) & kBoth) == (wrap ? kBoth : 0);
  }
  uint32_t run_of_used(uint32_t n) const noexcept {
    uint32_t index = used_index_;
    bool wrap = used_wrap_;
    uint32_t run = 0;
    for (; run < n && is_used(index, wrap); ++run) {
      if (++index == book_.size()) {
        index = 0;
        wrap = !wrap;
      }
    }
    return run;
  }
  void fill(uint16_t id, const Part& part, uint16_t flags) noexcept {
    flags |= available_wrap_ ? PackedDescriptor::kAvailable : PackedDescriptor::kUsed;
    if (part.device_writes) flags |= PackedDescriptor::kDeviceWrites;
    PackedDescriptor& descriptor = descriptors_[available_index_];
    descriptor.address = part.address;
    descriptor.bytes = part.bytes;
    descriptor.id = id;
    if (added_++ == 0) {
      // The flags of the first make all of them available, and so come last (§2.8.21.1).
      first_added_ = available_index_;
      first_flags_ = flags;
    } else {
      Bus::put(descriptor.flags, flags);
    }
    --free_descriptors_;
    if (++available_index_ == book_.size()) {
      available_index_ = 0;
      available_wrap_ = !available_wrap_;
    }
  }

  Book book_;
  PackedDescriptor* descriptors_;
  EventSuppression* driver_event_;
  EventSuppression* device_event_;
  typename Bus::Order order_;
  uint32_t free_descriptors_ = book_.size();
  uint32_t available_index_ = 0;
  uint32_t used_index_ = 0;
  uint32_t added_ = 0;
  uint32_t first_added_ = 0;
  uint16_t first_flags_ = 0;
  bool available_wrap_ = true;  // §2.8.1
  bool used_wrap_ = true;
  bool event_index_;
  bool broken_ = false;
};

using PackedRing = BasicPackedRing<>;

}  // namespace vanity::virtio
