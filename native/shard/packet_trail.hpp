// The ways of sampled packets, as one shard notes them: where each came from, where it went, and
// what the shard waited for meanwhile. The mark is a flag of the descriptor, which each shard has
// in its cache anyway; the number is in the meta data, and read of marked packets only.
//
// Numbers are unique in the system: the shard that marks it in the top 8 bits, below them a count.
#pragma once

#include <cstdint>

#include "memory/pool.hpp"
#include "vanity/events.hpp"
#include "vanity/limits.hpp"
#include "vanity/packet.h"

namespace vanity {

class PacketTrail {
 public:
  // Before the thread starts; until then, nothing is noted.
  void write_to(EventsRecord& record, uint32_t shard) noexcept {
    record_ = &record;
    shard_ = shard;
  }
  void wire(const PoolTable* pools) noexcept { pools_ = pools; }

  // These come into the system here: marks one of each `every`. What a program is about to make
  // has no bytes yet, and is noted when it is given away.
  void mark(vanity_packet* packets, uint32_t n, uint32_t every) noexcept;
  void came(const vanity_packet* packets, uint32_t n) noexcept;
  void took(const vanity_packet* packets, uint32_t n, uint32_t channel) noexcept;
  // Before any of them is given away, for afterwards the buffer is another's; then, how many were.
  // Of very many, the first kBurstMax marked ones.
  void about_to_give(const vanity_packet* packets, uint32_t n) noexcept;
  void gave(const vanity_packet* packets, uint32_t n, Event::Target target, uint32_t place,
            uint64_t ticks) noexcept;
  void ended(const vanity_packet* packets, uint32_t n, Event::Ending ending) noexcept;

  // The shard waited. Kept, and noted with the next packet that it may have kept waiting. What has
  // the same `key` as the one before goes on with it.
  void waited(Event::Wait why, uint32_t place, uint64_t from, uint64_t to, uint64_t key) noexcept;

 private:
  struct Given {
    const vanity_packet* packet;
    uint32_t number;
  };
  struct Interval {
    Event::Wait why;
    uint16_t place;
    uint64_t from;
    uint64_t to;
    uint64_t key;
  };
  static constexpr uint32_t kWaits = 16;  // kept; of more, the first are counted as work
  static constexpr uint32_t kCountBits = 24;
  static constexpr uint32_t kNew = 1u << 31;  // of a number: it was not noted yet
  static_assert(limits::kShards << kCountBits <= kNew && limits::kPacketBytes % 16 == 0);

  static bool marked(const vanity_packet& packet) noexcept {
    return (packet.flags & VANITY_PACKET_SAMPLED) != 0;
  }
  uint32_t& number(const vanity_packet& packet) const noexcept {
    return pools_->meta(packet).sample;
  }
  void note(const Event& event) noexcept;
  void note_waits() noexcept;
  void note_new(const vanity_packet& packet, Event::Source source, uint64_t ticks) noexcept;
  // Its number; a new one is noted before anything else is of it.
  uint32_t seen(const vanity_packet& packet, uint64_t ticks) noexcept;

  EventsRecord* record_ = nullptr;
  const PoolTable* pools_ = nullptr;
  uint32_t shard_ = 0;
  uint32_t count_ = 0;
  uint32_t until_ = 0;  // packets, to the next one that is marked
  uint32_t given_count_ = 0;
  Given given_[limits::kBurstMax];
  uint64_t waits_ = 0;  // ever
  uint64_t waits_noted_ = 0;
  Interval wait_[kWaits];
};

}  // namespace vanity
