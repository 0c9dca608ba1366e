// Packet buffers. A pool is N buffers in memory that somebody else gives (the arena of the shard
// that receives into them) and a last-in-first-out stack of the free ones: the buffer that was just
// given back is the one still in the cache.
//
// What is free, and how many own a buffer, is written in a book beside the buffers: a device that
// writes where it should not may spoil packets, and never makes a buffer two.
//
// One thread owns the stack: take() and give() are its own. Other shards never touch it; they send
// the indices back through rings, and the owner calls give(). Nothing here crosses between cores.
//
//   buffer   0        64                80
//            | own use | vanity_packet_meta | frame ... buffer_bytes |  pad to the stride
//
// A device without an IOMMU sees memory page by page, so for such no buffer may lie across two
// pages: slots that do are left out.
//
// The stride is an odd number of cache lines: with a power of two the headers of all buffers would
// share a few sets of the cache, and a burst would evict itself.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "vanity/limits.hpp"
#include "vanity/packet.h"
#include "vanity/platform.hpp"
#include "vanity/segment.hpp"

namespace vanity {

inline constexpr uint32_t kPoolsMax = 256;
inline constexpr uint32_t kPoolShift = 24;
inline constexpr uint32_t kPoolIndexMask = (1u << kPoolShift) - 1;

class Pool {
 public:
  static constexpr uint32_t stride_of(uint32_t buffer_bytes) noexcept {
    return ((buffer_bytes + 63) / 64 | 1) * 64;
  }
  // What to give the constructor; aligned to 64 bytes, or to `page_bytes` where buffers must not
  // lie across two pages of this size (0: they may).
  static constexpr uint64_t memory_bytes(uint32_t buffers, uint32_t buffer_bytes,
                                         uint64_t page_bytes = 0) noexcept {
    const uint64_t stride = stride_of(buffer_bytes);
    return slots(buffers, stride, page_bytes) * stride;
  }
  // The same, of what no device may reach: which buffers are free, and how many owners each has.
  static constexpr uint64_t book_bytes(uint32_t buffers, uint32_t buffer_bytes,
                                       uint64_t page_bytes = 0) noexcept {
    return (buffers + slots(buffers, stride_of(buffer_bytes), page_bytes)) * sizeof(uint32_t);
  }

