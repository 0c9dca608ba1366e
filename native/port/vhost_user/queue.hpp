// The device's queues of a virtio network device as a shard's (VIRTIO 1.2 §5.1.6): what the driver
// sends is received, what is transmitted fills its buffers. Each frame is copied once, for the
// driver's memory is the driver's, who may write it at any time: what was looked at is in the copy.
//
// What crosses between cores: descriptors and frames, with the driver; Tenure, when a ring is made
// anew or taken away.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <variant>

#include "device/irq_line.hpp"
#include "packet/checksum.hpp"
#include "platform/clock.hpp"
#include "port/port.hpp"
#include "port/rest.hpp"
#include "port/tenure.hpp"
#include "port/vhost_user/copy.hpp"
#include "port/virtio_net/net_header.hpp"
#include "vanity/platform.hpp"
#include "vhost/back_end.hpp"
#include "virtio/packed_device.hpp"
#include "virtio/split_device.hpp"

namespace vanity::vhost_user {

using virtio_net::NetHeader;

// What the port's thread does with a queue of either kind, and what both have.
class VhostQueue {
 public:
  // Parked until its first use: a queue that its shard never works is not waited for.
  explicit VhostQueue(virtio::Direction direction) noexcept : direction_(direction) {
    tenure.park();
  }

  // A ring of the driver's. Not while the queue is live; revive() it then.
  void renew(const vhost::RingStart& start) {
    const virtio::RingFeatures features{has(start, virtio::feature::kEventIndex), false};
    if (has(start, virtio::feature::kRingPacked)) {
      ring_.emplace<virtio::PackedDevice>(start.size, start.parts, features, direction_,
                                          start.base);
    } else {
      ring_.emplace<virtio::SplitDevice>(start.size, start.parts, features, direction_, start.base);
    }
    view_ = vhost::PeerView(*start.memory);
    call_ = start.call;
    kicks_ = start.kicks;
    rest_.fit(start.size);
    mergeable_ = has(start, virtio_net::feature::kMergeableBuffers);
    const unsigned checksum = direction_ == virtio::Direction::device_reads
                                  ? virtio_net::feature::kChecksum
                                  : virtio_net::feature::kGuestChecksum;
    checksum_ = has(start, checksum);
    frame_bytes_max_ =
        start.mtu == 0 ? 0xffff : start.mtu + virtio_net::kEthernetHeader + virtio_net::kVlanTag;
    armed_ = false;
  }
  // Where it stopped, for the one after. Not while the queue is live.
  uint32_t base() const noexcept {
    if (const auto* const packed = std::get_if<virtio::PackedDevice>(&ring_)) return packed->base();
    if (const auto* const split = std::get_if<virtio::SplitDevice>(&ring_)) return split->base();
    return 0;
  }

  Tenure tenure;
  // The kernel's thread says that the ring comes back in a moment. A hint: orders nothing.
  std::atomic<bool> pauses{false};

 protected:
  static bool has(const vhost::RingStart& start, unsigned feature) noexcept {
    return (start.features >> feature & 1) != 0;
  }
  // One branch a burst; inside it the kind of ring is known.
  template <class Work>
  auto with_ring(Work work) noexcept {
    if (auto* const packed = std::get_if<virtio::PackedDevice>(&ring_)) return work(*packed);
    return work(*std::get_if<virtio::SplitDevice>(&ring_));
  }
  template <class Ring>
  void show(Ring& ring) noexcept {
    if (ring.publish() && call_ >= 0) {
      const uint64_t one = 1;
      if (write(call_, &one, sizeof one) < 0) {
        // Full: it was told already.
      }
    }
  }

