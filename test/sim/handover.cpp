// One program in another's place (BasicWishes, BasicAttendant, BasicAsking), one that was left and
// is started anew (BasicVerdicts), and the record by which a reload is asked for (BasicMail). Plain
// words stand for what is handed over, so that whoever touches it too early or too late races.
#include <array>
#include <utility>

#include "cases.hpp"
#include "kernel/asking.hpp"
#include "kernel/mail.hpp"
#include "platform/wait.hpp"
#include "shard/verdict.hpp"
#include "shard/wishes.hpp"

namespace {

using namespace cases;
using vanity::Step;
using vanity::Unkept;
using vanity::Wish;
using Doorbell = vanity::BasicDoorbell<Policy>;

constexpr vanity::WaitTuning kNoSpin{.spin_ticks_max = 0, .sleep_ticks_max = UINT64_MAX};

struct Handover {
  vanity::BasicStep<Policy> step;
  alignas(8) uint64_t copies = 0;  // the shard makes them for the rehearsal
  uint64_t program = 0;            // the new one; once it has taken its place, the old one

  bool program_follows() const noexcept { return true; }
};

// Of a reload: now and then it finds that it has napped for too long. For bursts to be copied it
// waits no longer than they come.
struct Clock : Policy {
  static constexpr uint64_t kBurstsNs = 1;
  static constexpr uint64_t kTurnNs = 10;
  static inline uint64_t time = 0;
  static inline uint32_t lates = 0;
  static inline const Atomic<uint32_t>* idle = nullptr;  // no burst is to come

  static uint64_t now_ns() { return time; }
  static void nap() {
    if (idle != nullptr && idle->load(std::memory_order_relaxed) != 0) {
      idle = nullptr;
      time += kBurstsNs + 1;
    } else if (lates != 0 && World::current().draw(2) != 0) {
      --lates;
      time += 1000;
    } else {
      World::current().pause();
    }
  }
};

struct Shape {
  uint32_t handovers = 1;
  uint32_t busy = 0;    // turns that find something; when there is no more, the shard sleeps
  uint32_t trial = 1;   // of them, until the new one is kept
  uint32_t holds = 0;   // after so many the program holds no packets any more
  uint32_t faults = 0;  // so many may end in one
  uint32_t lates = 0;
  bool sleeps = false;   // else the shard looks until there is something new
  bool hurried = false;  // it waits for nothing but the end
  bool kernel = false;   // a third thread reads the certificate
  bool stops = false;    // and ends the system before, at any time
};

template <Shape kShape>
struct Replaced {
  static constexpr bool kThree = kShape.kernel || kShape.stops;
  static constexpr auto kThreads = [] {
    std::array<const char*, kThree ? 3 : 2> names{"reload", "shard"};
    if (kThree) names.back() = "kernel";
    return names;
  }();
  using Asking = vanity::BasicAsking<Replaced, Handover, Clock>;

  // ---- the line of the shard
  Doorbell doorbell;
  vanity::BasicSleeper<Policy> sleeper;
  alignas(64) Atomic<uint32_t> control{0};
  vanity::BasicWishes<Handover, Policy> wishes;
  // ---- its own
  alignas(64) Atomic<uint32_t> state{0};
  Atomic<uint32_t> idle{0};
  vanity::BasicAttendant<Handover, Policy> attendant;
  uint64_t stage = 0;
  uint32_t busy = 0;
  uint32_t trial_began = 0;
  uint32_t faults = 0;
  bool told = false;
  // ---- what is handed over
  alignas(64) uint64_t lives[kShape.handovers + 1] = {1};  // of each program: it may be called
  uint64_t certificate = 0;
  Handover handovers[kShape.handovers];
  alignas(64) std::byte memory[kShape.handovers][64];

