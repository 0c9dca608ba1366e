// The queues of a virtio network device as a shard's (VIRTIO 1.2 §5.1.6). Packets lie in pool
// buffers in both directions and are never copied; header and frame are one descriptor.
//
// What crosses between cores: descriptors and frames, with the device; Tenure, when the device is
// made anew or taken away.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>

#include "device/irq_line.hpp"
#include "packet/checksum.hpp"
#include "platform/clock.hpp"
#include "port/buffer_map.hpp"
#include "port/port.hpp"
#include "port/rest.hpp"
#include "port/tenure.hpp"
#include "port/virtio_net/net_header.hpp"
#include "vanity/platform.hpp"
#include "virtio/packed_ring.hpp"
#include "virtio/split_ring.hpp"
#include "virtio/transport.hpp"

namespace vanity::virtio_net {

// What was negotiated; may be something else each time a device is made anew.
struct Agreed {
  virtio::RingFeatures ring;
  bool mergeable;
  bool guest_checksum;       // VIRTIO_NET_F_GUEST_CSUM
  bool checksum;             // VIRTIO_NET_F_CSUM
  uint32_t frame_bytes_max;  // by the device's MTU
};

// What the port's thread does with a queue of either kind.
class NetQueue {
 public:
  virtual ~NetQueue() = default;
  // A new ring in `memory`, which is zeroed; what the old one held is home. Not while it is live.
  virtual void renew(std::byte* memory, const virtio::Notifier& notify, const Agreed& agreed) = 0;

  Tenure tenure;
};

struct RxSetup {
  uint16_t queue;  // the virtqueue's number
  uint16_t size;
  uint16_t port;
  uint32_t buffer_bytes;
  uint64_t poll_ns_max;
  bool interrupts;
  const BufferMap* buffers;
  std::optional<virtio::LevelState> level;  // when its interrupt is a level line
};

template <class Ring>
class NetRx final : public RxQueue, public NetQueue {
 public:
  NetRx(QueueRecord* record, const RxSetup& setup)
      : RxQueue(record),
        setup_(setup),
        posted_bytes_(setup.buffer_bytes - kHeaderOffset),
        poll_ticks_(ns_to_ticks(setup.poll_ns_max)),
        busy_since_(now_ticks()) {}

  void renew(std::byte* memory, const virtio::Notifier& notify, const Agreed& agreed) override {
    ring_.emplace(setup_.size, memory, agreed.ring);
    notify_ = notify;
    mergeable_ = agreed.mergeable;
    checksum_ = agreed.guest_checksum;
    rest_.fit(setup_.size);
    armed_ = false;
    left_ = 0;
  }

  uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept override {
    if (!tenure.live()) [[unlikely]] {
      return tenure.released() ? last_of_it(pool, packets, n) : 0;
    }
    if (line_ != nullptr && line_->take() != 0 && setup_.level) acknowledge();
    // Before the look: what it brings is not free yet, and what the looks before brought mostly is.
    refill(pool);
    if (rest_.lasts()) return 0;
    const uint32_t got = ring_->collect(used_, std::min(n, limits::kBurstMax));
    rest_.note(got);
    uint32_t count = 0;
    if (got != 0) {
      if (armed_) disarm();
      busy_since_ = now_ticks();
      for (uint32_t i = 0; i < got; ++i)
        prefetch_write(pool.buffer(used_[i].token) + VANITY_HEADROOM_BYTES);
      count = mergeable_ ? take_merged(pool, packets, got) : take(pool, packets, got);
    }
    if (ring_->broken()) [[unlikely]]
      tenure.give_up();
    return count;
  }

  uint64_t sleep_ns_max() noexcept override {
    if (!tenure.live()) return kSleepDownNs;
    if (line_ == nullptr || !setup_.interrupts) return 0;
    if (!armed_) {
      if (now_ticks() - busy_since_ < poll_ticks_) return 0;
      // Whatever came before the vector was armed is found by this look, and nothing later is
      // without an interrupt.
      if (!ring_->arm()) {
        ring_->suppress();
        return 0;
      }
      armed_ = true;
    } else if (ring_->pending()) {
      return 0;
    }
    // Without a buffer at the device nothing can come, and no doorbell rings for a pool.
    return ring_->out() == 0 ? kSleepDryNs : kSleepArmedNs;
  }
  bool rings() const noexcept override { return armed_; }
  void set_line(IrqLine* line) override { line_ = line; }

