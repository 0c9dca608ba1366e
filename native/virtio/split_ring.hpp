// The driver's side of a split virtqueue (VIRTIO 1.2 §2.7).
#pragma once

#include <cstddef>

#include "virtio/queue.hpp"

namespace vanity::virtio {

template <class Bus = HardwareBus>
class BasicSplitRing {
 public:
  static constexpr bool kPacked = false;

  // `memory`: RingLayout::of(false, size).bytes, zeroed, aligned to kLine. `size`: a power of two.
  BasicSplitRing(uint16_t size, std::byte* memory, RingFeatures features)
      : book_(size), order_(features.order_platform), event_index_(features.event_index) {
    const RingLayout layout = RingLayout::of(false, size);
    descriptors_ = reinterpret_cast<SplitDescriptor*>(memory + layout.descriptors);
    available_ = reinterpret_cast<AvailableRing*>(memory + layout.driver);
    used_ring_ = reinterpret_cast<UsedRing*>(memory + layout.device);
    driver_event_ = &available_->ring[size];
    device_event_ = reinterpret_cast<uint16_t*>(memory + layout.device + 4 + 8 * size);
    suppress();
  }

  uint32_t free_count() const noexcept { return book_.free_count(); }
  uint32_t size() const noexcept { return book_.size(); }
  uint32_t out() const noexcept { return book_.out(); }
  bool broken() const noexcept { return broken_; }
  // The device said what cannot be.
  void fail() noexcept { broken_ = true; }

  // ---- giving: add() any number, then publish() once. There must be free_count() for it.
  void add(const Part& part, uint32_t token, uint16_t note = 0) noexcept {
    const uint16_t id = book_.take();
    fill(id, part, 0, 0);
    book_.link(id, kLast);
    book_.lend(id, token, note);
    offer(id);
  }
  // Several parts that are one buffer; those that the device reads come first (§2.7.4.2).
  void add_chain(const Part* parts, uint32_t n, uint32_t token, uint16_t note = 0) noexcept {
    const uint16_t head = book_.take();
    uint16_t id = head;
    for (uint32_t i = 0; i + 1 < n; ++i) {
      const uint16_t next = book_.take();
      fill(id, parts[i], SplitDescriptor::kNext, next);
      book_.link(id, next);
      id = next;
    }
    fill(id, parts[n - 1], 0, 0);
    book_.link(id, kLast);
    book_.lend(head, token, note);
    offer(head);
  }
  // Shows the device what was added. True: it wants to be told, with notification().
  bool publish() noexcept {
    const uint16_t before = shown_;
    if (before == available_index_) return false;
    order_.before_publish();
    Bus::put(available_->index, available_index_);
    shown_ = available_index_;
    order_.between_store_and_look();
    if (event_index_) {
      return passed(Bus::look(*device_event_), available_index_, before);
    }
    return (Bus::look(used_ring_->flags) & UsedRing::kNoNotify) == 0;
  }
  // §2.9: next_off and next_wrap for VIRTIO_F_NOTIFICATION_DATA, in the high half.
  uint32_t notification(uint16_t queue) const noexcept {
    return queue | static_cast<uint32_t>(available_index_) << 16;
  }

  // ---- taking: what the device is done with, one look at the ring
  uint32_t collect(Used* used, uint32_t n) noexcept {
    const uint16_t index = Bus::look(used_ring_->index);
    const uint32_t ready = static_cast<uint16_t>(index - used_index_);
    if (ready == 0 || broken_) return 0;
    if (ready > book_.out()) [[unlikely]] {
      fail();
      return 0;
    }
    order_.after_observe();
    n = n < ready ? n : ready;
    const uint32_t mask = book_.size() - 1;
    for (uint32_t i = 0; i < n; ++i) {
      const UsedElement& element = used_ring_->ring[used_index_ & mask];
      const uint32_t id = Bus::look(element.id);
      if (!book_.lent(id)) [[unlikely]] {
        fail();
        return i;
      }
      used[i].bytes = Bus::look(element.bytes);
      uint16_t link = book_.link(static_cast<uint16_t>(id));
      book_.settle(static_cast<uint16_t>(id), used[i]);
      book_.release(static_cast<uint16_t>(id));
      while (link != kLast) [[unlikely]] {
          const uint16_t next = book_.link(link);
          book_.release(link);
          link = next;
        }
      ++used_index_;
    }
    return n;
  }
  bool pending() const noexcept { return Bus::look(used_ring_->index) != used_index_; }

  // ---- interrupts. A hint only: one may come all the same (§2.7.7.1).
  void suppress() noexcept {
    if (event_index_) {
      // As far behind as can be: one interrupt each 2^16 buffers.
      Bus::put(*driver_event_, static_cast<uint16_t>(used_index_ - 1));
    } else {
      Bus::put(available_->flags, uint16_t{AvailableRing::kNoInterrupt});
    }
  }
  // True: the next buffer that comes back brings an interrupt. False: one came back meanwhile, for
  // which none may come.
  bool arm() noexcept {
    if (event_index_) {
      Bus::put(*driver_event_, used_index_);
    } else {
      Bus::put(available_->flags, uint16_t{0});
    }
    order_.between_store_and_look();
    return !pending();
  }

  uint32_t take_back(Used* used, uint32_t n) noexcept { return book_.take_back(used, n); }

 private:
  static constexpr uint16_t kLast = 0xffff;

  void fill(uint16_t id, const Part& part, uint16_t flags, uint16_t next) noexcept {
    if (part.device_writes) flags |= SplitDescriptor::kDeviceWrites;
    SplitDescriptor& descriptor = descriptors_[id];
    // While the same buffers go round it often holds the same as a lap ago, and the line stays
    // shared. Who finds something else there than what was written writes it again.
    if (look(descriptor.address) == part.address && look(descriptor.bytes) == part.bytes &&
        look(descriptor.flags) == flags && look(descriptor.next) == next)
      return;
    descriptor = {part.address, part.bytes, flags, next};
  }
  void offer(uint16_t id) noexcept {
    uint16_t& slot = available_->ring[available_index_ & (book_.size() - 1)];
    // While all come back in order it holds the same as a lap ago, and the line stays shared.
    if (Bus::look(slot) != id) Bus::put(slot, id);
    ++available_index_;
  }

  Book book_;
  SplitDescriptor* descriptors_;
  AvailableRing* available_;
  UsedRing* used_ring_;
  uint16_t* driver_event_;  // used_event (§2.7.7)
  uint16_t* device_event_;  // avail_event (§2.7.10)
  typename Bus::Order order_;
  uint16_t available_index_ = 0;
  uint16_t shown_ = 0;
  uint16_t used_index_ = 0;
  bool event_index_;
  bool broken_ = false;
};

using SplitRing = BasicSplitRing<>;

}  // namespace vanity::virtio