  const virtio::Direction direction_;
  std::variant<std::monostate, virtio::SplitDevice, virtio::PackedDevice> ring_;
  vhost::PeerView view_;
  int call_ = -1;
  bool kicks_ = false;
  Rest rest_;  // of a receive queue
  bool mergeable_ = false;
  bool checksum_ = false;  // may be left to the other side
  bool armed_ = false;
  uint32_t frame_bytes_max_ = 0xffff;
  virtio::Offer offers_[limits::kBurstMax];
  std::byte* places_[limits::kBurstMax];
};

struct RxSetup {
  uint16_t port;
  uint64_t poll_ns_max;
  bool interrupts;
};

class VhostRx final : public RxQueue, public VhostQueue {
 public:
  VhostRx(QueueRecord* record, const RxSetup& setup)
      : RxQueue(record),
        VhostQueue(virtio::Direction::device_reads),
        setup_(setup),
        poll_ticks_(ns_to_ticks(setup.poll_ns_max)),
        busy_since_(now_ticks()) {}

  uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept override {
    if (!tenure.live()) [[unlikely]]
      return 0;
    if (line_ != nullptr) line_->take();
    if (rest_.lasts()) return 0;
    return with_ring([&](auto& ring) { return take(ring, pool, packets, n); });
  }

  uint64_t sleep_ns_max() noexcept override {
    const bool rings = line_ != nullptr && setup_.interrupts;
    if (!tenure.live()) {
      tenure.park();
      return rings ? kSleepArmedNs : kSleepDownNs;
    }
    if (dry_) {
      tenure.park();
      return kSleepDryNs;  // no doorbell rings for a pool
    }
    if (!rings || !kicks_) return 0;
    if (!armed_) {
      if (now_ticks() - busy_since_ < poll_ticks_) return 0;
      // Whatever came before is found by this look, and nothing later is without a kick.
      if (!with_ring([](auto& ring) { return ring.arm(); })) {
        disarm();
        return 0;
      }
      armed_ = true;
    } else if (with_ring([](auto& ring) { return ring.pending(); })) {
      return 0;
    }
    tenure.park();
    return kSleepArmedNs;
  }
  bool rings() const noexcept override { return armed_; }
  void set_line(IrqLine* line) override { line_ = line; }

 private:
  // The header comes right in front of the frame, so that a frame in one piece is one copy.
  static constexpr uint32_t kHeaderAt = VANITY_FRAME_OFFSET - sizeof(NetHeader);
  static constexpr uint32_t kShortBytes = 2 * kLineBytes;  // header and frame
  // A kick is due long before; this bounds what a driver can do that owes one.
  static constexpr uint64_t kSleepArmedNs = 100'000'000;
  static constexpr uint64_t kSleepDownNs = 10'000'000;
  static constexpr uint64_t kSleepDryNs = 50'000;

  void disarm() noexcept {
    with_ring([](auto& ring) { ring.suppress(); });
    armed_ = false;
  }

  template <class Ring>
  uint32_t take(Ring& ring, Pool& pool, vanity_packet* packets, uint32_t n) noexcept {
    n = std::min({n, limits::kBurstMax, pool.free_count()});
    const bool dry = pool.free_count() == 0 && ring.pending();
    if (dry && !dry_) [[unlikely]]
      record_->no_buffer.add(1);
    dry_ = dry;
    uint32_t got = ring.take(offers_, n);
    if (n != 0) rest_.note(got);
    if (got == 0) {
      if (ring.broken()) [[unlikely]]
        lied();
      return 0;
    }
    if (armed_) disarm();
    busy_since_ = now_ticks();
    // All are on their way before the first is copied.
    for (uint32_t i = 0; i < got; ++i) {
      std::byte* const place = view_.at(offers_[i].address, offers_[i].bytes);
      if (place == nullptr) [[unlikely]] {
        ring.fail();
        got = i;
        break;
      }
      places_[i] = place;
      prefetch_read(place);
      prefetch_read(place + kLineBytes);
    }
    pool.take(ids_, got);
    uint32_t count = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < got; ++i) {
      uint8_t* const buffer = pool.buffer(ids_[count]);
      const uint32_t length = fetch(ring, i, buffer, pool.frame_bytes_max());
      if (length == 0) [[unlikely]]
        continue;
      if (!describe(buffer, ids_[count], length, packets[count])) [[unlikely]] {
        record_->invalid.add(1);
        continue;
      }
      const vanity_packet_meta meta{0, length, 0};
      std::memcpy(buffer + VANITY_HEADROOM_BYTES, &meta, sizeof meta);
      bytes += length;
      ++count;
    }
    for (uint32_t i = 0; i < got; ++i) {
      // The driver writes a short frame there next. Of a long one its lines do not pay for it.
      if (offers_[i].bytes <= kShortBytes) {
        demote(places_[i]);
        demote(places_[i] + kLineBytes);
      }
      ring.give(offers_[i], 0);
    }
    show(ring);
    if (count != got) [[unlikely]]
      pool.give(ids_ + count, got - count);
    if (ring.broken()) [[unlikely]]
      lied();
    if (count != 0) {
      record_->packets.add(count);
      record_->bytes.add(bytes);
      record_->bursts.add(1);
    }
    return count;
  }

