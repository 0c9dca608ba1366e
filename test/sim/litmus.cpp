// The simulator's own memory against what is known of memories: each litmus test is exhausted, and
// must show every outcome that its model allows and no other. Once more without reductions: they
// may leave out executions, but no outcome.
#include <set>
#include <string>

#include "cases.hpp"

namespace {

using namespace cases;

std::set<std::string> outcomes;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kOne = std::memory_order_seq_cst;  // order of all

struct Words {
  alignas(64) Atomic<uint32_t> x{0};
  alignas(64) Atomic<uint32_t> y{0};
  uint32_t r[4] = {};
  uint32_t results = 2;

  void finish() {
    std::string outcome;
    for (uint32_t i = 0; i < results; ++i) outcome += static_cast<char>('0' + r[i]);
    outcomes.insert(outcome);
  }
};

enum class Fence { none, full, light, heavy };
void fence(Fence kind) {
  if (kind == Fence::full) World::current().fence();
  if (kind == Fence::light) World::current().light_fence();
  if (kind == Fence::heavy) (void)World::current().try_heavy_fence();
}

// Each side stores and then looks at the other's.
template <Fence kFirst, Fence kSecond>
struct StoreBuffering : Words {
  static constexpr const char* kThreads[] = {"first", "second"};
  void thread(uint32_t thread) {
    if (thread == 0) {
      x.store(1, kRelaxed);
      fence(kFirst);
      r[0] = y.load(kRelaxed);
    } else {
      y.store(1, kRelaxed);
      fence(kSecond);
      r[1] = x.load(kRelaxed);
    }
  }
};

// By ordered accesses instead of fences; the second side may use a fence still.
template <std::memory_order kStore, std::memory_order kLoad, bool kFence = false>
struct OrderedBuffering : Words {
  static constexpr const char* kThreads[] = {"first", "second"};
  void thread(uint32_t thread) {
    if (thread == 0) {
      x.exchange(1, kStore);
      r[0] = y.load(kLoad);
    } else if (kFence) {
      y.store(1, kRelaxed);
      World::current().fence();
      r[1] = x.load(kRelaxed);
    } else {
      y.store(1, kStore);
      r[1] = x.load(kLoad);
    }
  }
};

template <std::memory_order kStore, std::memory_order kLoad>
struct MessagePassing : Words {
  static constexpr const char* kThreads[] = {"writer", "reader"};
  void thread(uint32_t thread) {
    if (thread == 0) {
      x.store(1, kRelaxed);
      y.store(1, kStore);
    } else {
      r[0] = y.load(kLoad);
      r[1] = x.load(kRelaxed);
    }
  }
};

// By fences instead of ordered operations.
struct FencedPassing : Words {
  static constexpr const char* kThreads[] = {"writer", "reader"};
  void thread(uint32_t thread) {
    if (thread == 0) {
      x.store(1, kRelaxed);
      World::current().release_fence();
      y.store(1, kRelaxed);
    } else {
      r[0] = y.load(kRelaxed);
      World::current().acquire_fence();
      r[1] = x.load(kRelaxed);
    }
  }
};

struct LoadBuffering : Words {
  static constexpr const char* kThreads[] = {"first", "second"};
  void thread(uint32_t thread) {
    Atomic<uint32_t>& mine = thread == 0 ? x : y;
    r[thread] = (thread == 0 ? y : x).load(kRelaxed);
    mine.store(1, kRelaxed);
  }
};

// One location is never found older than it was.
struct Coherence : Words {
  static constexpr const char* kThreads[] = {"writer", "reader"};
  void thread(uint32_t thread) {
    if (thread == 0) {
      x.store(1, kRelaxed);
      x.store(2, kRelaxed);
    } else {
      r[0] = x.load(kRelaxed);
      r[1] = x.load(kRelaxed);
    }
  }
};

// Do two readers agree on which of two independent writes came first?
template <std::memory_order kStore, std::memory_order kLoad>
struct Independent : Words {
  static constexpr const char* kThreads[] = {"x", "y", "x then y", "y then x"};
  Independent() { results = 4; }
  void thread(uint32_t thread) {
    if (thread == 0) x.store(1, kStore);
    if (thread == 1) y.store(1, kStore);
    if (thread == 2) {
      r[0] = x.load(kLoad);
      r[1] = y.load(kLoad);
    }
    if (thread == 3) {
      r[2] = y.load(kLoad);
      r[3] = x.load(kLoad);
    }
  }
};

// What was handed on by a second thread.
struct Causality : Words {
  static constexpr const char* kThreads[] = {"writer", "between", "reader"};
  Causality() { results = 3; }
  void thread(uint32_t thread) {
    if (thread == 0) x.store(1, kRelaxed);
    if (thread == 1) {
      r[0] = x.load(kAcquire);
      y.store(1, kRelease);
    }
    if (thread == 2) {
      r[1] = y.load(kAcquire);
      r[2] = x.load(kRelaxed);
    }
  }
};

// A read-modify-write goes on with what it replaces, a store does not.
template <bool kExchange>
struct ReleaseSequence : Words {
  static constexpr const char* kThreads[] = {"writer", "between", "reader"};
  void thread(uint32_t thread) {
    if (thread == 0) {
      x.store(1, kRelaxed);
      y.store(1, kRelease);
    }
    if (thread == 1 && y.load(kRelaxed) == 1) {
      if (kExchange)
        y.exchange(2, kRelaxed);
      else
        y.store(2, kRelaxed);
    }
    if (thread == 2) {
      r[0] = y.load(kAcquire);
      r[1] = x.load(kRelaxed);
    }
  }
};

struct Additions : Words {
  static constexpr const char* kThreads[] = {"first", "second"};
  void thread(uint32_t thread) { r[thread] = x.fetch_add(1, kRelaxed); }
};

using Set = std::set<std::string>;
Set every_of(uint32_t digits) {
  Set all{""};
  for (uint32_t i = 0; i < digits; ++i) {
    Set longer;
    for (const auto& each : all) longer.insert({each + '0', each + '1'});
    all = longer;
  }
  return all;
}
Set but(Set from, const Set& what) {
  for (const auto& each : what) from.erase(each);
  return from;
}

std::string text_of(const Set& set) {
  std::string text;
  for (const auto& each : set) text += ' ' + each;
  return text;
}

template <class S>
void expect(const char* name, Model model, const Set& allowed, bool membarrier = true) {
  const Setup setup{.model = model, .membarrier = membarrier, .stale_loads = 9};
  Outcome reduced;
  for (const bool reduce : {true, false}) {
    Hunter hunter(scenario<S>(name), setup);
    outcomes.clear();
    const Outcome outcome = hunter.exhaust({}, reduce);
    const bool good = outcome.exhausted && outcomes == allowed;
    (good ? passed : failures) += 1;
    if (reduce) reduced = outcome;
    if (good && reduce) continue;
    std::printf("%s - %s, %s memory:%s, in %llu schedules", good ? "ok" : "not ok", name,
                name_of(model), text_of(outcomes).c_str(),
                static_cast<unsigned long long>(outcome.schedules));
    if (good)
      std::printf(", reduced to %llu", static_cast<unsigned long long>(reduced.schedules));
    else
      std::printf(", and not%s, by %s search: %s", text_of(allowed).c_str(),
                  reduce ? "the reduced" : "the full", outcome.what.c_str());
    std::printf("\n");
  }
}

}  // namespace

