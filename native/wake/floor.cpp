#include "wake/floor.hpp"

namespace vanity::wake {
namespace {

struct alignas(kIsolationBytes) Line {
  std::atomic<uint32_t> word{0};
  void kick() noexcept {}
};

// Even words are the signaller's to answer, odd ones the waiter's. The line carries nothing but
// itself; release and acquire, as in every mechanism that is held against it.
void signaller(Cell& cell, const Page<Line>& page) {
  cell.prepare_sender();
  Disturbance disturbance(cell.spec.from);
  Suspicion slow(cell.microsecond);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  Sent& sent = cell.sent;
  sent.reading = reading_ticks();
  Line& line = *page.get();
  for (uint32_t i = 0; i < cell.planned; ++i) {
    if (i == kPilot) disturbance.begin();
    const uint64_t stamp = now_ticks();
    if (cell.over(stamp)) break;
    line.word.store(2 * i + 1, std::memory_order_release);  // pairs with await() in the waiter
    if (!cell.await(line.word, 2 * i + 2)) break;
    sent.returns[i] = ordered_ticks();
    sent.stamps[i] = stamp;
    sent.after[i].store(stamp, std::memory_order_relaxed);  // read after the join
    sent.count = i + 1;
    if (slow.suspects(sent.returns[i] - stamp) && disturbance.marks() != 0) {
      sent.marks[i] = kSignaller;
    }
  }
  sent.involuntary = disturbance.involuntary();
}

void waiter(Cell& cell, Page<Line>& page) {
  page.create();
  cell.prepare_receiver();
  Disturbance disturbance(cell.spec.to);
  Suspicion slow(cell.microsecond);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  Line& line = *page.get();
  cell.begin({});
  uint64_t before = now_ticks();
  for (uint32_t i = 0; i < cell.planned; ++i) {
    if (!cell.await(line.word, 2 * i + 1)) break;
    line.word.store(2 * i + 2, std::memory_order_release);  // pairs with await() in the signaller
    const uint64_t now = now_ticks();
    const bool suspicious = slow.suspects(now - before);
    before = now;
    if (suspicious) {
      cell.received.marks[i] = disturbance.marks();
      before = now_ticks();
    }
  }
  cell.stop({}, 0);
  cell.received.involuntary = disturbance.involuntary();
}

}  // namespace

void floor(Cell& cell) {
  Page<Line> page;
  run_cell(
      cell, [&] { signaller(cell, page); }, [&] { waiter(cell, page); }, page);
}

}  // namespace vanity::wake