  // Header and frame to where the header stands in front of the frame. Of the frame's bytes; 0: it
  // is none of ours, and counted.
  template <class Ring>
  uint32_t fetch(Ring& ring, uint32_t i, uint8_t* buffer, uint32_t frame_bytes_max) noexcept {
    const virtio::Offer& offer = offers_[i];
    const uint32_t room = static_cast<uint32_t>(sizeof(NetHeader)) + frame_bytes_max;
    uint64_t bytes = offer.bytes;
    for (uint32_t k = 1; k < offer.parts; ++k) bytes += ring.more(offer.more + k - 1).bytes;
    if (bytes > room) [[unlikely]] {
      record_->oversize.add(1);
      return 0;
    }
    if (bytes < sizeof(NetHeader) + virtio_net::kEthernetHeader) [[unlikely]] {
      record_->invalid.add(1);
      return 0;
    }
    uint8_t* to = buffer + kHeaderAt;
    copy(to, places_[i], offer.bytes);
    for (uint32_t k = 1; k < offer.parts; ++k) [[unlikely]] {
        to += k == 1 ? offer.bytes : ring.more(offer.more + k - 2).bytes;
        const virtio::Piece& piece = ring.more(offer.more + k - 1);
        const std::byte* const place = view_.at(piece.address, piece.bytes);
        if (place == nullptr) {
          ring.fail();
          record_->invalid.add(1);
          return 0;
        }
        copy(to, place, piece.bytes);
      }
    return static_cast<uint32_t>(bytes - sizeof(NetHeader));
  }

  // False: no frame of ours.
  bool describe(uint8_t* buffer, uint32_t id, uint32_t length, vanity_packet& packet) noexcept {
    NetHeader header;
    std::memcpy(&header, buffer + kHeaderAt, sizeof header);
    if (header.gso_type != NetHeader::kNotSegmented) return false;
    packet = {id, 0, VANITY_FRAME_OFFSET, static_cast<uint16_t>(length), setup_.port, 0};
    if ((header.flags & NetHeader::kNeedsChecksum) == 0) return true;
    const uint32_t field = uint32_t{header.checksum_start} + header.checksum_offset;
    if (!checksum_ || field + 2 > length || VANITY_FRAME_OFFSET + field > 0xffff) return false;
    const vanity_packet_offload offload{
        static_cast<uint16_t>(VANITY_FRAME_OFFSET + header.checksum_start),
        static_cast<uint16_t>(VANITY_FRAME_OFFSET + field)};
    std::memcpy(buffer + VANITY_OFFLOAD_OFFSET, &offload, sizeof offload);
    packet.flags = VANITY_PACKET_CHECKSUM_PARTIAL;
    return true;
  }

  void lied() noexcept {
    record_->invalid.add(1);
    tenure.give_up();
  }