  uint32_t take_back(vanity_packet* packets, uint32_t n) noexcept override {
    uint32_t got = 0;
    if (n != 0 && held()) packets[got++].buffer = drop_held();
    if (!ring_) return got;
    const uint32_t more = ring_->take_back(used_, std::min(n - got, limits::kBurstMax));
    for (uint32_t i = 0; i < more; ++i) packets[got++].buffer = used_[i].token;
    return got;
  }

 private:
  static constexpr uint32_t kNone = virtio::Book::kNobody;
  // An interrupt is due long before; this bounds what a device can do that owes one.
  static constexpr uint64_t kSleepArmedNs = 100'000'000;
  static constexpr uint64_t kSleepDownNs = 10'000'000;
  static constexpr uint64_t kSleepDryNs = 50'000;
  // Buffers are taken out of the pool so many at a time. All that came back since the last time are
  // taken together, in the order they came back: so each may get the descriptor that it had, which
  // then need not be written.
  static constexpr uint32_t kRefill = 256;

  void acknowledge() noexcept {
    (*setup_.level)();  // a change of the configuration is found by the port's service()
    line_->done();
  }
  void disarm() noexcept {
    ring_->suppress();
    armed_ = false;
  }

  // One buffer is one frame.
  uint32_t take(Pool& pool, vanity_packet* packets, uint32_t got) noexcept {
    uint32_t count = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < got; ++i) {
      const virtio::Used& used = used_[i];
      NetHeader header{};
      if (!lengths_are_right(used, sizeof header)) [[unlikely]] {
        lied(pool, used.token);
        continue;
      }
      uint8_t* const buffer = pool.buffer(used.token);
      // Without the feature it says nothing (§5.1.6.4.1), and its line may stay where it is.
      if (checksum_) std::memcpy(&header, buffer + kHeaderOffset, sizeof header);
      vanity_packet& packet = packets[count];
      const uint32_t length = used.bytes - static_cast<uint32_t>(sizeof header);
      if (!describe(buffer, used.token, header, length, packet)) [[unlikely]] {
        refuse(pool, used.token, record_->invalid);
        continue;
      }
      finish(buffer, packet);
      bytes += packet.length;
      ++count;
    }
    count_packets(count, bytes);
    return count;
  }

