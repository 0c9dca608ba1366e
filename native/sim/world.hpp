// One execution: threads that are fibers, memory as they see it, and a search that decides whose
// step is next and what it finds.
//
// Every operation of the policy is a step: it is announced, other threads may go first, then it is
// done at once and noted. So an execution is a list of decisions, and the same list is the same
// execution on any processor.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "platform/fiber.hpp"
#include "platform/fiber_stack.hpp"
#include "sim/memory.hpp"
#include "vanity/waits.hpp"

namespace vanity::sim {

class World;

// What a thread is about to do, or did.
enum class Kind : uint8_t {
  start,
  load,
  store,
  exchange,
  fence,        // full
  heavy_fence,  // of all threads: begins; then one `reach` for each
  reach,        // the heavy fence reaches a thread
  drain,        // a store leaves the buffer
  read,         // plain
  write,        // plain
  monitor,
  wait,  // on a monitored line
  futex_wait,
  futex_wake,
  wake,    // a wait returns
  pause,   // until there is something new
  resume,  // there is
  says,    // in words, what a scenario did
  now,
  finish,
};

struct Operation {
  Kind kind = Kind::start;
  bool writes = false;
  uint32_t key = kNowhere;  // the address, from the scenario's beginning; of `reach`, the thread
  uint32_t thread = 0;
  bool sequential = false;  // seq_cst: ordered with every fence

  static constexpr uint32_t kNowhere = ~0u;
  // Neither sees whether the other went first.
  static bool independent(const Operation& a, const Operation& b) noexcept;
};

// A line of the trace.
struct Event {
  uint64_t time = 0;
  uint64_t value = 0;
  uint32_t key = Operation::kNowhere;
  uint32_t from_step = 0;  // of a load: who wrote what it found; of a drain: the store
  Kind kind = Kind::start;
  uint8_t thread = 0;
  uint8_t from_thread = 0;
  uint8_t age = 0;  // of a load: how many newer ones it did not find
  std::memory_order order = std::memory_order_relaxed;
};

enum class Verdict : uint8_t {
  good,
  abandoned,  // the search has been here
  order,      // an element lost, twice, out of order or torn
  race,       // plain data touched by two threads with nothing that orders them
  lost_wake,
  stuck,    // nobody can go on
  endless,  // more steps than it should take
  broken,   // an assertion of the scenario or of the code
};
const char* name_of(Verdict verdict) noexcept;

// What a search may be asked to decide besides whose step is next.
enum class Question : uint8_t { age, early_return, refuse, chance };

class Search {
 public:
  static constexpr uint32_t kAbandon = ~0u;

  virtual ~Search() = default;
  // One of the bits of `enabled`: threads, then their store buffers.
  virtual uint32_t actor(World& world, Mask enabled) = 0;
  // Below `options`, which is at least 2; 0 is what happens most.
  virtual uint32_t choose(World& world, Question question, uint32_t options) = 0;
};

// What to run: threads over one object that is made anew for each execution.
struct Scenario {
  const char* name = "";
  std::vector<const char*> threads;
  size_t bytes = 0;
  void (*create)(void* object) = nullptr;
  void (*thread)(void* object, uint32_t thread) = nullptr;
  void (*finish)(void* object) = nullptr;  // all threads have ended
  void (*destroy)(void* object) = nullptr;
  // Else its memory is not cleared before it is made; and words may lie outside of it.
  bool contained = true;
  // Of the threads the last so many begin later: begin(), of another one.
  uint32_t spares = 0;
  // Asked when nobody goes on but by a deadline: does this thread, which is asleep, miss something
  // that it should have been woken for? Null: no.
  const char* (*missed)(const void* object, uint32_t thread, bool monitoring) = nullptr;
};

struct Setup {
  Model model = Model::weak;
  bool membarrier = true;       // else both sides of the wake run a full fence
  uint32_t steps_max = 2000;    // of an execution: more is no progress
  uint32_t stale_loads = 3;     // of each thread, that don't find the newest; bounds the search
  uint32_t early_returns = 0;   // of each thread's waits, for no reason or by their deadline
  uint32_t refusals = 0;        // of each thread's heavy fences
  uint64_t ticks_per_step = 0;  // 0: time stands still, and no deadline comes
};

#pragma GCC visibility push(default)  // modules find it in vanity-sim: system/exports.map
class World {
 public:
  World();

