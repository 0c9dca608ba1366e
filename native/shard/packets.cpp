// Packets in, packets out, and their buffers home.
#include <algorithm>

#include "shard/shard.hpp"

namespace vanity {
namespace {

constexpr uint32_t kNoBuffer = 0xffffffffu;
// Looking for returns costs a crossing whether there are many or few: look seldom, take many.
constexpr uint32_t kTurnsBetweenReturns = 8;
constexpr uint32_t kIdsPerElement = 2;  // of a return ring, whose elements are 8 bytes

}  // namespace

uint32_t Shard::take_from_ports(vanity_packet* packets, uint32_t n) noexcept {
  if (stopping()) return 0;
  uint32_t got = 0;
  for (uint32_t i = 0; i < rx_.size() && got < n; ++i) {
    Rx& rx = rx_[rx_turn_];
    if (++rx_turn_ == rx_.size()) rx_turn_ = 0;
    const uint32_t more = rx.queue->receive(*rx.pool, packets + got, n - got);
    if (more != 0 && watched()) [[unlikely]]
      note_arrived(packets + got, more);
    got += more;
  }
  return got;
}

void Shard::note_arrived(vanity_packet* packets, uint32_t n) noexcept {
  if (traced()) {
    events_.note({.kind = EventKind::receive,
                  .what = static_cast<uint8_t>(Event::Source::port),
                  .place = packets[0].port,
                  .count = n});
  }
  if (!sampled()) return;
  trail_.mark(packets, n,
              record_->sample_every.load(std::memory_order_relaxed));  // see command.cpp
  trail_.came(packets, n);
}

uint32_t Shard::count_received(const vanity_packet* packets, uint32_t n) noexcept {
  if (n == 0) return 0;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < n; ++i) bytes += packets[i].length;
  record_->received.add(n);
  record_->bytes.add(bytes);
  return n;
}

uint32_t Shard::receive(vanity_packet* packets, uint32_t n) noexcept {
  // Half for the ports when there are channels too, so that neither starves the other.
  uint32_t share = seen_.empty() ? n : n / 2;
  if (n == 1 && !seen_.empty()) share = (ports_first_ = !ports_first_) ? 1 : 0;
  uint32_t got = rx_.empty() ? 0 : take_from_ports(packets, share);
  uint32_t passed_over = 0;
  while (got < n) {
    const uint32_t input = ready_.next();
    if (input == Inputs::kNoInput) break;
    if (!inputs_[input]->packets) [[unlikely]] {
      // Messages are the program's to peek at. Inputs come in turn, so this many is a whole round.
      if (++passed_over > message_inputs_) break;
      continue;
    }
    const uint32_t taken = take_from(input, packets + got, n - got);
    // The headers lie in the sender's cache: ask for all of them at once, before anybody looks.
    // Asking a burst ahead as well was slower between cores (bench flow-split): it takes lines that
    // are still on their way.
    for (uint32_t i = 0; i < taken; ++i) prefetch_read(pools_->data(packets[got + i]));
    ChannelRecord& record = *inputs_[input]->record;
    record.received.add(taken);
    record.depth_max.raise(consumers_[input].found());
    if (watched()) [[unlikely]]
      note_taken(*inputs_[input], packets + got, taken);
    got += taken;
  }
  return count_received(packets, got);
}

uint32_t Shard::offer(uint32_t output, const vanity_packet* packets, uint32_t n) noexcept {
  if (output >= outputs_.size()) {
    if (output >= output_count()) {
      drop(packets, n);
      return 0;
    }
    return transmit(tx_[output - outputs_.size()], packets, n);
  }
  vanity_channel& channel = *outputs_[output];
  if (!channel.packets) [[unlikely]] {
    drop(packets, n);  // descriptors are no messages
    return 0;
  }
  const uint64_t began = trace_send(packets, n);
  uint32_t sent = give_to(channel, packets, n);
  if (sent != 0) {
    channel.record->sent.add(sent);
    channel.record->bursts.add(1);
    notify(channel);
    if (began != 0) [[unlikely]]
      note_sent(channel, packets, sent, began);
  }
  if (sent < n) [[unlikely]]
    sent += overflow(channel, packets + sent, n - sent);
  record_->sent.add(sent);
  if (channel.high != 0) watch_depth(channel);  // the program, which may fault
  return sent;
}

uint32_t Shard::send(uint32_t output, const vanity_packet* packets, uint32_t n) noexcept {
  const uint32_t sent = offer(output, packets, n);
  if (sent < n && output < outputs_.size() && outputs_[output]->overflow == Overflow::program) {
    outputs_[output]->record->dropped.add(n - sent);
    drop(packets + sent, n - sent);
  }
  return sent;
}