  // Limits as in the manifest: 1..2^20 buffers of 256..65536 bytes, a multiple of 64.
  // `record` may be null; else it is written by the owner. `book` null: it makes one of its own.
  // `references` null: the owners of each buffer are counted in the book; else there, in memory of
  // reference_bytes() that is zero.
  Pool(uint32_t pool_index, uint32_t buffers, uint32_t buffer_bytes, void* memory,
       PoolRecord* record = nullptr, uint64_t page_bytes = 0, void* book = nullptr,
       uint32_t* references = nullptr);
  static constexpr uint64_t reference_bytes(uint32_t buffers) noexcept {
    return uint64_t{buffers} * sizeof(uint32_t);
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Up to n ids of free buffers; fewer when the pool runs dry. The last n that came home, in the
  // order they came.
  uint32_t take(uint32_t* ids, uint32_t n) noexcept {
    const uint32_t got = n <= free_ ? n : free_;
    for (uint32_t i = 0; i < got; ++i) ids[i] = tag_ | stack_[free_ - got + i];
    free_ -= got;
    count_taken(n, got);
    return got;
  }
  // The same, into descriptors: `buffer` is set, nothing else.
  uint32_t take(vanity_packet* packets, uint32_t n) noexcept {
    const uint32_t got = n <= free_ ? n : free_;
    for (uint32_t i = 0; i < got; ++i) packets[i].buffer = tag_ | stack_[free_ - got + i];
    free_ -= got;
    count_taken(n, got);
    return got;
  }
  // Buffers that were taken from this pool, each once.
  void give(const uint32_t* ids, uint32_t n) noexcept {
    for (uint32_t i = 0; i < n; ++i) stack_[free_ + i] = ids[i] & kPoolIndexMask;
    free_ += n;
    if (record_ != nullptr) record_->returned.add(n);
  }
  void give(const vanity_packet* packets, uint32_t n) noexcept {
    for (uint32_t i = 0; i < n; ++i) stack_[free_ + i] = packets[i].buffer & kPoolIndexMask;
    free_ += n;
    if (record_ != nullptr) record_->returned.add(n);
  }

  uint8_t* buffer(uint32_t id) const noexcept {
    return base_ + static_cast<uint64_t>(id & kPoolIndexMask) * stride_;
  }
  uint32_t index() const noexcept { return tag_ >> kPoolShift; }
  uint32_t buffers() const noexcept { return buffers_; }
  uint32_t buffer_bytes() const noexcept { return buffer_bytes_; }
  uint32_t stride() const noexcept { return stride_; }
  uint8_t* base() const noexcept { return base_; }
  // Owners of each buffer by its index; PoolTable's to count.
  uint32_t* references() const noexcept { return references_; }
  // The longest frame a buffer holds.
  uint32_t frame_bytes_max() const noexcept {
    const uint32_t room = buffer_bytes_ - VANITY_FRAME_OFFSET;
    return room < 65535 ? room : 65535;
  }
  uint64_t taken() const noexcept { return record_ == nullptr ? 0 : record_->taken.get(); }
  uint32_t free_count() const noexcept { return free_; }
  // 0 when every buffer came home. Ask when the threads that held packets are joined.
  uint32_t missing() const noexcept { return buffers_ - free_; }

 private:
  // How many there must be for `buffers` to be whole: each page but the last may spoil one.
  static constexpr uint64_t slots(uint32_t buffers, uint64_t stride, uint64_t page_bytes) noexcept {
    if (page_bytes == 0) return buffers;
    return buffers + (buffers * stride) / (page_bytes - stride) + 1;
  }
  void count_taken(uint32_t wanted, uint32_t got) noexcept {
    if (record_ == nullptr) return;
    record_->taken.add(got);
    if (got < wanted) record_->empty.add(1);
  }

  uint8_t* base_;
  std::unique_ptr<uint32_t[]> own_book_;
  uint32_t* stack_;
  uint32_t* references_;
  uint32_t free_;
  uint32_t stride_;
  uint32_t tag_;
  uint32_t buffers_;
  uint32_t buffer_bytes_;
  PoolRecord* record_;
};

// Where the bytes behind a descriptor are, for every shard. Filled before the threads start, read
// only from then on.
class PoolTable {
 public:
  void add(const Pool& pool) noexcept {
    add(pool.index(), pool.base(), pool.references(), pool.stride(), pool.buffer_bytes());
  }
  // Of a pool whose owner is in another process.
  void add(uint32_t index, uint8_t* base, uint32_t* references, uint32_t stride,
           uint32_t buffer_bytes) noexcept {
    entries_[index] = {base, references, stride, buffer_bytes};
  }
  uint8_t* buffer(uint32_t id) const noexcept {
    const Entry& entry = entries_[id >> kPoolShift];
    return entry.base + static_cast<uint64_t>(id & kPoolIndexMask) * entry.stride;
  }
  uint8_t* data(const vanity_packet& packet) const noexcept {
    return buffer(packet.buffer) + packet.offset;
  }
  vanity_packet_meta& meta(const vanity_packet& packet) const noexcept {
    return *reinterpret_cast<vanity_packet_meta*>(buffer(packet.buffer) + VANITY_HEADROOM_BYTES);
  }
  // Bytes from the frame's first to the buffer's end.
  uint32_t room(const vanity_packet& packet) const noexcept {
    return entries_[packet.buffer >> kPoolShift].buffer_bytes - packet.offset;
  }

  // The buffer gets `owners` owners; every copy of the descriptor carries VANITY_PACKET_SHARED.
  // Call while the caller is the only owner, or once more for an owner that multiplies again.
  void share(vanity_packet& packet, uint32_t owners) const noexcept {
    Hardware::Ref<uint32_t> references(owners_of(packet));
    if ((packet.flags & VANITY_PACKET_SHARED) == 0) {
      packet.flags |= VANITY_PACKET_SHARED;
      references.store(owners, std::memory_order_relaxed);  // published with the descriptors
    } else {
      references.fetch_add(owners - 1, std::memory_order_relaxed);  // the caller's own keeps it up
    }
  }
  // True when the caller was the last owner and must give the buffer back.
  bool release(const vanity_packet& packet) const noexcept {
    if ((packet.flags & VANITY_PACKET_SHARED) == 0) return true;
    Hardware::Ref<uint32_t> references(owners_of(packet));
    // Pairs with itself in the other owners: their reads come before the last one's give().
    return references.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

 private:
  uint32_t& owners_of(const vanity_packet& packet) const noexcept {
    return entries_[packet.buffer >> kPoolShift].references[packet.buffer & kPoolIndexMask];
  }

  struct Entry {
    uint8_t* base = nullptr;
    uint32_t* references = nullptr;
    uint32_t stride = 0;
    uint32_t buffer_bytes = 0;
  };
  std::array<Entry, kPoolsMax> entries_{};
};

}  // namespace vanity
