#include "wake/cell.hpp"

#include <sched.h>
#include <time.h>

#include "platform/clock.hpp"

namespace vanity::wake {
namespace {

constexpr uint64_t kNapNsMax = 20'000'000;  // then it looks whether the visit is over
constexpr uint64_t kWarmNs = 1'000'000;
constexpr uint64_t kPilotIdleNs = 100'000;  // long enough to fall asleep, short enough to wait for

WaitCounters operator-(const WaitCounters& a, const WaitCounters& b) {
  return {a.waits - b.waits,       a.signalled - b.signalled, a.deadline - b.deadline,
          a.os_limit - b.os_limit, a.spurious - b.spurious,   a.late - b.late};
}

uint64_t thread_cpu_ns() noexcept {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

double median(std::vector<double>& values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// No more than the time allows, whatever was asked for.
uint32_t samples_of(const VisitSpec& spec) {
  const uint64_t shortest_ns = std::max<uint64_t>(spec.idle_ns, 20);
  return static_cast<uint32_t>(std::min(spec.samples, spec.max_ns / shortest_ns + 1));
}

}  // namespace

Cell::Cell(const VisitSpec& spec, Pair& pair)
    : spec(spec),
      pair(pair),
      shared_cpu(spec.from == spec.to || spec.from == spec.kernel),
      open_loop(spec.mode == Mode::oneway && spec.idle_ns != 0),
      idle(ns_to_ticks(spec.idle_ns)),
      pilot_idle(std::min(idle, ns_to_ticks(std::max(kPilotIdleNs, 2 * spec.spin_ns)))),
      microsecond(ns_to_ticks(1000)),
      offset(static_cast<int64_t>(spec.offset_ns * 1e-9 * static_cast<double>(ticks_per_second()))),
      end(now_ticks() + ns_to_ticks(spec.max_ns)),
      planned(kPilot + samples_of(spec)),
      last(planned) {}

void Cell::prepare_sender() {
  const size_t room = planned + 2;  // one more for the word that ends it
  sent.stamps.assign(room, 0);
  sent.after = std::vector<std::atomic<uint64_t>>(room);
  sent.marks.assign(room, 0);
  if (open_loop) sent.due.assign(room, 0);
  if (spec.mode != Mode::oneway) sent.returns.assign(room, 0);
}

void Cell::prepare_receiver() {
  const size_t room = planned + 2;
  received.arrivals.assign(room, 0);
  received.marks.assign(room, 0);
  if (spec.mode == Mode::roundtrip) received.replied = std::vector<std::atomic<uint64_t>>(room);
}

void Cell::warm_up() const noexcept {
  if (shared_cpu) return;
  const uint64_t until = now_ticks() + ns_to_ticks(kWarmNs);
  while (now_ticks() < until && !pair.stopped()) relax();
}

void Cell::pause_until(uint64_t tick) const noexcept {
  if (!shared_cpu) {
    while (now_ticks() < tick && !pair.stopped()) relax();
    return;
  }
  uint64_t now;
  while ((now = now_ticks()) < tick && !pair.stopped()) {
    const timespec nap{0, static_cast<long>(std::min(ticks_to_ns(tick - now), kNapNsMax))};
    nanosleep(&nap, nullptr);
  }
}

bool Cell::await(const std::atomic<uint32_t>& word, uint32_t value) const noexcept {
  for (;;) {
    for (int i = 0; i < 1024; ++i) {
      // Pairs with Mail::take() or with a store of the floor: what was written before it
      // is visible.
      if (word.load(std::memory_order_acquire) == value) return true;
      if (shared_cpu) sched_yield();
    }
    if (over(now_ticks())) return false;
  }
}

void Cell::begin(const WaitCounters& counters) noexcept {
  received.before = counters;
  received.cpu_begun = thread_cpu_ns();
  received.begun = now_ticks();
}

void Cell::stop(const WaitCounters& counters, uint32_t seen) noexcept {
  received.ended = now_ticks();
  received.cpu_ended = thread_cpu_ns();
  received.after = counters;
  received.count = std::min(seen, last.load(std::memory_order_relaxed));
}

Visit Cell::result() const {
  Visit visit;
  const uint32_t count = spec.mode == Mode::oneway ? received.count : sent.count;
  if (count <= kPilot) return visit;
  const double ns = 1e9 / static_cast<double>(ticks_per_second());
  const auto between = [ns](uint64_t earlier, uint64_t later) {
    return static_cast<double>(static_cast<int64_t>(later - earlier)) * ns;
  };
  // Without what reading the clock at both ends took.
  const auto spent = [&](uint64_t earlier, uint64_t later) {
    return between(earlier + sent.reading, later);
  };
  const bool waits = spec.mode == Mode::oneway || spec.mode == Mode::roundtrip;
  const size_t samples = count - kPilot;
  visit.latency_ns.reserve(samples);
  visit.signal_ns.reserve(samples);
  visit.marks.reserve(samples);
  std::vector<double> idled;
  idled.reserve(samples);
  for (uint32_t i = kPilot; i < count; ++i) {
    const uint64_t stamp = sent.stamps[i];
    const uint64_t after = sent.after[i].load(std::memory_order_relaxed);
    switch (spec.mode) {
      case Mode::oneway:
        visit.latency_ns.push_back(spent(stamp, received.arrivals[i]) - spec.offset_ns);
        visit.signal_ns.push_back(std::max(0.0, spent(stamp, after)));
        break;
      case Mode::roundtrip:
      case Mode::floor:
      case Mode::line:
        visit.latency_ns.push_back(spent(stamp, sent.returns[i]));
        visit.signal_ns.push_back(std::max(0.0, spent(stamp, after)));
        break;
      case Mode::signal:
        visit.latency_ns.push_back(std::max(0.0, spent(stamp, sent.returns[i])) / kBatch);
        visit.signal_ns.push_back(std::max(0.0, spent(sent.returns[i], after)) / kBatch);
        break;
    }
    visit.marks.push_back(static_cast<uint8_t>(received.marks[i] | sent.marks[i]));
    if (!waits) continue;
    const double idle = between(received.arrivals[i - 1], stamp) + spec.offset_ns;
    idled.push_back(std::max(idle, 0.0));
    if (open_loop && idle < 0) ++visit.overrun;
  }
  visit.idled_ns = median(idled);
  visit.wall_ns = between(received.begun, received.ended);
  visit.cpu_ns = static_cast<double>(received.cpu_ended - received.cpu_begun);
  visit.wakes = received.after - received.before;
  visit.involuntary[0] = sent.involuntary;
  visit.involuntary[1] = received.involuntary;
  return visit;
}

}  // namespace vanity::wake