  Replaced() {
    World& world = World::current();
    world.name_atomic(&doorbell.bytes[Doorbell::kControlKernel], 1, "kernel's bell");
    world.name_atomic(&doorbell.bytes[Doorbell::kControlReload], 1, "reload's bell");
    world.name_atomic(&sleeper.sleeping, 4, "sleeping");
    world.name_atomic(&control, 4, "control");
    world.name_atomic(&wishes, 4, "wish");
    world.name_atomic(&state, 4, "state");
    world.name_atomic(&idle, 4, "idle");
    world.name(lives, sizeof lives, "programs");
    world.name(&certificate, 8, "certificate");
    for (uint32_t i = 0; i < kShape.handovers; ++i) {
      world.name_atomic(&handovers[i].step, 4, "step");
      world.name(&handovers[i].copies, 8, "copies");
      world.name(&handovers[i].program, 8, "program handed over");
      static_assert(sizeof(Asking) <= sizeof memory[0]);
      new (memory[i]) Asking(*this, handovers[i]);
    }
    Clock::time = 0;
    Clock::lates = kShape.lates;
  }
  Asking& asking(uint32_t i) { return *std::launder(reinterpret_cast<Asking*>(memory[i])); }

  // ---- what the control path asks of a shard
  void post(Handover& handover) { wishes.post(handover); }
  void wish(Wish wanted) { wishes.wish(wanted, doorbell, sleeper); }
  void withdraw() { wishes.withdraw(); }
  bool ended() const { return state.load(std::memory_order_acquire) != 0; }

  void reload(uint32_t i) {
    World& world = World::current();
    Handover& handover = handovers[i];
    Asking& asking = this->asking(i);
    world.write(&lives[i + 1], 1);
    world.write(&handover.program, i + 1);
    Clock::idle = &idle;
    if (kShape.hurried) asking.hurry();
    if (asking.copy(Clock::kBurstsNs, Clock::kTurnNs)) {
      (void)world.read(&handover.copies);
      if (asking.swap(Clock::kTurnNs)) {
        wish(world.draw(2) == 0 ? Wish::keep : Wish::undo);
        while (!asking.over()) Clock::nap();
      }
    }
    const Step last = asking.step();
    asking.call_off();
    const uint64_t gone = world.read(&handover.program);
    if (last == Step::kept) require(gone != i + 1, "it was kept, and has gone");
    if (last == Step::undone || last == Step::refused)
      require(gone == i + 1, "it was not kept, and has not gone");
    world.write(&lives[gone], 0);
    world.write(&handover.program, ~uint64_t{0});
    world.write(&handover.copies, ~uint64_t{0});
    if (i == 0) world.write(&certificate, 1);
    asking.finish();
  }

  // ---- what a wish leads to
  void begin_handover() {}
  bool is_down() const { return false; }
  void refuse(Unkept) { attendant.conclude(Step::refused); }
  void attend_bursts() {}
  bool may_switch() const { return busy >= kShape.holds; }
  void switch_programs(uint64_t) {
    change_places();
    trial_began = busy;
    attendant.on_trial();
  }
  void try_out(bool keep, uint64_t) {
    if (keep || busy - trial_began >= kShape.trial) attendant.conclude(Step::kept);
  }
  void undo(Unkept, uint64_t) {
    change_places();
    attendant.conclude(Step::undone);
  }
  void change_places() {
    Handover& handover = *attendant.current();
    const uint64_t fresh = World::current().read(&handover.program);
    World::current().write(&handover.program, stage);
    stage = fresh;
  }
  void recover() {
    if (attendant.is(Step::trial)) {
      undo(Unkept::fault, 0);
    } else if (attendant.current() != nullptr) {
      attendant.conclude(Step::refused);
    }
  }