  const RxSetup setup_;
  IrqLine* line_ = nullptr;
  uint64_t poll_ticks_;
  uint64_t busy_since_;
  bool dry_ = false;
  uint32_t ids_[limits::kBurstMax];
};

class VhostTx final : public TxQueue, public VhostQueue {
 public:
  explicit VhostTx(QueueRecord* record)
      : TxQueue(record), VhostQueue(virtio::Direction::device_writes) {}

  uint32_t transmit(const PoolTable& pools, const vanity_packet* packets,
                    uint32_t n) noexcept override {
    if (!tenure.live()) [[unlikely]] {
      if (pauses.load(std::memory_order_relaxed)) return 0;
      record_->dropped.add(n);  // nobody is there, and whoever comes wants none of the past
      return n;
    }
    return with_ring([&](auto& ring) {
      uint32_t done = 0;
      // Long frames may need more buffers than there are packets: once more, with as many as one
      // may need.
      for (bool many = false; done < n; many = crowded_) {
        const uint32_t step = put(ring, pools, packets + done, n - done, many);
        done += step;
        if (step == 0 && (many || !crowded_)) break;
      }
      return done;
    });
  }
  void flush() noexcept override { tenure.park(); }

 private:
  static constexpr uint32_t kAtOnce = 64;
  static constexpr uint32_t kSpreadMax = kAtOnce;  // buffers of the driver that one frame may fill

  // How many of the packets are done with: copied, or counted as what can never go.
  template <class Ring>
  uint32_t put(Ring& ring, const PoolTable& pools, const vanity_packet* packets, uint32_t n,
               bool many) noexcept {
    n = std::min(n, kAtOnce);
    uint32_t got = ring.take(offers_, many ? kSpreadMax : n);
    for (uint32_t i = 0; i < got; ++i) {
      std::byte* const place = view_.at(offers_[i].address, offers_[i].bytes);
      if (place == nullptr) [[unlikely]] {
        ring.fail();
        got = i;
        break;
      }
      places_[i] = place;
      prefetch_write(place);
      prefetch_write(place + kLineBytes);
      if (i < n) prefetch_read(pools.data(packets[i]));
    }
    crowded_ = false;
    uint32_t done = 0, used = 0, sent = 0;
    uint64_t bytes = 0;
    for (; done < n; ++done) {
      const vanity_packet& packet = packets[done];
      if (Counter* const why = unfit(packet); why != nullptr) [[unlikely]] {
        why->add(1);
        continue;
      }
      if (used == got) break;
      const virtio::Offer& offer = offers_[used];
      const uint32_t need = static_cast<uint32_t>(sizeof(NetHeader)) + packet.length;
      const NetHeader header = header_of(pools, packet);
      const uint8_t* const frame = pools.data(packet);
      if (offer.bytes >= need && offer.parts == 1) [[likely]] {
        std::byte* const place = places_[used];
        std::memcpy(place, &header, sizeof header);
        copy(place + sizeof header, frame, packet.length);
        ring.give(offer, need);
        ++used;
      } else {
        const uint32_t buffers = spread(ring, used, got, header, frame, need);
        if (ring.broken()) break;
        if (buffers == 0) {
          crowded_ = mergeable_ && got - used < std::min(kSpreadMax, ring.size());
          if (crowded_) break;
          record_->oversize.add(1);
          continue;
        }
        used += buffers;
      }
      bytes += packet.length;
      ++sent;
    }
    ring.untake(offers_ + used, got - used);
    show(ring);
    if (sent != 0) {
      record_->packets.add(sent);
      record_->bytes.add(bytes);
      record_->bursts.add(1);
    }
    if (ring.broken()) [[unlikely]] {
      record_->invalid.add(1);
      tenure.give_up();
    }
    return done;
  }

  // What it counts as when it can never go; null: it can.
  Counter* unfit(const vanity_packet& packet) noexcept {
    if (packet.length > frame_bytes_max_) return &record_->oversize;
    return packet.length < virtio_net::kEthernetHeader ? &record_->invalid : nullptr;
  }

