#include "wake/floor.hpp"

namespace vanity::wake {
namespace {

// They carry nothing but themselves; release and acquire, as the mechanisms have them. The way
// there has the odd numbers and the way back the even ones, so that one line can do for both.
struct Lines {
  alignas(kIsolationBytes) std::atomic<uint32_t> there{0};
  alignas(kIsolationBytes) std::atomic<uint32_t> own{0};
  std::atomic<uint32_t>& back(Mode mode) noexcept { return mode == Mode::line ? there : own; }
  void kick() noexcept {}
};

void signaller(Cell& cell, const Page<Lines>& page) {
  cell.prepare_sender();
  Disturbance disturbance(cell.spec.from);
  Suspicion slow(cell.microsecond);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  Sent& sent = cell.sent;
  sent.reading = reading_ticks();
  Lines& lines = *page.get();
  std::atomic<uint32_t>& back = lines.back(cell.spec.mode);
  for (uint32_t i = 0; i < cell.planned; ++i) {
    if (i == kPilot) disturbance.begin();
    const uint64_t stamp = now_ticks();
    if (cell.over(stamp)) break;
    lines.there.store(2 * i + 1, std::memory_order_release);  // pairs with await() in the waiter
    if (!cell.await(back, 2 * i + 2)) break;
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

void waiter(Cell& cell, Page<Lines>& page) {
  page.create();
  cell.prepare_receiver();
  Disturbance disturbance(cell.spec.to);
  Suspicion slow(cell.microsecond);
  if (!cell.pair.meet()) return;
  cell.warm_up();
  Lines& lines = *page.get();
  std::atomic<uint32_t>& back = lines.back(cell.spec.mode);
  cell.begin({});
  uint64_t before = now_ticks();
  for (uint32_t i = 0; i < cell.planned; ++i) {
    if (!cell.await(lines.there, 2 * i + 1)) break;
    back.store(2 * i + 2, std::memory_order_release);  // pairs with await() in the signaller
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
  Page<Lines> page;
  run_cell(
      cell, [&] { signaller(cell, page); }, [&] { waiter(cell, page); }, page);
}

}  // namespace vanity::wake
