// What a signal costs its producer while the consumer is awake and polls: batches of plain stores
// and of stores with their signal(), in turn. The consumer looks about once a microsecond, as one
// that has work does; nobody sleeps.
#pragma once

#include "wake/cell.hpp"

namespace vanity::wake {

template <class M>
void awake_signaller(Cell& cell, const Page<M>& page, std::atomic<bool>& done) {
  cell.prepare_sender();
  Disturbance disturbance(cell.spec.from);
  Suspicion dear(cell.microsecond);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  if (!cell.pair.meet()) return;  // nothing here waits for the other side
  Sent& sent = cell.sent;
  sent.reading = reading_ticks();
  M& mailbox = *page.get();

  uint32_t sequence = 0;
  uint32_t i = 0;
  for (; i < cell.planned; ++i) {
    if (i == kPilot) disturbance.begin();
    const uint64_t stamp = now_ticks();
    if (cell.over(stamp)) break;
    for (uint32_t k = 0; k < kBatch; ++k) mailbox.mail.store(++sequence);
    const uint64_t stored = now_ticks();
    for (uint32_t k = 0; k < kBatch; ++k) mailbox.publish(++sequence);
    const uint64_t after = now_ticks();
    sent.stamps[i] = stamp;
    sent.returns[i] = stored;
    sent.after[i].store(after, std::memory_order_relaxed);  // read after the join
    sent.count = i + 1;
    if (dear.suspects(after - stamp) && disturbance.marks() != 0) sent.marks[i] = kSignaller;
  }
  cell.finish(mailbox, i);
  sent.involuntary = disturbance.involuntary();
  done.store(true, std::memory_order_relaxed);  // nothing passes but the word itself
}

template <class M, class... Args>
void awake_waiter(Cell& cell, Page<M>& page, const std::atomic<bool>& done, const Args&... args) {
  page.create(args..., Dates{&cell.sent.after, cell.offset});
  cell.prepare_receiver();
  Disturbance disturbance(cell.spec.to);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  if (!cell.pair.meet()) return;
  M& mailbox = *page.get();
  cell.begin(mailbox.counters());
  while (!done.load(std::memory_order_relaxed) && !cell.pair.stopped()) {
    (void)mailbox.mail.load();
    mailbox.poll();
    const uint64_t until = now_ticks() + cell.microsecond;
    while (now_ticks() < until) relax();
  }
  cell.stop(mailbox.counters(), 0);
  cell.received.involuntary = disturbance.involuntary();
}

template <class M, class... Args>
void awake(Cell& cell, const Args&... args) {
  Page<M> page;
  std::atomic<bool> done{false};
  run_cell(
      cell, [&] { awake_signaller(cell, page, done); },
      [&] { awake_waiter(cell, page, done, args...); }, page);
}

}  // namespace vanity::wake
