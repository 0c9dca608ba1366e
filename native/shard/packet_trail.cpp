#include "shard/packet_trail.hpp"

#include <algorithm>
#include <cstring>

#include "vanity/platform.hpp"

namespace vanity {

void PacketTrail::note(const Event& event) noexcept {
  if (record_ == nullptr) return;
  write_event(record_->packet_events_written, record_->packet_events, limits::kPacketEvents, event,
              event.ticks);
}

void PacketTrail::mark(vanity_packet* packets, uint32_t n, uint32_t every) noexcept {
  if (every == 0) return;
  if (until_ >= every) until_ = 0;  // it was more
  for (; until_ < n; until_ += every) {
    vanity_packet& packet = packets[until_];
    packet.flags |= VANITY_PACKET_SAMPLED;
    number(packet) = kNew | shard_ << kCountBits | (count_++ & ((1u << kCountBits) - 1));
  }
  until_ -= n;
}

void PacketTrail::note_new(const vanity_packet& packet, Event::Source source,
                           uint64_t ticks) noexcept {
  const vanity_packet_meta& meta = pools_->meta(packet);
  const uint32_t wire = std::max<uint32_t>(meta.wire_length, packet.length);
  note({.ticks = ticks,
        .kind = EventKind::packet,
        .what = static_cast<uint8_t>(source),
        .place = packet.port,
        .count = meta.sample,
        .a = packet.length | uint64_t{wire} << 32,
        .b = meta.timestamp_ns});
  // A program may have written anything into the descriptor.
  const uint32_t room = pools_->room(packet);
  const uint32_t held = std::min<uint32_t>(packet.length, limits::kPacketBytes);
  if (room > limits::kBufferBytesMax || held > room) return;
  const uint8_t* const data = pools_->data(packet);
  for (uint32_t at = 0; at < held; at += 16) {
    const uint32_t bytes = std::min(held - at, 16u);
    uint64_t words[2] = {};
    std::memcpy(words, data + at, bytes);
    note({.ticks = ticks,
          .kind = EventKind::bytes,
          .what = static_cast<uint8_t>(at / 16),
          .place = static_cast<uint16_t>(bytes),
          .count = meta.sample,
          .a = words[0],
          .b = words[1]});
  }
}

void PacketTrail::came(const vanity_packet* packets, uint32_t n) noexcept {
  uint64_t ticks = 0;
  for (uint32_t i = 0; i < n; ++i) {
    if (!marked(packets[i])) continue;
    if (ticks == 0) {
      note_waits();
      ticks = now_ticks();
    }
    number(packets[i]) &= ~kNew;
    note_new(packets[i], Event::Source::port, ticks);
  }
}

uint32_t PacketTrail::seen(const vanity_packet& packet, uint64_t ticks) noexcept {
  uint32_t& known = number(packet);
  // Buffers with several owners have left the shard that made them, and are read only.
  if ((known & kNew) != 0) {
    known &= ~kNew;
    note_new(packet, Event::Source::made, ticks);
  }
  return known;
}

void PacketTrail::took(const vanity_packet* packets, uint32_t n, uint32_t channel) noexcept {
  uint64_t ticks = 0;
  for (uint32_t i = 0; i < n; ++i) {
    if (!marked(packets[i])) continue;
    if (ticks == 0) {
      note_waits();
      ticks = now_ticks();
    }
    note({.ticks = ticks,
          .kind = EventKind::took,
          .place = static_cast<uint16_t>(channel),
          .count = number(packets[i]) & ~kNew});
  }
}

void PacketTrail::about_to_give(const vanity_packet* packets, uint32_t n) noexcept {
  given_count_ = 0;
  for (uint32_t i = 0; i < n && given_count_ < limits::kBurstMax; ++i) {
    if (!marked(packets[i])) continue;
    const uint32_t known = number(packets[i]);
    given_[given_count_++] = {&packets[i],
                              (known & kNew) == 0 ? known : seen(packets[i], now_ticks())};
  }
}

void PacketTrail::gave(const vanity_packet* packets, uint32_t n, Event::Target target,
                       uint32_t place, uint64_t ticks) noexcept {
  for (uint32_t i = 0; i < given_count_; ++i) {
    const Given& given = given_[i];
    if (given.packet < packets || given.packet >= packets + n) continue;
    note_waits();
    note({.ticks = ticks,
          .kind = EventKind::gave,
          .what = static_cast<uint8_t>(target),
          .place = static_cast<uint16_t>(place),
          .count = given.number});
  }
}

void PacketTrail::ended(const vanity_packet* packets, uint32_t n, Event::Ending ending) noexcept {
  uint64_t ticks = 0;
  for (uint32_t i = 0; i < n; ++i) {
    if (!marked(packets[i])) continue;
    if (ticks == 0) {
      note_waits();
      ticks = now_ticks();
    }
    const uint32_t known = seen(packets[i], ticks);
    note({.ticks = ticks,
          .kind = EventKind::ended,
          .what = static_cast<uint8_t>(ending),
          .count = known});
  }
}

void PacketTrail::waited(Event::Wait why, uint32_t place, uint64_t from, uint64_t to,
                         uint64_t key) noexcept {
  if (waits_ != 0) {
    Interval& last = wait_[(waits_ - 1) % kWaits];
    if (last.why == why && last.place == place && last.key == key) {
      last.to = to;
      if (waits_noted_ == waits_) --waits_noted_;  // once more, whole
      return;
    }
  }
  wait_[waits_++ % kWaits] = {why, static_cast<uint16_t>(place), from, to, key};
}

void PacketTrail::note_waits() noexcept {
  if (waits_ - waits_noted_ > kWaits) waits_noted_ = waits_ - kWaits;
  for (; waits_noted_ < waits_; ++waits_noted_) {
    const Interval& wait = wait_[waits_noted_ % kWaits];
    note({.ticks = wait.to,
          .kind = EventKind::waited,
          .what = static_cast<uint8_t>(wait.why),
          .place = wait.place,
          .a = wait.from});
  }
}

}  // namespace vanity
