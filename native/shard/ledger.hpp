// What a shard that is a process of its own holds of packets, written so that whoever outlives it
// can read it, wherever it was killed: in memory of both.
//
// A packet changes hands when an index of a ring is published, and at no other time. The entry of
// its buffer changes just before. Both are one act, noted down first: what each entry was, and
// which index says that the act was done. An act that was not done is taken back from that. Stores
// of a thread that is killed are seen as it made them, so only the compiler must keep their order.
//
// The shard's thread alone; after its end, whoever settles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/pool.hpp"
#include "shard/held.hpp"
#include "vanity/limits.hpp"
#include "vanity/packet.h"

namespace vanity {

enum class Act : uint32_t {
  none,
  take,    // from an input
  give,    // to an output
  home,    // to the owner of a pool
  let_go,  // one of several owners less
};

// In the memory of both. Zero: nothing is under way.
struct Journal {
  struct Step {
    uint32_t buffer;
    uint32_t before;
  };
  Act act;
  uint32_t ring;  // index of the input or output, or of the pool
  uint32_t at;    // its index before the act
  uint32_t steps;
  uint64_t multiplied;  // owners that buffers were given beyond one, ever
  Step step[limits::kBurstMax];
};

class Ledger {
 public:
  explicit Ledger(Journal* journal) noexcept : journal_(journal) {}

  // Entries as a HeldBook has them, in the memory of both.
  void expect(uint32_t pool, uint32_t buffers, uint16_t* entries) {
    if (pages_.size() <= pool) pages_.resize(pool + 1);
    pages_[pool] = {entries, buffers};
  }

  void begin(Act act, uint32_t ring, uint32_t at) noexcept {
    journal_->steps = 0;
    journal_->ring = ring;
    journal_->at = at;
    keep_order();
    journal_->act = act;
    keep_order();
  }
  void add(const vanity_packet& packet) noexcept {
    uint16_t* const entry = find(packet.buffer);
    if (entry == nullptr) return;  // what its neighbour made up is not held
    const bool shared = (packet.flags & VANITY_PACKET_SHARED) != 0;
    change(packet.buffer, *entry, static_cast<uint16_t>((*entry + 1) | (shared ? kShared : 0)));
  }
  // False: it is not held.
  bool remove(uint32_t buffer) noexcept {
    uint16_t* const entry = find(buffer);
    if (entry == nullptr || (*entry & ~kShared) == 0) return false;
    const auto less = static_cast<uint16_t>(*entry - 1);
    change(buffer, *entry, (less & ~kShared) == 0 ? uint16_t{0} : less);
    return true;
  }
  // The last owner of it is one as if there had been no others.
  void own_alone(uint32_t buffer) noexcept {
    uint16_t* const entry = find(buffer);
    if (entry != nullptr) change(buffer, *entry, 1);
  }
  void multiply(uint32_t buffer, uint32_t owners) noexcept {
    uint16_t* const entry = find(buffer);
    if (entry == nullptr) return;
    *entry = static_cast<uint16_t>((*entry + owners - 1) | kShared);
    journal_->multiplied += owners - 1;
  }
  void end() noexcept {
    keep_order();
    journal_->act = Act::none;
    keep_order();
  }

  // ---- after its end
  const Journal& journal() const noexcept { return *journal_; }
  // The act that was under way, if any, was not done.
  void take_back() noexcept {
    for (uint32_t i = journal_->steps; i-- != 0;) {
      const Journal::Step& step = journal_->step[i];
      *find(step.buffer) = static_cast<uint16_t>(step.before);
    }
  }

 private:
  static constexpr uint16_t kShared = HeldBook::kShared;
  struct Page {
    uint16_t* entries = nullptr;
    uint32_t buffers = 0;
  };
  static void keep_order() noexcept { asm volatile("" ::: "memory"); }

  uint16_t* find(uint32_t buffer) noexcept {
    const uint32_t pool = buffer >> kPoolShift;
    const uint32_t index = buffer & kPoolIndexMask;
    if (pool >= pages_.size() || index >= pages_[pool].buffers) return nullptr;
    return &pages_[pool].entries[index];
  }
  void change(uint32_t buffer, uint16_t& entry, uint16_t after) noexcept {
    journal_->step[journal_->steps] = {buffer, entry};
    keep_order();
    journal_->steps = journal_->steps + 1;
    keep_order();
    entry = after;
    keep_order();
  }

  Journal* journal_;
  std::vector<Page> pages_;
};

}  // namespace vanity
