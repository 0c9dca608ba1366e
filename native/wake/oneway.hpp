// One way. Idle 0 is a closed loop: the signal follows as soon as the waiter says that it goes to
// wait. Longer is an open loop: signals are due at times laid down beforehand, and the signaller
// never waits for the waiter, so that a wake that is late makes the next one late too instead of
// hiding it (coordinated omission). Each signal has its own latency, also where one wake found
// several. Only where the signaller itself was held up, the schedule moves: a burst of what it
// missed would measure no wakes.
//
// What crosses between the cores for each sample: the lines of Mail, and the sleeper's line where
// the waiter sleeps in the kernel. Everything else is memory of the thread's own, read by the other
// after the joins or where said so.
#pragma once

#include "wake/cell.hpp"

namespace vanity::wake {

// The times at which signals are due: evenly, each shifted by up to a tenth of the period, so that
// no rhythm of the machine is met or missed each time. The period leaves time for a wake.
void lay_down(Cell& cell);

template <class M>
void oneway_signaller(Cell& cell, const Page<M>& page) {
  cell.prepare_sender();
  Disturbance disturbance(cell.spec.from);
  Suspicion late(cell.microsecond);
  Suspicion dear(cell.microsecond);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  Sent& sent = cell.sent;
  sent.reading = reading_ticks();
  M& mailbox = *page.get();

  uint64_t moved = 0;
  uint32_t i = 0;
  for (; i < cell.planned; ++i) {
    const bool measured = i >= kPilot;
    const bool by_schedule = cell.open_loop && measured;
    uint64_t due = 0;
    if (i <= kPilot || !by_schedule) {
      if (!cell.await(mailbox.mail.taken, i)) break;
    }
    if (i == kPilot) {
      disturbance.begin();
      if (by_schedule) lay_down(cell);
    }
    if (by_schedule) {
      prefetch_write(&sent.stamps[i + 1]);
      prefetch_write(&sent.after[i + 1]);
      due = sent.due[i] + moved;
      cell.pause_until(due);
    } else if (cell.pilot_idle != 0) {
      cell.pause_until(now_ticks() + cell.pilot_idle);
    }
    const uint64_t stamp = now_ticks();
    if (cell.over(stamp)) break;
    cell.send(mailbox, i, stamp);
    if (!measured) continue;
    const uint64_t lateness = by_schedule ? stamp - due : 0;
    if (lateness > cell.microsecond) {
      moved += lateness;
      sent.moved.store(moved, std::memory_order_relaxed);
    }
    const bool was_late = late.suspects(lateness);
    const bool was_dear = dear.suspects(cell.cost(i));
    if (was_late || was_dear) {
      const bool disturbed = disturbance.marks() != 0;
      if (was_late || disturbed) sent.marks[i] = kSignaller;
    }
  }
  cell.finish(mailbox, i);
  sent.involuntary = disturbance.involuntary();
}

template <class M, class... Args>
void oneway_waiter(Cell& cell, Page<M>& page, const Args&... args) {
  page.create(args..., Dates{&cell.sent.after, cell.offset});
  cell.prepare_receiver();
  Disturbance disturbance(cell.spec.to);
  Suspicion slow(cell.microsecond);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  Received& received = cell.received;
  M& mailbox = *page.get();

  uint32_t seen = 0;
  uint64_t before = now_ticks();
  bool measured = false;
  while (cell.expects(seen)) {
    if (!measured && seen >= kPilot) {
      measured = true;
      slow.begin();
      disturbance.begin();
      cell.begin(mailbox.counters());
      before = now_ticks();
    }
    mailbox.mail.take(seen);
    const uint32_t newest = mailbox.wait_for(seen, cell.pair);
    const uint64_t arrival = ordered_ticks();
    if (newest == seen) break;  // stopped
    for (uint32_t i = seen; i < newest; ++i) received.arrivals[i] = arrival;
    // Late against what was due where that is known, else against the round before. The
    // signaller's stamp would tell better, but reading its line here would slow its next signal.
    const uint64_t expected = cell.open_loop && measured
                                  ? cell.sent.due[seen] +
                                        cell.sent.moved.load(std::memory_order_relaxed) +
                                        static_cast<uint64_t>(cell.offset)
                                  : before;
    before = arrival;
    if (slow.suspects(arrival > expected ? arrival - expected : 0) && measured) {
      const uint8_t marks = disturbance.marks();
      for (uint32_t i = seen; i < newest; ++i) received.marks[i] = marks;
      before = now_ticks();
    }
    seen = newest;
  }
  cell.stop(mailbox.counters(), seen);
  received.involuntary = disturbance.involuntary();
}

template <class M, class... Args>
void oneway(Cell& cell, const Args&... args) {
  Page<M> page;
  run_cell(
      cell, [&] { oneway_signaller(cell, page); }, [&] { oneway_waiter(cell, page, args...); },
      page);
}

}  // namespace vanity::wake