  // A frame may lie in several buffers (§5.1.6.4); it is gathered in the first, and is too long if
  // it doesn't fit. Those that were full to the end, which are nearly all, never do.
  uint32_t take_merged(Pool& pool, vanity_packet* packets, uint32_t got) noexcept {
    uint32_t count = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < got; ++i) {
      const virtio::Used& used = used_[i];
      const uint32_t least = left_ == 0 ? sizeof(NetHeader) : 0;
      if (!lengths_are_right(used, least)) [[unlikely]] {
        lied(pool, used.token);
        continue;
      }
      uint8_t* const buffer = pool.buffer(used.token);
      if (left_ == 0) {
        NetHeader header;
        std::memcpy(&header, buffer + kHeaderOffset, sizeof header);
        if (header.buffers == 0 || header.buffers > ring_->size()) [[unlikely]] {
          lied(pool, used.token);
          continue;
        }
        left_ = header.buffers - 1u;
        header_ = header;
        gathered_ = used.token;
        gathered_bytes_ = used.bytes - static_cast<uint32_t>(sizeof header);
      } else {
        --left_;
        if (held()) {
          if (gathered_bytes_ + used.bytes <= frame_bytes_max(pool)) {
            std::memcpy(pool.buffer(gathered_) + kRxFrameOffset + gathered_bytes_,
                        buffer + kHeaderOffset, used.bytes);
            gathered_bytes_ += used.bytes;
          } else {
            refuse(pool, drop_held(), record_->oversize);
          }
        }
        pool.give(&used.token, 1);
      }
      if (left_ != 0 || !held()) continue;
      vanity_packet& packet = packets[count];
      uint8_t* const first = pool.buffer(gathered_);
      const uint32_t token = drop_held();
      if (!describe(first, token, header_, gathered_bytes_, packet)) [[unlikely]] {
        refuse(pool, token, record_->invalid);
        continue;
      }
      finish(first, packet);
      bytes += packet.length;
      ++count;
    }
    count_packets(count, bytes);
    return count;
  }

  bool lengths_are_right(const virtio::Used& used, uint32_t least) const noexcept {
    return used.bytes >= least && used.bytes <= posted_bytes_;
  }
  // False: no frame of ours.
  bool describe(uint8_t* buffer, uint32_t token, const NetHeader& header, uint32_t length,
                vanity_packet& packet) const noexcept {
    if (length < kEthernetHeader || length > 0xffff || header.gso_type != NetHeader::kNotSegmented)
      return false;
    packet = {token, 0, kRxFrameOffset, static_cast<uint16_t>(length), setup_.port, 0};
    if (header.flags == 0 || !checksum_) return header.flags == 0;
    if ((header.flags & NetHeader::kNeedsChecksum) != 0) {
      const uint32_t field = uint32_t{header.checksum_start} + header.checksum_offset;
      if (field + 2 > length || kRxFrameOffset + field > 0xffff) return false;
      const vanity_packet_offload offload{
          static_cast<uint16_t>(kRxFrameOffset + header.checksum_start),
          static_cast<uint16_t>(kRxFrameOffset + field)};
      std::memcpy(buffer + VANITY_OFFLOAD_OFFSET, &offload, sizeof offload);
      packet.flags = VANITY_PACKET_CHECKSUM_PARTIAL;
    } else if ((header.flags & NetHeader::kDataValid) != 0) {
      packet.flags = VANITY_PACKET_CHECKSUM_VALID;
    }
    return true;
  }
  void finish(uint8_t* buffer, const vanity_packet& packet) const noexcept {
    const vanity_packet_meta meta{0, packet.length, 0};
    std::memcpy(buffer + VANITY_HEADROOM_BYTES, &meta, sizeof meta);
  }
  void count_packets(uint32_t count, uint64_t bytes) noexcept {
    if (count == 0) return;
    record_->packets.add(count);
    record_->bytes.add(bytes);
    record_->bursts.add(1);
  }
  void refuse(Pool& pool, uint32_t token, Counter& counter) noexcept {
    counter.add(1);
    pool.give(&token, 1);
  }
  void lied(Pool& pool, uint32_t token) noexcept {
    refuse(pool, token, record_->invalid);
    ring_->fail();
  }

  static uint32_t frame_bytes_max(const Pool& pool) noexcept {
    return std::min(pool.buffer_bytes() - kRxFrameOffset, 0xffffu);
  }
  bool held() const noexcept { return gathered_ != kNone; }
  uint32_t drop_held() noexcept { return std::exchange(gathered_, kNone); }

  // By fewer than a batch only a ring that has nothing is filled: each time costs the device a
  // line.
  void refill(Pool& pool) noexcept {
    uint32_t want = ring_->free_count();
    if (want < setup_.size / 8u && ring_->out() != 0) return;
    if (pool.free_count() == 0) [[unlikely]] {
      if (ring_->out() == 0 && !dry_) record_->no_buffer.add(1);
      dry_ = ring_->out() == 0;
      return;
    }
    dry_ = false;
    do {
      uint32_t ids[kRefill];
      const uint32_t got = pool.take(ids, std::min({want, kRefill, pool.free_count()}));
      for (uint32_t i = 0; i < got; ++i) {
        // The device writes there next; whoever had the packet before has read it.
        demote(pool.buffer(ids[i]) + kRxFrameOffset);
        ring_->add({setup_.buffers->address(ids[i], kHeaderOffset), posted_bytes_, true}, ids[i]);
      }
      want -= got;
    } while (want != 0 && pool.free_count() != 0);
    if (ring_->publish()) notify_(ring_->notification(setup_.queue));
  }

  // The device is stopped. What it had brought by then is received, the rest of its buffers go
  // home.
  uint32_t last_of_it(Pool& pool, vanity_packet* packets, uint32_t n) noexcept {
    const uint32_t got =
        ring_->broken() ? 0 : ring_->collect(used_, std::min(n, limits::kBurstMax));
    if (got == 0) {
      give_back(pool);
      return 0;
    }
    return mergeable_ ? take_merged(pool, packets, got) : take(pool, packets, got);
  }
  void give_back(Pool& pool) noexcept {
    vanity_packet packets[kRefill];
    for (uint32_t got; (got = take_back(packets, kRefill)) != 0;) pool.give(packets, got);
    tenure.drain();
  }

  RxSetup setup_;
  std::optional<Ring> ring_;
  virtio::Notifier notify_;
  IrqLine* line_ = nullptr;
  uint32_t posted_bytes_;
  uint64_t poll_ticks_;
  uint64_t busy_since_;
  Rest rest_;
  bool mergeable_ = false;
  bool checksum_ = false;
  bool armed_ = false;
  bool dry_ = false;
  // A frame of several buffers: how many are to come, and the first, if it is still worth it.
  uint32_t left_ = 0;
  uint32_t gathered_ = kNone;
  uint32_t gathered_bytes_ = 0;
  NetHeader header_{};
  virtio::Used used_[limits::kBurstMax];
};

