// There and back, both sides waiting by the mechanism; a closed loop. Only the signaller's clock is
// read for the figure. What crosses for each sample: one line of mail each way, and the sleepers'.
#pragma once

#include "wake/cell.hpp"

namespace vanity::wake {

template <class M, class... Args>
void roundtrip_signaller(Cell& cell, const Page<M>& out, Page<M>& back, const Args&... args) {
  back.create(args..., Dates{&cell.received.replied, -cell.offset});
  cell.prepare_sender();
  Disturbance disturbance(cell.spec.from);
  Suspicion slow(cell.microsecond);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  Sent& sent = cell.sent;
  sent.reading = reading_ticks();
  M& mailbox = *out.get();
  M& replies = *back.get();

  uint32_t i = 0;
  for (; i < cell.planned; ++i) {
    if (i == kPilot) disturbance.begin();
    const uint64_t idle = i < kPilot ? cell.pilot_idle : cell.idle;
    if (idle != 0) cell.pause_until(now_ticks() + idle);
    const uint64_t stamp = now_ticks();
    if (cell.over(stamp)) break;
    cell.send(mailbox, i, stamp);
    const uint32_t reply = replies.wait_for(i, cell.pair);
    sent.returns[i] = ordered_ticks();
    if (reply == i) break;  // stopped
    replies.mail.take(reply);
    sent.count = i + 1;
    if (slow.suspects(sent.returns[i] - stamp) && disturbance.marks() != 0) {
      sent.marks[i] = kSignaller;
    }
  }
  cell.finish(mailbox, i);
  sent.involuntary = disturbance.involuntary();
}

template <class M, class... Args>
void roundtrip_waiter(Cell& cell, Page<M>& out, const Page<M>& back, const Args&... args) {
  out.create(args..., Dates{&cell.sent.after, cell.offset});
  cell.prepare_receiver();
  Disturbance disturbance(cell.spec.to);
  Suspicion slow(cell.microsecond);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  Received& received = cell.received;
  M& mailbox = *out.get();
  M& replies = *back.get();

  uint32_t seen = 0;
  uint64_t replied = now_ticks();
  while (cell.expects(seen)) {
    if (seen == kPilot) {
      slow.begin();
      disturbance.begin();
      cell.begin(mailbox.counters());
      replied = now_ticks();
    }
    mailbox.mail.take(seen);
    const uint32_t newest = mailbox.wait_for(seen, cell.pair);
    if (newest == seen) break;  // stopped
    replies.publish(newest);
    const uint64_t expected = replied + cell.idle;
    replied = now_ticks();
    received.arrivals[seen] = replied;  // a reading before the reply would be part of the figure
    // Relaxed: see Dates.
    received.replied[seen].store(replied, std::memory_order_relaxed);
    if (slow.suspects(replied > expected ? replied - expected : 0)) {
      received.marks[seen] = disturbance.marks();
      replied = now_ticks();
    }
    seen = newest;
  }
  cell.stop(mailbox.counters(), seen);
  received.involuntary = disturbance.involuntary();
}

template <class M, class... Args>
void roundtrip(Cell& cell, const Args&... args) {
  Page<M> out;
  Page<M> back;
  run_cell(
      cell, [&] { roundtrip_signaller(cell, out, back, args...); },
      [&] { roundtrip_waiter(cell, out, back, args...); }, out, back);
}

}  // namespace vanity::wake