  NetHeader header_of(const PoolTable& pools, const vanity_packet& packet) const noexcept {
    NetHeader header{};
    header.buffers = 1;
    constexpr uint16_t kSaid = VANITY_PACKET_CHECKSUM_PARTIAL | VANITY_PACKET_CHECKSUM_VALID;
    if ((packet.flags & kSaid) == 0) [[likely]]
      return header;
    if ((packet.flags & VANITY_PACKET_CHECKSUM_PARTIAL) == 0) {
      if (checksum_) header.flags = NetHeader::kDataValid;
      return header;
    }
    uint8_t* const buffer = pools.buffer(packet.buffer);
    if (!checksum_) {
      finish_checksum(buffer, packet);
      return header;
    }
    vanity_packet_offload offload;
    std::memcpy(&offload, buffer + VANITY_OFFLOAD_OFFSET, sizeof offload);
    if (checksum_due(packet, offload)) {
      header.flags = NetHeader::kNeedsChecksum;
      header.checksum_start = static_cast<uint16_t>(offload.checksum_start - packet.offset);
      header.checksum_offset =
          static_cast<uint16_t>(offload.checksum_field - offload.checksum_start);
    }
    return header;
  }

  // A frame over several parts of one buffer, or, where they are mergeable, several buffers. How
  // many of those; 0: they are too few, or too small.
  template <class Ring>
  [[gnu::noinline]] uint32_t spread(Ring& ring, uint32_t first, uint32_t got, NetHeader header,
                                    const uint8_t* frame, uint32_t need) noexcept {
    uint64_t room = 0;
    uint32_t buffers = 0;
    const uint32_t most = mergeable_ ? std::min(got - first, kSpreadMax) : 1;
    while (room < need && buffers < most) room += room_of(ring, offers_[first + buffers++]);
    if (room < need || room_of(ring, offers_[first]) < sizeof header) return 0;
    header.buffers = static_cast<uint16_t>(buffers);
    uint8_t said[sizeof header];
    std::memcpy(said, &header, sizeof header);
    uint32_t at = 0;  // of header and frame together
    for (uint32_t i = first; i < first + buffers; ++i) {
      const virtio::Offer& offer = offers_[i];
      const uint32_t before = at;
      at = fill(places_[i], offer.bytes, said, frame, at, need);
      for (uint32_t k = 1; k < offer.parts && at < need; ++k) {
        const virtio::Piece& piece = ring.more(offer.more + k - 1);
        std::byte* const place = view_.at(piece.address, piece.bytes);
        if (place == nullptr) {
          ring.fail();
          return 0;
        }
        at = fill(place, piece.bytes, said, frame, at, need);
      }
      ring.give(offer, at - before);
    }
    return buffers;
  }
  template <class Ring>
  static uint64_t room_of(const Ring& ring, const virtio::Offer& offer) noexcept {
    uint64_t room = offer.bytes;
    for (uint32_t k = 1; k < offer.parts; ++k) room += ring.more(offer.more + k - 1).bytes;
    return room;
  }
  static uint32_t fill(std::byte* place, uint32_t bytes, const uint8_t* header,
                       const uint8_t* frame, uint32_t at, uint32_t need) noexcept {
    bytes = std::min(bytes, need - at);
    if (at < sizeof(NetHeader) && bytes != 0) {
      const uint32_t part = std::min<uint32_t>(bytes, sizeof(NetHeader) - at);
      std::memcpy(place, header + at, part);
      place += part;
      at += part;
      bytes -= part;
    }
    if (bytes == 0) return at;
    std::memcpy(place, frame + (at - sizeof(NetHeader)), bytes);
    return at + bytes;
  }

  bool crowded_ = false;  // a frame wants more buffers than were taken
};

}  // namespace vanity::vhost_user