  bool poll() {
    World& world = World::current();
    if (busy == kShape.busy) {
      if (!told) idle.store(1, std::memory_order_relaxed);
      told = true;
      return false;
    }
    ++busy;
    require(world.read(&lives[stage]) == 1, "a program is called that has gone");
    if (faults < kShape.faults && world.draw(2) != 0) {
      ++faults;
      recover();
      return true;
    }
    if (attendant.is(Step::copying)) {
      world.write(&attendant.current()->copies, busy);
      attendant.copied();
    }
    return true;
  }
  void shard() {
    vanity::BasicWaiter<Policy> waiter(vanity::Backend::futex, kNoSpin, &sleeper);
    while (control.load(std::memory_order_acquire) == 0) {
      if (wishes.any()) attendant.attend(wishes, *this, 0);
      if (poll()) continue;
      if (!kShape.sleeps) {
        World::current().pause();
        continue;
      }
      if (take_mark(Doorbell::kControlKernel) || take_mark(Doorbell::kControlReload)) continue;
      waiter.idle(
          doorbell.bytes, [&] { return doorbell.any(); }, UINT64_MAX);
    }
    state.store(1, std::memory_order_release);
  }
  bool take_mark(uint32_t byte) {
    if (doorbell.bytes[byte].load(std::memory_order_relaxed) == 0) return false;
    doorbell.take(byte);
    return true;
  }
  void end() {
    control.store(1, std::memory_order_release);
    doorbell.ring(Doorbell::kControlKernel);
    vanity::signal(sleeper);
  }

  void thread(uint32_t thread) {
    World& world = World::current();
    if (thread == 0) {
      for (uint32_t i = 0; i < kShape.handovers; ++i) reload(i);
      if (!kShape.stops) end();
    } else if (thread == 1) {
      shard();
    } else {
      if (kShape.stops) {
        asking(0).hurry();
        end();
      }
      while (!asking(0).done()) world.pause();
      require(world.read(&certificate) == 1, "a certificate is not written");
    }
  }
  void finish() {}
};

// A program that faults and faults again: the kernel says what becomes of its shard, and somebody
// may start it by hand at any time.
template <uint32_t kTimes, uint32_t kByHand>
struct LeftShard {
  static constexpr const char* kThreads[] = {"kernel", "shard", "operator"};
  static constexpr uint32_t kRestart = 1;
  vanity::BasicVerdicts<Policy> verdicts;
  alignas(64) Atomic<uint32_t> command{0};
  alignas(64) Atomic<uint32_t> over{0};
  alignas(64) uint64_t evidence = 0;
  uint64_t due = 0;  // the time that the kernel has said restart of

  LeftShard() {
    World& world = World::current();
    world.name_atomic(&verdicts, 8, "left");
    world.name_atomic(reinterpret_cast<const std::byte*>(&verdicts) + 64, 8, "verdict");
    world.name_atomic(&command, 4, "command");
    world.name_atomic(&over, 4, "over");
    world.name(&evidence, 8, "evidence");
    world.name(&due, 8, "due");
  }

  void kernel() {
    World& world = World::current();
    uint64_t seen = 0;
    bool later = false;
    while (over.load(std::memory_order_relaxed) == 0) {
      const uint64_t left = verdicts.left();
      if (left != seen) {
        seen = left;
        require(world.read(&evidence) == left, "the evidence of another time");
        verdicts.judge(vanity::Verdict::seen, left);
        later = world.draw(2) != 0;
        if (!later) verdicts.judge(vanity::Verdict::give_up, left);
      } else if (later) {  // whatever has happened since
        later = false;
        world.write(&due, seen);
        verdicts.judge(vanity::Verdict::restart, seen);
        continue;
      }
      if (!later) world.pause();
    }
  }
  void shard() {
    World& world = World::current();
    for (uint64_t time = 1; time <= kTimes; ++time) {
      world.write(&evidence, time);
      verdicts.leave();
      for (;;) {
        if (over.load(std::memory_order_relaxed) != 0) return;
        const bool by_hand = command.load(std::memory_order_relaxed) == kRestart;
        const vanity::Verdict verdict = verdicts.verdict();
        if (verdict == vanity::Verdict::restart)
          require(world.read(&due) == time, "started anew for another time");
        if (verdicts.may_start(verdict, by_hand)) break;
        world.pause();
      }
      command.store(0, std::memory_order_relaxed);
    }
    over.store(1, std::memory_order_relaxed);
  }
  void operate() {
    for (uint32_t i = 0; i < kByHand; ++i) command.store(kRestart, std::memory_order_relaxed);
    over.store(1, std::memory_order_relaxed);
  }
  void thread(uint32_t thread) {
    if (thread == 0) kernel();
    if (thread == 1) shard();
    if (thread == 2) operate();
  }
  void finish() {}
};

// Two ask for a reload at once, and one of them a second time.
template <uint32_t kRequests>
struct Asked {
  static constexpr const char* kThreads[] = {"kernel", "one", "other"};
  using Mail = vanity::BasicMail<Policy>;
  Atomic<uint32_t> state{0};
  alignas(64) uint64_t request = 0;
  uint64_t asked = 0;  // number of the request
  uint64_t answer = 0;
  alignas(64) Atomic<uint32_t> open{2};
  uint32_t begun = 0;
  uint32_t taken = 0;