int main() {
  constexpr Model kWeak = Model::weak;
  constexpr Model kTso = Model::tso;
  constexpr Model kSequential = Model::sequential;
  const Set all = every_of(2);
  using Fences = StoreBuffering<Fence::full, Fence::full>;
  using Asymmetric = StoreBuffering<Fence::heavy, Fence::light>;
  for (const Model model : {kWeak, kTso}) {
    expect<StoreBuffering<Fence::none, Fence::none>>("store buffering", model, all);
    expect<Fences>("store buffering, fences", model, but(all, {"00"}));
    expect<Asymmetric>("store buffering, membarrier", model, but(all, {"00"}));
    expect<Asymmetric>("store buffering, both full", model, but(all, {"00"}), false);
    expect<StoreBuffering<Fence::heavy, Fence::none>>("store buffering, one membarrier", model,
                                                      but(all, {"00"}));
    expect<StoreBuffering<Fence::full, Fence::none>>("store buffering, one fence", model, all);
    expect<OrderedBuffering<kOne, kOne>>("store buffering, in one order", model, but(all, {"00"}));
    expect<OrderedBuffering<kOne, kOne, true>>("store buffering, a fence and in one order", model,
                                               but(all, {"00"}));
    expect<MessagePassing<kRelease, kAcquire>>("message passing", model, but(all, {"10"}));
    expect<FencedPassing>("message passing, fences", model, but(all, {"10"}));
    // Of what a processor may do this alone is left out: a load that finds a store which its own
    // thread's later store made possible. Races of plain words tell of it instead.
    expect<LoadBuffering>("load buffering", model, but(all, {"11"}));
    expect<Coherence>("coherence", model, {"00", "01", "02", "11", "12", "22"});
    expect<Causality>("causality", model, but(every_of(3), {"110"}));
    expect<Additions>("additions", model, {"01", "10"});
    expect<ReleaseSequence<true>>("release sequence", model, {"00", "01", "11", "21"});
  }
  expect<StoreBuffering<Fence::none, Fence::none>>("store buffering", kSequential,
                                                   but(all, {"00"}));
  expect<OrderedBuffering<kOne, kAcquire>>("store buffering, acquired", kWeak, all);
  expect<OrderedBuffering<kRelease, kOne>>("store buffering, released", kWeak, all);
  expect<MessagePassing<kRelaxed, kAcquire>>("relaxed store", kWeak, all);
  expect<MessagePassing<kRelaxed, kAcquire>>("relaxed store", kTso, but(all, {"10"}));
  expect<MessagePassing<kRelease, kRelaxed>>("relaxed load", kWeak, all);
  expect<MessagePassing<kRelease, kRelaxed>>("relaxed load", kTso, but(all, {"10"}));
  expect<ReleaseSequence<false>>("no release sequence", kWeak, {"00", "01", "11", "20", "21"});
  using Disagreeing = Independent<kRelease, kAcquire>;
  using Agreeing = Independent<kOne, kOne>;
  expect<Disagreeing>("independent writes", kWeak, every_of(4));
  expect<Agreeing>("independent writes, in one order", kWeak, but(every_of(4), {"1010"}));
  expect<Disagreeing>("independent writes", kTso, but(every_of(4), {"1010"}));
  std::printf("%d passed, %d failed\n", passed, failures);
  return failures == 0 ? 0 : 1;
}
