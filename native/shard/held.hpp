// The packets that a program holds: what it was given and has not given away. A byte pair for each
// buffer that may come by, so that a packet costs an increment and a decrement, and a program that
// is left in the middle of anything leaves behind exactly what is written here.
//
// The shard's thread alone.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "memory/pool.hpp"
#include "vanity/packet.h"

namespace vanity {

class HeldBook {
 public:
  // Buffers of this pool may come by; `buffers` is at least their number.
  void expect(uint32_t pool, uint32_t buffers) {
    if (pages_.size() <= pool) pages_.resize(pool + 1);
    pages_[pool] = page(buffers);
  }
  // The same, counted in somebody's memory, which is zero.
  void expect(uint32_t pool, uint32_t buffers, uint16_t* entries) {
    if (pages_.size() <= pool) pages_.resize(pool + 1);
    pages_[pool] = {nullptr, entries, buffers};
  }
  struct Page {
    std::unique_ptr<uint16_t[]> own;  // null: they are somebody's
    uint16_t* entries = nullptr;
    uint32_t buffers = 0;
  };
  static Page page(uint32_t buffers) {
    auto own = std::make_unique<uint16_t[]>(buffers);
    uint16_t* const entries = own.get();
    return {std::move(own), entries, buffers};
  }
  // The same while it is in use, without taking memory: room for all pools was made.
  void make_room() { pages_.reserve(kPoolsMax); }
  void change(uint32_t pool, Page& page) noexcept {
    if (pages_.size() <= pool) pages_.resize(pool + 1);
    std::swap(pages_[pool], page);
  }

  // For who counts by himself: a TypeScript shard, in JavaScript. An entry holds how often the
  // buffer is held, and kShared when a descriptor said that it has several owners.
  static constexpr uint16_t kShared = 0x8000;
  uint16_t* entries(uint32_t pool) noexcept { return pages_[pool].entries; }
  uint32_t buffers(uint32_t pool) const noexcept { return pages_[pool].buffers; }

  // Packets that are held.
  uint64_t count() const noexcept { return count_; }
  // The same where JavaScript counts: entry by entry.
  uint64_t sum() const noexcept {
    uint64_t all = 0;
    for (const Page& page : pages_) {
      for (uint32_t index = 0; index < page.buffers; ++index) {
        all += page.entries[index] & ~kShared;
      }
    }
    return all;
  }

  void add(const vanity_packet* packets, uint32_t n) noexcept {
    count_ += n;
    for (uint32_t i = 0; i < n; ++i) {
      uint16_t& entry =
          pages_[packets[i].buffer >> kPoolShift].entries[packets[i].buffer & kPoolIndexMask];
      ++entry;
      if ((packets[i].flags & VANITY_PACKET_SHARED) != 0) entry |= kShared;
    }
  }
  // How many of these are held, from the first on; all of them, from then on not held.
  uint32_t remove(const vanity_packet* packets, uint32_t n) noexcept {
    const uint32_t good = take_out(packets, n);
    count_ -= good;
    return good;
  }
  // Every packet that is held, once for each time; from then on none is. `give` takes descriptors
  // in which buffer and flags are right.
  template <class Give>
  uint32_t clear(Give&& give) noexcept {
    uint32_t all = 0;
    for (uint32_t pool = 0; pool < pages_.size(); ++pool) {
      for (uint32_t index = 0; index < pages_[pool].buffers; ++index) {
        uint16_t& entry = pages_[pool].entries[index];
        vanity_packet packet{};
        packet.buffer = pool << kPoolShift | index;
        if ((entry & kShared) != 0) packet.flags = VANITY_PACKET_SHARED;
        for (uint32_t left = entry & ~kShared; left != 0; --left, ++all) give(packet);
        entry = 0;
      }
    }
    count_ = 0;
    return all;
  }

 private:
  uint32_t take_out(const vanity_packet* packets, uint32_t n) noexcept {
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t pool = packets[i].buffer >> kPoolShift;
      const uint32_t index = packets[i].buffer & kPoolIndexMask;
      if (pool >= pages_.size() || index >= pages_[pool].buffers) return i;
      uint16_t& entry = pages_[pool].entries[index];
      if ((entry & ~kShared) == 0) return i;
      if ((--entry & ~kShared) == 0) entry = 0;
    }
    return n;
  }

  std::vector<Page> pages_;
  uint64_t count_ = 0;
};

}  // namespace vanity