  // Runs it once. `object` has scenario.bytes, aligned to 128.
  Verdict run(const Scenario& scenario, const Setup& setup, void* object, Search& search);
  static World& current() noexcept { return *current_world; }
  // False while an object is made, and outside of executions.
  static bool running() noexcept { return current_world != nullptr && current_world->running_; }

  // ---- operations of the thread that runs, by address
  uint64_t load(const void* word, uint32_t bytes, std::memory_order order);
  void store(void* word, uint32_t bytes, uint64_t value, std::memory_order order);
  uint64_t exchange(void* word, uint32_t bytes, uint64_t (*change)(uint64_t, uint64_t),
                    uint64_t operand, std::memory_order order);
  // A store of 0 to each word that is known there.
  void clear(const std::byte* at, uint32_t bytes);
  void fence();
  // Of the thread's own past and future only: no step.
  void acquire_fence();
  void release_fence();
  void light_fence();
  bool try_heavy_fence();
  uint64_t read(const void* word);
  void write(void* word, uint64_t value);
  void monitor(const void* address);
  Wake wait(uint64_t deadline);
  Wake futex_wait(const void* word, uint32_t expected, uint64_t deadline);
  void futex_wake(void* word);
  uint64_t now() const noexcept;
  // A turn of a loop that looks again: the second without anything new in between waits for it.
  void relax();
  // Until the time is over; or as long as is drawn, 10 us to 10 ms.
  void nap(uint64_t deadline);
  void nap_for_a_while();
  // Until that thread has ended: it knows what that one knew.
  void join(uint32_t thread);
  // A turn of looks found nothing: goes on when a word that it looked at is no more what it was at
  // the first look. What a later look found may have come too late for an earlier decision.
  void pause();
  // Bits of the bytes of a 64-byte line that are not zero.
  uint64_t marks(const void* line);
  uint32_t self() const noexcept { return self_; }
  // While the object is made: what the next thread does. Later: what a spare one does, from here
  // on; it knows what this one knows. Of a scenario that has no `thread`.
  uint32_t begin(std::function<void()> body);

  // ---- what scenarios say
  [[noreturn]] void fail(Verdict verdict, const char* what);
  // A line of the trace.
  void say(std::string text);
  void name(const void* address, uint32_t bytes, const char* name);
  // An atomic begins its life there, whatever was there before.
  void begins(const void* address) { memory_.forget(address); }
  // While the object is made, with its first value: those of a doorbell must be.
  void name_atomic(const void* address, uint32_t bytes, const char* name);
  // While this sleeps, `waiting` says whether there is input for it.
  void watch(uint32_t sleeper, bool (*waiting)(const void* object));
  // The thread that runs is about to give the sleeper input and will signal; and has.
  void promise(uint32_t sleeper) noexcept;
  void fulfil(uint32_t sleeper) noexcept;
  uint32_t draw(uint32_t options) { return choose(Question::chance, options); }

  // ---- what searches see
  uint32_t threads() const noexcept { return count_; }
  uint32_t last_actor() const noexcept { return last_actor_; }
  const Operation& pending(uint32_t actor) const noexcept;
  const Operation& done() const noexcept { return done_; }  // the last step
  uint32_t steps() const noexcept { return static_cast<uint32_t>(events_.size()); }
  // The same after any order of the same independent steps.
  uint64_t state() const noexcept;

  // ---- of the last execution
  Verdict verdict() const noexcept { return verdict_; }
  const std::string& what() const noexcept { return what_; }
  const std::vector<Event>& events() const noexcept { return events_; }
  // The decisions that had a choice, in order.
  const std::vector<uint8_t>& decisions() const noexcept { return decisions_; }
  std::string name_of(uint32_t key) const;
  const std::string& said(uint64_t number) const noexcept { return said_[number]; }
  const Scenario& scenario() const noexcept { return *scenario_; }
  const Setup& setup() const noexcept { return setup_; }

