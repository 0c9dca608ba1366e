// The events of a shard: what it did last, in a ring of the segment that a reader copies while it
// is written, from another process, after a crash, or from an archive.
//
// A shard writes an event over the oldest one and then counts it. A reader copies the events and
// then reads the count once more: what may have been written over meanwhile it throws away. So a
// writer never waits, and whoever was too slow knows how many it has missed.
#pragma once

#include <atomic>
#include <cstdint>

#include "vanity/segment.hpp"

namespace vanity {

// lib/telemetry/events.ts has the same numbers.
enum class EventKind : uint8_t {
  none,
  // Always written, since they are rare.
  state,    // what: ShardState
  step,     // while it was held; count: of it
  fault,    // what: FaultKind; count: signal; a: address; b: where
  restart,  // count: of it
  reload,   // what: Change; count: generation
  // Written while it is traced.
  turn,       // that found work; count: of it; a: when it began
  receive,    // what: Source; place: channel or port; count; a: of the channel, with these
  send,       // what: Target; place: channel or output; count; a: of the channel, with these
  drop,       // count: packets that nobody had room for
  sleep,      // a: deadline
  wake,       // what: Wake; count: waits of it, 0: it only spun; a: marks of the doorbell
  block,      // what: Target; place: channel or output; count: what has no room yet
  unblock,    // the same; count: what still has none
  watermark,  // what: 1 above, 0 below; place: channel; count: depth
  // Of sampled packets, in a ring of their own; count: its number, but for `waited`.
  packet,  // come in; what: Source; place: port; a: bytes held, and << 32 on the wire; b: its time
  bytes,   // what: 16 times this many before; place: this many; a, b: themselves, as in memory
  took,    // place: channel
  gave,    // what: Target; place: channel or output
  ended,   // what: Ending
  waited,  // what: Wait; place: channel or output; a: from when
};

struct Event {
  enum class Source : uint8_t { channel, port, made };
  enum class Target : uint8_t { channel, port };
  enum class Change : uint8_t { switched, kept, undone, refused };
  enum class Ending : uint8_t { consumed, filtered, dropped };
  // slept: had nothing to do; polled: the same, awake; yielded: the same, on a shared core, which
  // others had; blocked: by a channel without room; transmitting: the same by a port; held: by an
  // operator.
  enum class Wait : uint8_t { slept, polled, yielded, blocked, transmitting, held };

  uint64_t ticks = 0;
  EventKind kind = EventKind::none;
  uint8_t what = 0;
  uint16_t place = 0;
  uint32_t count = 0;
  uint64_t a = 0;
  uint64_t b = 0;
};
static_assert(limits::kChannels <= 65536 && limits::kPorts <= 65536);

// `slots`: a power of two; `ticks`: in place of the event's own.
inline void write_event(Counter& written, EventSlot* ring, uint32_t slots, const Event& event,
                        uint64_t ticks) noexcept {
  const uint64_t at = written.get();
  EventSlot& slot = ring[at & (slots - 1)];
  const uint64_t words[4] = {ticks,
                             static_cast<uint64_t>(event.kind) | uint64_t{event.what} << 8 |
                                 uint64_t{event.place} << 16 | uint64_t{event.count} << 32,
                             event.a, event.b};
  // Each pairs with the load of it in copy_event(): who finds it finds the count before it.
  for (uint32_t i = 0; i < 4; ++i) slot.words[i].store(words[i], std::memory_order_release);
  // Pairs with events_written(): who finds it finds the event.
  written.value.store(at + 1, std::memory_order_release);
}

inline uint64_t events_written(const Counter& written) noexcept {
  return written.value.load(std::memory_order_acquire);  // pairs with write_event()
}

inline void copy_event(const EventSlot& slot, uint64_t* to) noexcept {
  // Each pairs with the store of it in write_event().
  for (uint32_t i = 0; i < 4; ++i) to[i] = slot.words[i].load(std::memory_order_acquire);
}

struct CopiedEvents {
  uint64_t first;  // number of the first one that was copied
  uint64_t count;
};

// The events from number `from` on, as far as they are still there, into `to`: four words each,
// room for `slots` of them. What was missed lies between `from` and `first`.
inline CopiedEvents copy_events(const Counter& written, const EventSlot* ring, uint32_t slots,
                                uint64_t from, uint64_t* to) noexcept {
  const uint64_t end = events_written(written);
  if (end <= from) return {from, 0};
  const uint64_t first = end - from > slots ? end - slots : from;
  for (uint64_t n = first; n < end; ++n) copy_event(ring[n % slots], to + (n - first) * 4);
  // Event number `now` may be half written, over the one that lay in its slot.
  const uint64_t now = written.value.load(std::memory_order_relaxed);
  const uint64_t whole = now < slots ? 0 : now - slots + 1;
  if (whole <= first) return {first, end - first};
  if (whole >= end) return {end, 0};
  for (uint64_t i = 0; i < (end - whole) * 4; ++i) to[i] = to[(whole - first) * 4 + i];
  return {whole, end - whole};
}

}  // namespace vanity
