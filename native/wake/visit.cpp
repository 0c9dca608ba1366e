// How a visit goes.
//
// oneway, idle 0: closed loop, the signal follows as soon as the waiter says that it goes to wait.
// oneway, idle > 0: open loop. Signals are due at times laid down beforehand, and the signaller
// never waits for the waiter: a wake that is late makes the next one late too, instead of hiding it
// (coordinated omission). Each signal has its own latency, also where one wake found several.
//
// What crosses between the cores for each sample: the line of mail, the sleeper's line where the
// waiter sleeps in the kernel, and in a closed loop the waiter's `taken`. Everything else is
// written to memory of the thread's own and read by the other after the joins, or where said so.
#include "wake/visit.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <memory>
#include <new>

#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"
#include "wake/mailbox.hpp"
#include "wake/mechanism.hpp"
#include "wake/ticks.hpp"

namespace vanity::wake {
namespace {

constexpr uint64_t kSamplesMax = 1u << 22;
constexpr uint64_t kIdleNsMax = 1'000'000'000;
constexpr uint64_t kVisitNsMax = 600'000'000'000;
constexpr uint64_t kSleepNsMax = 10'000'000;  // a bound, so that returns by deadline happen
constexpr uint64_t kDrainNs = 20'000'000;     // from the last signal to the end by force
constexpr uint64_t kWarmNs = 2'000'000;
// Samples before the measured ones: they warm the path and tell how long a wake takes here.
constexpr uint32_t kPilot = 16;
constexpr uint64_t kPilotIdleNs = 200'000;
constexpr uint32_t kBatch = 256;

// A page of its own for what both sides share, so that no visit inherits the place of another's
// lines. Created by the waiter: its memory is near the one who polls it.
template <class M>
class Page {
 public:
  Page() = default;
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  ~Page() {
    if (M* const at = get()) {
      at->~M();
      munmap(at, sizeof(M));
    }
  }

  template <class... Args>
  void create(Args&&... args) {
    void* const memory = mmap(nullptr, sizeof(M), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) throw system_error("VANITY_E_MEMORY", "mmap", errno);
    try {
      // Release: pairs with get() in the thread that kicks.
      at_.store(new (memory) M(std::forward<Args>(args)...), std::memory_order_release);
    } catch (...) {
      munmap(memory, sizeof(M));
      throw;
    }
  }
  // Acquire: pairs with create().
  M* get() const noexcept { return at_.load(std::memory_order_acquire); }