 private:
  enum class Status : uint8_t { ready, asleep, monitoring, paused, napping, joining, ended };
  // As much as a thread has.
  static constexpr size_t kStackBytes = size_t{8} << 20;
  struct Thread {
    Fiber fiber;
    FiberStack stack{kStackBytes};
    Operation pending;
    Status status;
    bool begun;
    bool woken;  // asleep or monitoring: it may go on
    bool armed;  // monitors `line`
    bool fired;  // a store came since
    bool early;  // returns when it likes, as `early_as`
    Wake early_as;
    uint32_t line;
    uint32_t futex;  // key
    uint32_t joined;
    uint64_t deadline;
    uint64_t past;  // hash of all it did and found
    uint32_t stale_left, early_left, refusals_left;
    uint32_t idle_turns;
    struct Look {
      uint32_t location;
      uint32_t number;  // of the store that it found first
    };
    void look(uint32_t location, uint32_t number);
    std::vector<Look> looked;  // since the last pause
    uint32_t slept_at;         // step
    const char* waits_for;
  };
  struct Watch {
    bool (*waiting)(const void*) = nullptr;
    uint32_t promised = 0;  // who is between its store and the end of its signal, one bit each
    uint32_t wakers = 0;    // who ever was
    uint32_t last_thread = 0, last_step = 0;
  };

  static void enter(void* thread);
  void prepare(uint32_t thread);
  bool is_spare(uint32_t thread) const noexcept { return thread >= count_ - scenario_->spares; }
  void announce(Operation operation);
  void announce_store(Kind kind, uint32_t key, bool sequential = false);
  uint64_t sequenced(uint32_t location, uint32_t number, uint64_t found);
  void go_on();
  uint64_t next_deadline() const noexcept;
  [[noreturn]] void leave();
  void end_of_run();
  Mask enabled() const noexcept;
  bool enabled(const Thread& thread, uint32_t index) const noexcept;
  bool local(const Operation& operation) const noexcept;
  void drain(uint32_t thread);
  void stored(uint32_t key);  // wakes whoever monitors the line
  uint32_t choose(Question question, uint32_t options);
  void note(const Event& event, uint64_t found);
  void check_sleepers();
  void check_missed();
  bool time_passes() const noexcept { return setup_.ticks_per_step != 0; }
  Wake sleep(Status status, uint64_t deadline);
  uint32_t touch(const void* word, uint32_t bytes);

  static inline World* current_world = nullptr;

  Memory memory_;
  Fiber main_;
  std::array<Thread, kThreadsMax> threads_;
  std::array<Watch, kThreadsMax> watches_;
  std::vector<Event> events_;
  std::vector<uint8_t> decisions_;
  std::vector<std::function<void()>> bodies_;
  std::string what_;
  std::vector<std::string> said_;
  const Scenario* scenario_ = nullptr;
  Setup setup_;
  std::byte* object_ = nullptr;
  Search* search_ = nullptr;
  Verdict verdict_ = Verdict::good;
  bool running_ = false;
  uint32_t count_ = 0;
  uint32_t self_ = 0;
  uint32_t last_actor_ = 0;
  uint32_t watched_ = 0;  // threads with a watch
  Operation done_;
  mutable Operation draining_;
  uint64_t time_ = 0;
  uint32_t fences_ = 0;  // so far, of all
  struct Name {
    uint32_t key, bytes;
    const char* name;
  };
  std::vector<Name> names_;
};
#pragma GCC visibility pop

// For the length of a producer's publish and signal.
class Promise {
 public:
  explicit Promise(uint32_t sleeper) noexcept : sleeper_(sleeper) {
    World::current().promise(sleeper);
  }
  ~Promise() { World::current().fulfil(sleeper_); }
  Promise(const Promise&) = delete;
  Promise& operator=(const Promise&) = delete;

 private:
  uint32_t sleeper_;
};

}  // namespace vanity::sim
