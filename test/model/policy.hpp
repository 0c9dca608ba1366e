// Relacy as the policy of the shipping templates: its atomics, fences and futex instead of the
// processor's. Include the headers under test before this one: Relacy redefines the names of the
// memory orders, `new` and others.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <relacy/relacy.hpp>
#include <relacy/stdlib/pthread.hpp>

namespace model {

// Both enumerations have the order of the standard.
inline rl::memory_order order_of(std::memory_order order) {
  return static_cast<rl::memory_order>(static_cast<int>(order));
}

// A word. One that is `watched` ends the futex-modelled monitor of its consumer with every store.
template <class T>
class Atomic {
 public:
  Atomic() { word_.store(0, rl::mo_relaxed, $); }
  Atomic(T value) { word_.store(static_cast<int>(value), rl::mo_relaxed, $); }

  T load(std::memory_order order) const { return static_cast<T>(word_.load(order_of(order), $)); }
  void store(T value, std::memory_order order) {
    word_.store(static_cast<int>(value), order_of(order), $);
    if (watched) rl::rl_futex(&word_, rl::RL_FUTEX_WAKE, 1, nullptr, nullptr, 0, $);
  }
  T exchange(T value, std::memory_order order) {
    return static_cast<T>(word_.exchange(static_cast<int>(value), order_of(order), $));
  }
  T fetch_or(T bits, std::memory_order order) {
    return static_cast<T>(word_.fetch_or(static_cast<int>(bits), order_of(order), $));
  }
  rl::atomic<int>& raw() { return word_; }
  bool watched = false;

 private:
  rl::atomic<int> word_;
};

// What a mutant leaves out.
enum class Without { nothing, light_fence, heavy_fence, second_look };

template <Without kWithout>
struct Policy {
  template <class T>
  using Atomic = model::Atomic<T>;
  using Wake = vanity::Wake;
  using Backend = vanity::Backend;

  // Time stands still: no deadline rescues a lost wake, so Relacy sees a deadlock.
  static uint64_t now() { return 0; }
  static uint64_t ticks_of_ns(uint64_t) { return 1; }
  static void relax() {}

  static void light_fence() {
    if (kWithout != Without::light_fence) rl::atomic_thread_fence(rl::mo_seq_cst, $);
  }
  static bool try_heavy_fence() {
    if (kWithout != Without::heavy_fence) rl::atomic_thread_fence(rl::mo_seq_cst, $);
    blind() = kWithout == Without::second_look;
    return true;
  }
  static Wake futex_wait(const Atomic<uint32_t>& word, uint32_t expected, uint64_t) {
    rl::rl_futex(&const_cast<Atomic<uint32_t>&>(word).raw(), rl::RL_FUTEX_WAIT,
                 static_cast<int>(expected), nullptr, nullptr, 0, $);
    return Wake::spurious;
  }
  static void futex_wake(Atomic<uint32_t>& word) {
    rl::rl_futex(&word.raw(), rl::RL_FUTEX_WAKE, 1, nullptr, nullptr, 0, $);
  }

  // The monitor of a processor: wait() sleeps unless the word was stored to since monitor().
  static void monitor(Backend, const volatile void* address) {
    watched() = static_cast<Atomic<uint32_t>*>(const_cast<void*>(address));
    rl::atomic_thread_fence(rl::mo_seq_cst, $);
    armed() = watched()->load(std::memory_order(5));
    blind() = kWithout == Without::second_look;
  }
  static Wake wait(Backend, uint64_t, bool) {
    rl::rl_futex(&watched()->raw(), rl::RL_FUTEX_WAIT, static_cast<int>(armed()), nullptr, nullptr,
                 0, $);
    return Wake::spurious;
  }

  // The orders are those of HardwareMemory in native/include/vanity/atomic.hpp.
  template <vanity::Edge, class T>
  static void mirror(Atomic<T>& word, T value) {
    word.store(value, std::memory_order(0));
  }
  template <vanity::Edge, class T>
  static void publish(Atomic<T>& word, T value) {
    word.store(value, std::memory_order(3));
  }
  template <vanity::Edge, class T>
  static void publish_bits(Atomic<T>& word, T bits) {
    word.fetch_or(bits, std::memory_order(3));
  }
  template <vanity::Edge, class T>
  static T take(Atomic<T>& word, T value) {
    return word.exchange(value, std::memory_order(4));
  }
  static uint64_t marks(const Atomic<uint8_t>* line) {
    uint64_t mask = 0;
    for (unsigned i = 0; i < 2; ++i) {  // the models have two producers
      if (line[i].load(std::memory_order(0)) != 0) mask |= uint64_t{1} << i;
    }
    return mask;
  }

  // Of the only consumer. Every execution starts them anew by monitor() or try_heavy_fence().
  static bool& blind() {
    static bool is = false;
    return is;
  }
  static Atomic<uint32_t>*& watched() {
    static Atomic<uint32_t>* word = nullptr;
    return word;
  }
  static uint32_t& armed() {
    static uint32_t value = 0;
    return value;
  }
};

inline int passed = 0;
inline int failed = 0;

// A check must pass, a mutant must not.
template <class Suite>
void expect(const char* name, bool correct, rl::scheduler_type_e search, unsigned iterations) {
  rl::test_params params;
  params.search_type = search;
  params.iteration_count = iterations;
  params.execution_depth_limit = 500;
  params.context_bound = 3;
  static std::ofstream quiet("/dev/null");
  params.output_stream = &quiet;
  params.progress_stream = &quiet;
  const bool clean = rl::simulate<Suite>(params);
  const bool good = clean == correct;
  (good ? passed : failed) += 1;
  std::printf("%s - %s: %s after %llu executions\n", good ? "ok" : "not ok", name,
              clean ? "no error" : rl::test_result_str(params.test_result),
              static_cast<unsigned long long>(params.stop_iteration));
}

}  // namespace model
