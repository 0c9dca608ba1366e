// Elements of channels: counted at both ends, announced, watched for their watermarks.
#include "shard/shard.hpp"

namespace vanity {

void Shard::note_watermark(const vanity_channel& channel, uint32_t depth) noexcept {
  events_.note({.kind = EventKind::watermark,
                .what = channel.above,
                .place = static_cast<uint16_t>(channel.index),
                .count = depth});
}

void Shard::watch_depth(vanity_channel& channel) noexcept {
  const uint32_t depth = channel.producer.depth_now();
  if (!channel.above && depth >= channel.high) {
    channel.above = true;
    ++watched_above_;
    channel.record->high_watermark.add(1);
    if (traced()) note_watermark(channel, depth);
    program_->watermark(*this, &channel, true);
  } else if (channel.above && depth <= channel.low) {
    channel.above = false;
    --watched_above_;
    channel.record->low_watermark.add(1);
    if (traced()) note_watermark(channel, depth);
    program_->watermark(*this, &channel, false);
  }
}

void Shard::commit(vanity_channel& channel, uint32_t n) noexcept {
  if (n == 0) return;
  const uint64_t began = trace_send();
  channel.producer.commit(n);
  channel.record->sent.add(n);
  channel.record->bursts.add(1);
  record_->sent.add(n);
  notify(channel);
  if (began != 0) [[unlikely]]
    note_sent(channel, n, began);
  if (channel.high != 0) watch_depth(channel);
}

void Shard::release(vanity_channel& channel, uint32_t n) noexcept {
  if (n == 0) return;
  channel.consumer->release(n);
  if (ledger_ != nullptr) channel.consumer->flush();  // whoever outlives it reads the ring's own
  channel.record->received.add(n);
  channel.record->depth_max.raise(channel.consumer->found());
  record_->received.add(n);
  if (traced()) [[unlikely]]
    note_received(channel, n);
}

uint32_t Shard::send_copy(vanity_channel& channel, const void* elements, uint32_t n) noexcept {
  const uint64_t began = trace_send();
  const uint32_t sent = channel.producer.send(elements, n);
  if (sent != 0) {
    channel.record->sent.add(sent);
    channel.record->bursts.add(1);
    record_->sent.add(sent);
    notify(channel);
    if (began != 0) [[unlikely]]
      note_sent(channel, sent, began);
  }
  // The program decides about messages, whatever the policy: they hold no buffers.
  if (sent < n && channel.overflow == Overflow::drop) channel.record->dropped.add(n - sent);
  if (sent < n && channel.overflow != Overflow::drop) {
    channel.record->blocked.add(1);
    found_full(channel);
  }
  if (channel.high != 0) watch_depth(channel);
  return sent;
}

uint32_t Shard::receive_copy(vanity_channel& channel, void* elements, uint32_t n) noexcept {
  const uint32_t got = channel.consumer->receive(elements, n);
  if (got != 0) {
    if (ledger_ != nullptr) channel.consumer->flush();
    channel.record->received.add(got);
    channel.record->depth_max.raise(channel.consumer->found());
    record_->received.add(got);
    if (traced()) [[unlikely]]
      note_received(channel, got);
  }
  return got;
}

}  // namespace vanity