struct TxSetup {
  uint16_t queue;
  uint16_t size;
  uint64_t blank_header;  // address of a NetHeader of zeros
  const BufferMap* buffers;
};

template <class Ring>
class NetTx final : public TxQueue, public NetQueue {
 public:
  NetTx(QueueRecord* record, const TxSetup& setup) : TxQueue(record), setup_(setup) {}

  void renew(std::byte* memory, const virtio::Notifier& notify, const Agreed& agreed) override {
    ring_.emplace(setup_.size, memory, agreed.ring);
    notify_ = notify;
    checksum_ = agreed.checksum;
    frame_bytes_max_ = agreed.frame_bytes_max;
    waits_since_ = 0;
  }

  bool keeps() const noexcept override { return true; }

  uint32_t transmit(const PoolTable& pools, const vanity_packet* packets,
                    uint32_t n) noexcept override {
    if (!tenure.live()) [[unlikely]] {
      n = std::min(n, limits::kBurstMax - refused_count_);
      for (uint32_t i = 0; i < n; ++i) refuse(packets[i], record_->dropped);
      return n;
    }
    uint32_t done = 0, sent = 0;
    uint64_t bytes = 0;
    for (; done < n; ++done) {
      const vanity_packet& packet = packets[done];
      if (ring_->free_count() < 2) break;
      if (Counter* const why = unfit(packet); why != nullptr) [[unlikely]] {
        if (refused_count_ == limits::kBurstMax) break;
        refuse(packet, *why);
        continue;
      }
      add(pools.buffer(packet.buffer), packet);
      bytes += packet.length;
      ++sent;
    }
    if (sent != 0) {
      with_device_ += sent;
      if (ring_->publish()) notify_(ring_->notification(setup_.queue));
      record_->packets.add(sent);
      record_->bytes.add(bytes);
      record_->bursts.add(1);
    }
    return done;
  }

  // `buffer` and `flags` are those of the packet, the rest is nothing.
  uint32_t completed(vanity_packet* packets, uint32_t n) noexcept override {
    uint32_t got = 0;
    for (; refused_count_ != 0 && got < n; ++got) packets[got] = refused_[--refused_count_];
    if (tenure.live()) [[likely]] {
      // One look for many: the line that the device writes is fetched anew each time.
      if (ring_->free_count() > setup_.size / 4 && !flushed_) return got;
      const uint32_t more = ring_->collect(used_, std::min(n - got, limits::kBurstMax));
      with_device_ -= more;
      if (more < n - got) flushed_ = false;
      if (ring_->broken()) [[unlikely]]
        tenure.give_up();
      else
        remind(more != 0);
      return got + describe(packets + got, more);
    }
    if (tenure.released() && got < n) {
      // The device is stopped: what it was done with by then went out, the rest never will.
      const uint32_t room = std::min(n - got, limits::kBurstMax);
      const uint32_t sent = ring_->broken() ? 0 : ring_->collect(used_, room);
      if (sent != 0) {
        with_device_ -= sent;
        return got + describe(packets + got, sent);
      }
      const uint32_t lost = ring_take_back(packets + got, room);
      record_->dropped.add(lost);
      if (lost == 0) tenure.drain();
      got += lost;
    }
    return got;
  }
  void flush() noexcept override { flushed_ = true; }
  bool holding() const noexcept override { return refused_count_ != 0 || with_device_ != 0; }