 private:
  std::atomic<M*> at_{nullptr};
};

// What the signaller alone writes; the waiter reads `after`, and `due` once a later mail came.
struct Sent {
  std::vector<uint64_t> due;
  std::vector<uint64_t> stamps;              // before each signal
  std::vector<std::atomic<uint64_t>> after;  // after it
  std::vector<uint8_t> marks;
  uint64_t reading = 0;
  uint64_t involuntary = 0;
};

// What the waiter alone writes; the signaller reads `arrivals` of what it saw taken.
struct Received {
  std::vector<uint64_t> arrivals;
  std::vector<uint8_t> marks;
  WaitCounters before;
  WaitCounters after;
  uint64_t begun = 0;
  uint64_t ended = 0;
  uint64_t cpu_begun = 0;
  uint64_t cpu_ended = 0;
  uint64_t involuntary = 0;
  uint32_t count = 0;  // the pilot included
};

WaitCounters operator-(const WaitCounters& a, const WaitCounters& b) {
  return {a.waits - b.waits,       a.signalled - b.signalled, a.deadline - b.deadline,
          a.os_limit - b.os_limit, a.spurious - b.spurious,   a.late - b.late};
}

uint64_t thread_cpu_ns() noexcept {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// splitmix64.
uint64_t next_random(uint64_t& state) noexcept {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

class Cell {
 public:
  Cell(const VisitSpec& spec, Pair& pair)
      : spec_(spec),
        pair_(pair),
        shared_cpu_(spec.from == spec.to),
        idle_(ns_to_ticks(spec.idle_ns)),
        microsecond_(ns_to_ticks(1000)),
        offset_(
            static_cast<int64_t>(spec.offset_ns * 1e-9 * static_cast<double>(ticks_per_second()))),
        end_(now_ticks() + ns_to_ticks(spec.max_ns)),
        // No more than the time allows, whatever was asked for.
        planned_(kPilot +
                 static_cast<uint32_t>(std::min(
                     spec.samples, spec.max_ns / std::max<uint64_t>(spec.idle_ns, 50) + 1))),
        last_(planned_) {}

  template <class M, class... Args>
  void oneway(Args... args) {
    Page<M> page;
    pair_.run(
        spec_.from, [&] { oneway_signaller(page); }, spec_.to,
        [&] { oneway_waiter(page, args...); }, spec_.max_ns + kDrainNs,
        [&] {
          if (M* const mailbox = page.get()) mailbox->kick();
        });
  }

  Visit result();

 private:
  bool open_loop() const noexcept { return spec_.mode == Mode::oneway && idle_ != 0; }

  template <class M>
  void oneway_signaller(Page<M>& page);
  template <class M, class... Args>
  void oneway_waiter(Page<M>& page, Args... args);

  void prepare_sender() {
    const size_t room = planned_ + 2;  // one more for the word that ends it
    sent_.stamps.assign(room, 0);
    sent_.after = std::vector<std::atomic<uint64_t>>(room);
    sent_.marks.assign(room, 0);
    if (open_loop()) sent_.due.assign(room, 0);
  }
  void prepare_receiver() {
    received_.arrivals.assign(planned_ + 2, 0);
    received_.marks.assign(planned_ + 2, 0);
  }

  // A processor that has just been idle runs slowly.
  void warm_up() const noexcept {
    if (shared_cpu_) return;
    const uint64_t until = now_ticks() + ns_to_ticks(kWarmNs);
    while (now_ticks() < until && !pair_.stopped()) relax();
  }

  void pause_until(uint64_t tick) const noexcept;
  bool await_taken(uint32_t count) const noexcept;
  void lay_down();
  template <class M>
  void send(M& mailbox, uint32_t index, uint64_t stamp) noexcept {
    mailbox.publish(index + 1);
    const uint64_t after = now_ticks();
    sent_.stamps[index] = stamp;
    // Relaxed: see Dates.
    sent_.after[index].store(after, std::memory_order_relaxed);
  }
  template <class M>
  void finish(M& mailbox, uint32_t sent) noexcept {
    // Pairs with the load in the waiter; the mail behind it makes the waiter look.
    last_.store(sent, std::memory_order_release);
    if (sent < planned_) mailbox.publish(sent + 1);
  }
  void begin(const WaitCounters& counters) noexcept {
    received_.before = counters;
    received_.cpu_begun = thread_cpu_ns();
    received_.begun = now_ticks();
  }
  void end(const WaitCounters& counters, uint32_t seen) noexcept {
    received_.ended = now_ticks();
    received_.cpu_ended = thread_cpu_ns();
    received_.after = counters;
    received_.count = std::min(seen, last_.load(std::memory_order_relaxed));
  }

  const VisitSpec& spec_;
  Pair& pair_;
  const bool shared_cpu_;
  const uint64_t idle_;
  const uint64_t microsecond_;
  const int64_t offset_;
  const uint64_t end_;
  const uint32_t planned_;  // samples, the pilot's included
  Sent sent_;
  alignas(kIsolationBytes) Received received_;
  // So many mails the waiter has seen, and goes to wait for the next.
  alignas(kIsolationBytes) std::atomic<uint32_t> taken_{UINT32_MAX};
  // Written once, when the signaller knows how many there will be.
  alignas(kIsolationBytes) std::atomic<uint32_t> last_;
};

void Cell::pause_until(uint64_t tick) const noexcept {
  if (!shared_cpu_) {
    while (now_ticks() < tick && !pair_.stopped()) relax();
    return;
  }
  // A spinner would keep the waiter from going to sleep.
  const uint64_t now = now_ticks();
  if (now >= tick) return;
  timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  const uint64_t ns = static_cast<uint64_t>(until.tv_nsec) + ticks_to_ns(tick - now);
  until.tv_sec += static_cast<time_t>(ns / 1'000'000'000);
  until.tv_nsec = static_cast<long>(ns % 1'000'000'000);
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
}

bool Cell::await_taken(uint32_t count) const noexcept {
  for (;;) {
    for (int i = 0; i < 1024; ++i) {
      // Pairs with the store before wait_for(); the arrivals up to here are visible.
      if (taken_.load(std::memory_order_acquire) == count) return true;
      if (shared_cpu_) sched_yield();
    }
    if (pair_.stopped() || now_ticks() > end_) return false;
  }
}

// The times at which signals are due: evenly, each shifted by up to a tenth of the period, so that
// no rhythm of the machine is met or missed each time. The period leaves time for a usual wake.
void Cell::lay_down() {
  uint64_t wakes[kPilot];
  for (uint32_t i = 0; i < kPilot; ++i) {
    const int64_t wake = static_cast<int64_t>(received_.arrivals[i] - sent_.stamps[i]) - offset_;
    wakes[i] = wake > 0 ? static_cast<uint64_t>(wake) : 0;
  }
  std::nth_element(wakes, wakes + kPilot / 2, wakes + kPilot);
  const uint64_t period = idle_ + 2 * wakes[kPilot / 2];
  uint64_t state = spec_.seed;
  for (uint32_t i = kPilot; i < planned_; ++i) {
    const double jitter = (static_cast<double>(next_random(state) >> 11) * 0x1p-53 - 0.5) * 0.2;
    sent_.due[i] =
        (i - kPilot) * period + static_cast<uint64_t>((1 + jitter) * static_cast<double>(period));
  }
  const uint64_t start = now_ticks();
  for (uint32_t i = kPilot; i < planned_; ++i) sent_.due[i] += start;
}

template <class M>
void Cell::oneway_signaller(Page<M>& page) {
  prepare_sender();
  if (shared_cpu_) prctl(PR_SET_TIMERSLACK, 1);
  Disturbance disturbance(spec_.from);
  Suspicion late(microsecond_);
  Suspicion dear(microsecond_);
  if (!pair_.meet()) return;
  warm_up();
  sent_.reading = reading_ticks();
  M& mailbox = *page.get();
  const uint64_t pilot_idle = std::min(idle_, ns_to_ticks(kPilotIdleNs));

  uint32_t i = 0;
  for (; i < planned_; ++i) {
    const bool measured = i >= kPilot;
    if (i == kPilot) disturbance.begin();
    uint64_t due = 0;
    if (open_loop() && measured) {
      if (i == kPilot) {
        if (!await_taken(i)) break;
        lay_down();
      }
      due = sent_.due[i];
      prefetch_write(&sent_.stamps[i + 1]);
      prefetch_write(&sent_.after[i + 1]);
      pause_until(due);
    } else {
      if (!await_taken(i)) break;
      if (pilot_idle != 0) pause_until(now_ticks() + pilot_idle);
    }
    const uint64_t stamp = now_ticks();
    if (stamp > end_ || pair_.stopped()) break;
    send(mailbox, i, stamp);
    if (!measured) continue;
    const uint64_t cost = sent_.after[i].load(std::memory_order_relaxed) - stamp;
    const bool was_late = due != 0 && late.suspects(stamp - due);
    const bool was_dear = dear.suspects(cost);
    if (was_late || was_dear) {
      const bool disturbed = disturbance.marks() != 0;
      if (was_late || disturbed) sent_.marks[i] = kSignaller;
    }
  }
  finish(mailbox, i);
  sent_.involuntary = disturbance.involuntary();
}

template <class M, class... Args>
void Cell::oneway_waiter(Page<M>& page, Args... args) {
  page.create(args..., Dates{&sent_.after, offset_});
  prepare_receiver();
  Disturbance disturbance(spec_.to);
  Suspicion slow(microsecond_);
  if (!pair_.meet()) return;
  warm_up();
  M& mailbox = *page.get();

  uint32_t seen = 0;
  uint64_t before = now_ticks();
  bool measured = false;
  // Pairs with finish().
  while (seen < last_.load(std::memory_order_acquire)) {
    if (!measured && seen >= kPilot) {
      measured = true;
      slow.begin();
      disturbance.begin();
      begin(mailbox.counters());
      before = now_ticks();
    }
    taken_.store(seen, std::memory_order_release);  // pairs with await_taken()
    const uint32_t newest = mailbox.wait_for(seen, pair_);
    const uint64_t arrival = ordered_ticks();
    if (newest == seen) break;  // stopped
    for (uint32_t i = seen; i < newest; ++i) received_.arrivals[i] = arrival;
    // Late against what was due where that is known, else against the round before. The
    // signaller's stamp would tell better, but reading its line here would slow its next signal.
    const uint64_t expected =
        open_loop() && measured ? sent_.due[seen] + static_cast<uint64_t>(offset_) : before;
    before = arrival;
    const uint64_t elapsed = arrival > expected ? arrival - expected : 0;
    if (slow.suspects(elapsed) && measured) {
      const uint8_t marks = disturbance.marks();
      for (uint32_t i = seen; i < newest; ++i) received_.marks[i] = marks;
      before = now_ticks();
    }
    seen = newest;
  }
  end(mailbox.counters(), seen);
  received_.involuntary = disturbance.involuntary();
}

double median(std::vector<double>& values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Visit Cell::result() {
  const double ns = 1e9 / static_cast<double>(ticks_per_second());
  const auto difference = [ns](uint64_t later, uint64_t earlier) {
    return static_cast<double>(static_cast<int64_t>(later - earlier)) * ns;
  };
  // There and back, both readings are of one clock.
  const double offset = spec_.mode == Mode::oneway ? spec_.offset_ns : 0;
  Visit visit;
  const uint32_t count = received_.count;
  if (count > kPilot) {
    const size_t samples = count - kPilot;
    visit.latency_ns.reserve(samples);
    visit.signal_ns.reserve(samples);
    visit.marks.reserve(samples);
    std::vector<double> idled;
    idled.reserve(samples);
    for (uint32_t i = kPilot; i < count; ++i) {
      const uint64_t stamp = sent_.stamps[i];
      const uint64_t cost = sent_.after[i].load(std::memory_order_relaxed) - stamp;
      visit.latency_ns.push_back(difference(received_.arrivals[i], stamp) - offset);
      visit.signal_ns.push_back(cost > sent_.reading ? difference(cost, sent_.reading) : 0);
      visit.marks.push_back(static_cast<uint8_t>(received_.marks[i] | sent_.marks[i]));
      const double idle = difference(stamp, received_.arrivals[i - 1]) + offset;
      idled.push_back(std::max(idle, 0.0));
      if (open_loop() && idle < 0) ++visit.overrun;
    }
    visit.idled_ns = median(idled);
    visit.wall_ns = difference(received_.ended, received_.begun);
    visit.cpu_ns = static_cast<double>(received_.cpu_ended - received_.cpu_begun);
    visit.wakes = received_.after - received_.before;
    visit.involuntary[0] = sent_.involuntary;
    visit.involuntary[1] = received_.involuntary;
  }
  return visit;
}

void validate(const VisitSpec& spec) {
  const auto within = [](const char* what, uint64_t value, uint64_t least, uint64_t most) {
    if (value >= least && value <= most) return;
    throw Error("VANITY_E_WAKE_SPEC", std::string(what) + " must be from " + std::to_string(least) +
                                          " to " + std::to_string(most) + "; it is " +
                                          std::to_string(value));
  };
  within("samples", spec.samples, 1, kSamplesMax);
  within("idleNs", spec.idle_ns, 0, kIdleNsMax);
  within("maxNs", spec.max_ns, 1'000'000, kVisitNsMax);
  within("spinNs", spec.spin_ns, 0, kIdleNsMax);
  if (!(std::abs(spec.offset_ns) < 1e9)) {
    throw Error("VANITY_E_WAKE_SPEC", "offsetNs must be less than a second either way");
  }
}

template <class M, class... Args>
Visit run(const VisitSpec& spec, Pair& pair, Args... args) {
  const auto cell = std::make_unique<Cell>(spec, pair);
  cell->template oneway<M>(args...);
  return cell->result();
}

}  // namespace

Visit visit(const VisitSpec& spec, Pair& pair) {
  validate(spec);
  const Mechanism& mechanism = usable_mechanism(spec.mechanism);
  if (spec.from == spec.to && !mechanism.sleeps) {
    throw Error("VANITY_E_WAKE_PAIR",
                mechanism.name + " keeps its processor, so core " + std::to_string(spec.from) +
                    " cannot signal itself",
                "give two different cores, or a mechanism that sleeps, such as futex");
  }

  const uint64_t sleep = ns_to_ticks(kSleepNsMax);
  const auto backed = [&](Backend backend, uint64_t deep_after_ns) {
    return run<Backed<Hardware>>(spec, pair, backend, WaitTuning{0, sleep, deep_after_ns});
  };
  const std::string& name = mechanism.name;
  if (name == "raw-futex") return run<RawFutex>(spec, pair);
  if (name == "eventfd") return run<EventFd>(spec, pair);
  if (name == "pipe") return run<Pipe>(spec, pair);
  if (name == "spin") return run<Backed<Bare>>(spec, pair, Backend::spin, WaitTuning{0, sleep});
  if (name == "spin+pause") return backed(Backend::spin, 0);
  if (name == "futex") return backed(Backend::futex, 0);
  if (name == "waitpkg-c01") return backed(Backend::waitpkg, UINT64_MAX);
  if (name == "waitpkg-c02") return backed(Backend::waitpkg, 0);
  if (name == "monitorx") return backed(Backend::monitorx, UINT64_MAX);
  if (name == "monitorx-c1") return backed(Backend::monitorx, 0);
  if (name == "wfe" || name == "wfet") return backed(Backend::wfe, 0);
  if (name == "zawrs") return backed(Backend::zawrs, 0);
  // adaptive, as a shard with wait = "auto" does
  return run<Backed<Hardware>>(spec, pair, choose_backend("auto"),
                               WaitTuning{ns_to_ticks(spec.spin_ns), sleep});
}

}  // namespace vanity::wake