uint32_t Shard::overflow(vanity_channel& channel, const vanity_packet* packets,
                         uint32_t n) noexcept {
  uint32_t sent = 0;
  const bool noted = traced();  // whoever notes the beginning of a block notes its end
  const uint64_t blocked_at = sampled() ? now_ticks() : 0;
  switch (channel.overflow) {
    case Overflow::program:
      return 0;
    case Overflow::block:
      channel.record->blocked.add(1);
      set_phase(Phase::blocked, channel.index);
      if (noted) note_blocked(EventKind::block, Event::Target::channel, channel.index, n);
      while (sent < n && control() != Control::stop_now && !asked_to_leave()) {
        const uint64_t began = trace_send(packets + sent, n - sent);
        const uint32_t more = give_to(channel, packets + sent, n - sent);
        if (more == 0) {
          pause();
          continue;
        }
        channel.record->sent.add(more);
        notify(channel);
        if (began != 0) {
          if (blocked_at != 0) note_wait(Event::Wait::blocked, channel.index, blocked_at, began);
          note_sent(channel, packets + sent, more, began);
        }
        sent += more;
      }
      if (blocked_at != 0) note_wait(Event::Wait::blocked, channel.index, blocked_at, now_ticks());
      if (noted) {
        note_blocked(EventKind::unblock, Event::Target::channel, channel.index, n - sent);
      }
      set_phase(Phase::polling);
      // What the program held when it was left, though it had given it away.
      if (sent < n && asked_to_leave()) record_->dropped_fault.add(n - sent);
      [[fallthrough]];
    case Overflow::drop:
      if (sent < n) {
        channel.record->dropped.add(n - sent);
        drop(packets + sent, n - sent);
      }
  }
  return sent;
}

uint32_t Shard::transmit(const Tx& tx, const vanity_packet* packets, uint32_t n) noexcept {
  if (tx.keeps) take_completed(*tx.queue);
  const uint64_t began = trace_send(packets, n);
  uint32_t sent = tx.queue->transmit(*pools_, packets, n);
  const bool blocks = sent < n && tx.overflow == Overflow::block;
  const auto place = static_cast<uint32_t>(outputs_.size() + static_cast<size_t>(&tx - tx_.data()));
  const bool noted = blocks && traced();
  if (blocks) {
    set_phase(Phase::transmitting, static_cast<uint32_t>(&tx - tx_.data()));
    if (noted) note_blocked(EventKind::block, Event::Target::port, place, n - sent);
  }
  while (sent < n && blocks && control() != Control::stop_now && !asked_to_leave()) {
    pause();
    if (tx.keeps) take_completed(*tx.queue);
    sent += tx.queue->transmit(*pools_, packets + sent, n - sent);
  }
  if (blocks) {
    set_phase(Phase::polling);
    if (noted) note_blocked(EventKind::unblock, Event::Target::port, place, n - sent);
    if (began != 0) note_wait(Event::Wait::transmitting, place, began, now_ticks());
  }
  if (began != 0) [[unlikely]]
    trail_.gave(packets, sent, Event::Target::port, place, now_ticks());
  // Counted by the queue and not here too, so that every loss stands in one place.
  if (sent < n) {
    tx.queue->drop(n - sent);
    unsent_ += n - sent;
    note_ended(packets + sent, n - sent, Event::Ending::dropped);
  }
  const uint32_t kept = tx.keeps ? sent : 0;
  give_home(packets + kept, n - kept);
  record_->sent.add(sent);
  if (sent != 0 && traced()) [[unlikely]] {
    events_.note({.kind = EventKind::send,
                  .what = static_cast<uint8_t>(Event::Target::port),
                  .place = static_cast<uint16_t>(place),
                  .count = sent});
  }
  return sent;
}

void Shard::take_completed(TxQueue& queue) noexcept {
  vanity_packet packets[limits::kBurstMax];
  uint32_t got;
  do {
    got = queue.completed(packets, limits::kBurstMax);
    give_home(packets, got);
  } while (got == limits::kBurstMax);
}

void Shard::drop(const vanity_packet* packets, uint32_t n) noexcept {
  if (n != 0 && traced()) events_.note({.kind = EventKind::drop, .count = n});
  note_ended(packets, n, Event::Ending::dropped);
  give_home(packets, n);
  record_->dropped.add(n);
}

void Shard::consume(const vanity_packet* packets, uint32_t n) noexcept {
  note_ended(packets, n, Event::Ending::consumed);
  give_home(packets, n);
  record_->consumed.add(n);
}

void Shard::discard(const vanity_packet* packets, uint32_t n) noexcept {
  note_ended(packets, n, Event::Ending::filtered);
  give_home(packets, n);
  record_->filtered.add(n);
}