  uint32_t take_back(vanity_packet* packets, uint32_t n) noexcept override {
    uint32_t got = 0;
    for (; refused_count_ != 0 && got < n; ++got) packets[got] = refused_[--refused_count_];
    return got + ring_take_back(packets + got, n - got);
  }

 private:
  static constexpr uint64_t kRemindNs = 1'000'000;

  // A device that has had packets for a while and is done with none may have said that it wants to
  // be told of a place that had gone by: QEMU does so with packed rings, after it had to wait
  // for its wire. Told once more it goes on; one that is only slow loses nothing.
  void remind(bool moves) noexcept {
    if (moves || ring_->out() == 0) {
      waits_since_ = 0;
      return;
    }
    const uint64_t now = now_ticks();
    if (waits_since_ != 0) {
      if (now - waits_since_ < remind_ticks_) return;
      notify_(ring_->notification(setup_.queue));
    }
    waits_since_ = now;
  }

  void add(uint8_t* buffer, const vanity_packet& packet) noexcept {
    const uint64_t frame = setup_.buffers->address(packet.buffer, packet.offset);
    NetHeader header{};
    const bool partial = (packet.flags & VANITY_PACKET_CHECKSUM_PARTIAL) != 0;
    if ((packet.flags & VANITY_PACKET_SHARED) != 0 || packet.offset < sizeof header) [[unlikely]] {
      // Nothing may be written in front of the frame, or there is no room.
      if (partial) finish_checksum(buffer, packet);
      const virtio::Part parts[2] = {{setup_.blank_header, sizeof header, false},
                                     {frame, packet.length, false}};
      ring_->add_chain(parts, 2, packet.buffer, packet.flags);
      return;
    }
    if (partial) [[unlikely]] {
      vanity_packet_offload offload;
      std::memcpy(&offload, buffer + VANITY_OFFLOAD_OFFSET, sizeof offload);
      if (!checksum_) {
        finish_checksum(buffer, packet);
      } else if (checksum_due(packet, offload)) {
        header.flags = NetHeader::kNeedsChecksum;
        header.checksum_start = static_cast<uint16_t>(offload.checksum_start - packet.offset);
        header.checksum_offset =
            static_cast<uint16_t>(offload.checksum_field - offload.checksum_start);
      }
    }
    std::memcpy(buffer + packet.offset - sizeof header, &header, sizeof header);
    ring_->add({frame - sizeof header, static_cast<uint32_t>(sizeof header) + packet.length, false},
               packet.buffer, packet.flags);
  }
  // What it counts as when it can never go; null: it can.
  Counter* unfit(const vanity_packet& packet) noexcept {
    if (packet.length > frame_bytes_max_) return &record_->oversize;
    if (packet.length < kEthernetHeader) return &record_->invalid;
    return setup_.buffers->reaches(packet.buffer) ? nullptr : &record_->dropped;
  }
  void refuse(const vanity_packet& packet, Counter& counter) noexcept {
    counter.add(1);
    refused_[refused_count_++] = packet;
  }
  uint32_t describe(vanity_packet* packets, uint32_t n) noexcept {
    for (uint32_t i = 0; i < n; ++i)
      packets[i] = {used_[i].token, 0, VANITY_FRAME_OFFSET, 0, 0, used_[i].note};
    return n;
  }
  uint32_t ring_take_back(vanity_packet* packets, uint32_t n) noexcept {
    if (!ring_) return 0;
    const uint32_t got = ring_->take_back(used_, std::min(n, limits::kBurstMax));
    with_device_ -= got;
    return describe(packets, got);
  }

  TxSetup setup_;
  std::optional<Ring> ring_;
  virtio::Notifier notify_;
  bool checksum_ = false;
  uint32_t frame_bytes_max_ = 0xffff;
  bool flushed_ = false;
  uint64_t waits_since_ = 0;  // 0: it is done with some of late, or has none
  const uint64_t remind_ticks_ = ns_to_ticks(kRemindNs);
  // The shard's own count: the ring may be made anew by the kernel's thread when it asks.
  uint32_t with_device_ = 0;
  // Taken and never sent; on their way home.
  uint32_t refused_count_ = 0;
  vanity_packet refused_[limits::kBurstMax];
  virtio::Used used_[limits::kBurstMax];
};

}  // namespace vanity::virtio_net