  Asked() {
    World& world = World::current();
    world.name_atomic(&state, 4, "state");
    world.name_atomic(&open, 4, "open");
    world.name(&request, 8, "request");
    world.name(&asked, 8, "asked");
    world.name(&answer, 8, "answer");
  }

  void kernel() {
    World& world = World::current();
    for (;;) {
      const bool last = open.load(std::memory_order_acquire) == 0;
      if (Mail::take(state)) {
        ++taken;
        require(world.read(&request) == world.read(&asked), "the request of another number");
        world.write(&answer, taken);
        Mail::settle(state);
      } else if (last) {
        return;
      } else {
        world.pause();
      }
    }
  }
  void ask() {
    World& world = World::current();
    if (Mail::begin(state)) {
      ++begun;
      const uint64_t number = world.read(&asked) + 1;
      require(world.read(&answer) == number - 1, "asked while an answer is written");
      world.write(&request, number);
      world.write(&asked, number);
      Mail::post(state);
    }
  }
  void thread(uint32_t thread) {
    if (thread == 0) {
      kernel();
      return;
    }
    for (uint32_t i = 0; i < (thread == 1 ? kRequests : 1); ++i) ask();
    (void)open.fetch_sub(1, std::memory_order_acq_rel);
  }
  void finish() { require(begun == taken, "a request was lost, or taken twice"); }
};

}  // namespace

int main(int argc, char** argv) {
  const Setup setup{.stale_loads = 1};
  const Setup fresh{.stale_loads = 0};  // races are found all the same
  Setup fences = fresh;
  fences.membarrier = false;
  add<Replaced<Shape{.busy = 1}>>("replaced", How::exhausted, setup);
  add<Replaced<Shape{.lates = 1}>>("replaced, late", How::exhausted, fences);
  add<Replaced<Shape{.busy = 2, .faults = 1}>>("replaced, faults", How::exhausted, fences);
  add<Replaced<Shape{.kernel = true}>>("replaced, certificate", How::exhausted, fresh);
  add<Replaced<Shape{.hurried = true, .stops = true}>>("replaced, stops", How::sampled, setup);
  add<Replaced<Shape{.busy = 2, .sleeps = true}>>("replaced, asleep", How::sampled, setup);
  add<Replaced<Shape{.handovers = 3,
                     .busy = 9,
                     .trial = 2,
                     .holds = 1,
                     .faults = 2,
                     .lates = 3,
                     .sleeps = true,
                     .kernel = true}>>("replaced three times", How::sampled, setup);
  add<Replaced<Shape{.busy = 4, .trial = 2, .lates = 3, .sleeps = true, .stops = true}>>(
      "replaced, stops, late", How::sampled, setup);
  add<LeftShard<2, 1>>("left", How::exhausted, setup);
  add<LeftShard<5, 3>>("left again and again", How::sampled, setup);
  add<Asked<1>>("asked", How::exhausted, setup);
  add<Asked<6>>("asked six times", How::sampled, setup);
  return cases::main(argc, argv);
}