uint32_t Shard::allocate(vanity_packet* packets, uint32_t n) noexcept {
  if (own_pool_ == nullptr) return 0;
  const uint32_t got = own_pool_->take(packets, n);
  // Whoever read the buffers last may be another core: ask for all of them at once, to write.
  for (uint32_t i = 0; i < got; ++i) prefetch_write(&pools_->meta(packets[i]));
  for (uint32_t i = 0; i < got; ++i) {
    packets[i].hash = 0;
    packets[i].offset = VANITY_FRAME_OFFSET;
    packets[i].length = 0;
    packets[i].port = 0;
    packets[i].flags = 0;
    pools_->meta(packets[i]) = {};
  }
  if (sampled()) [[unlikely]] {
    trail_.mark(packets, got, record_->sample_every.load(std::memory_order_relaxed));  // as above
  }
  return got;
}

void Shard::originated(uint32_t packets, uint64_t bytes) noexcept {
  record_->received.add(packets);
  record_->bytes.add(bytes);
  if (traced()) [[unlikely]] {
    events_.note({.kind = EventKind::receive,
                  .what = static_cast<uint8_t>(Event::Source::made),
                  .count = packets});
  }
}

void Shard::give_home(const vanity_packet* packets, uint32_t n) noexcept {
  if (ledger_ != nullptr) [[unlikely]] {
    give_home_noted(packets, n);
    return;
  }
  for (uint32_t i = 0; i < n;) {
    const uint32_t pool = packets[i].buffer >> kPoolShift;
    // The last owner of a shared buffer sends it home, the others only count themselves out.
    uint32_t ids[limits::kBurstMax + kIdsPerElement];
    uint32_t count = 0;
    for (; i < n && count < limits::kBurstMax && packets[i].buffer >> kPoolShift == pool; ++i) {
      if (pools_->release(packets[i])) ids[count++] = packets[i].buffer;
    }
    if (count == 0) continue;
    if (pool < owned_pools_.size() && owned_pools_[pool] != nullptr) {
      owned_pools_[pool]->give(ids, count);
      continue;
    }
    if (count % kIdsPerElement != 0) ids[count] = kNoBuffer;
    // As many slots as the pool has buffers: it never fills, so send() takes all.
    const uint32_t sent = homes_[pool].send(ids, (count + kIdsPerElement - 1) / kIdsPerElement);
    static_cast<void>(sent);
  }
}

// One ring a turn: the owner's poll stays short whatever the number of shards it feeds.
void Shard::take_returns() noexcept {
  returns_wait_ = kTurnsBetweenReturns;
  Returns& returns = returns_[returns_turn_];
  if (++returns_turn_ == returns_.size()) returns_turn_ = 0;
  take_returns(returns);
}

void Shard::take_returns(Returns& returns) noexcept {
  for (;;) {
    const ReadableSlots slots = returns.consumer.peek(limits::kBurstMax);
    if (!slots) return;
    const auto* ids = reinterpret_cast<const uint32_t*>(slots.data);
    for (uint32_t i = 0; i < slots.count; i += kLineBytes / slots.stride) prefetch_read(slots[i]);
    const uint32_t count = slots.count * kIdsPerElement;
    uint32_t from = 0;
    for (uint32_t i = 0; i <= count; ++i) {
      if (i < count && ids[i] != kNoBuffer) continue;
      if (i > from) returns.pool->give(ids + from, i - from);
      from = i + 1;
    }
    returns.consumer.release(slots.count);
  }
}

void Shard::take_all_returns() noexcept {
  for (size_t i = 0; i < returns_.size(); ++i) take_returns();
}

bool Shard::may_hold(uint32_t pool) const noexcept {
  if (pool < owned_pools_.size() && owned_pools_[pool] != nullptr) return true;
  return pool < homes_.size() && homes_[pool];
}

void Shard::settle() noexcept {
  if (forsaken_) return;  // where it stopped reading is not known
  if (plan_.kind == ProgramKind::typescript) take_up_rings();
  drop_again();
  for (uint32_t i = 0; i < consumers_.size(); ++i) drop_input(i);
}

void Shard::drop_input(uint32_t input) noexcept {
  if (inputs_[input] == nullptr) return;
  ChannelRecord& record = *inputs_[input]->record;
  if (record.carries_packets == 0) return;
  vanity_packet packets[limits::kBurstMax];
  uint32_t got;
  while ((got = take_from(input, packets, limits::kBurstMax)) != 0) {
    record.received.add(got);
    record.dropped.add(got);
    drop(packets, got);
  }
}

}  // namespace vanity
