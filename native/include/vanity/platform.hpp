// What the hot path asks of the processor: a clock, a pause, prefetches, the pair of asymmetric
// fences, and signal(). How a shard waits is native/platform/wait.hpp.
//
// Everything that orders memory or passes time goes through one policy, `Hardware`. A model checker
// or simulator gives its own policy to the same templates and so runs the code that ships.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "vanity/atomic.hpp"
#include "vanity/waits.hpp"

#if defined(__aarch64__) || defined(__riscv) || defined(__x86_64__)
#else
#error "Vanity runs on x86_64, aarch64 and riscv64"
#endif

#if defined(VANITY_SIM)
// The policy build: the simulator in the processor's place, in every source of the runtime. The
// only switch there is.
#include "sim/hardware.hpp"
#else

namespace vanity {

namespace detail {

// Both start at the safe value and are written once, by platform_init(), before any shard runs.
// True: membarrier is missing, so the producer pays for a full fence itself.
inline std::atomic<bool> light_fence_is_full{true};
// True: the processor's counter is not invariant; ticks are nanoseconds of CLOCK_MONOTONIC.
inline std::atomic<bool> ticks_are_ns{false};
// True: threads of other processes sleep, and are slept for. Written once, by platform_share().
inline std::atomic<bool> waits_are_shared{false};

uint64_t fallback_ticks() noexcept;

// A full fence. TSan knows no fences, but knows this.
inline void full_fence() noexcept {
#if defined(__SANITIZE_THREAD__)
  std::atomic<uint32_t> word{0};
  word.fetch_add(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace detail

// TSC, CNTVCT_EL0 or rdtime. ticks_per_second() is in native/platform/clock.hpp.
inline uint64_t now_ticks() noexcept {
  if (__builtin_expect(detail::ticks_are_ns.load(std::memory_order_relaxed), 0)) {
    return detail::fallback_ticks();
  }
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  uint64_t ticks;
  asm volatile("rdtime %0" : "=r"(ticks));
  return ticks;
#endif
}

// Tells a sibling thread and the pipeline that this is a spin loop.
inline void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#else
  asm volatile(".word 0x0100000f" ::: "memory");  // pause (Zihintpause), a hint everywhere
#endif
}

inline void prefetch_read(const void* line) noexcept {
  __builtin_prefetch(line, 0, 3);
}

// Asks for the line with ownership. gcc emits PREFETCHW only with -mprfchw, hence the bytes; x86
// processors without it run it as a NOP.
inline void prefetch_write(const void* line) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" ::"m"(*static_cast<const char*>(line)));
#else
  __builtin_prefetch(line, 1, 3);
#endif
}

// A hint that this core is done with a line which another will write or read next: it goes to the
// cache that both share, where the other finds it sooner than in ours (CLDEMOTE, Intel SDM Vol. 2).
// x86 processors without it run it as a NOP, the others here have no such instruction. For few
// lines that were read a moment ago: each costs cycles here, and one that was written costs many.
inline void demote([[maybe_unused]] const void* line) noexcept {
#if defined(__x86_64__)
  asm volatile("cldemote %0" ::"m"(*static_cast<const char*>(line)));
#endif
}

// Asymmetric fences (P1202): when one thread runs light, look and another writes, heavy, looks, at
// least one of them sees the other. The light one costs the producer a compiler barrier.
inline void light_fence() noexcept {
  if (__builtin_expect(detail::light_fence_is_full.load(std::memory_order_relaxed), 0)) {
    detail::full_fence();
  } else {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
}

// False: another sleeper is in its heavy fence. Linux serialises them under a mutex in which nobody
// could wake us, so go on polling and try again.
bool try_heavy_fence() noexcept;

// Registers membarrier (microseconds in a young process, tens of milliseconds in a threaded one)
// and calibrates the clock. Once, early, from any thread; later calls return at once.
void platform_init();

// Threads of another process that does the same are neighbours from here on: the heavy fence
// reaches them, and a wake finds them. Before any shard of theirs runs; it stays so, and costs a
// sleep more.
void platform_share();

// The processor and the Linux kernel, as the wait and channel templates see them.
struct Hardware : HardwareMemory {
  using Thread = std::thread;

  static uint64_t now() noexcept { return now_ticks(); }
  static uint64_t ticks_of_ns(uint64_t ns) noexcept;
  static void relax() noexcept { vanity::relax(); }
  // Gives the core to whoever else wants it.
  static void yield() noexcept;
  static void light_fence() noexcept { vanity::light_fence(); }
  static bool try_heavy_fence() noexcept { return vanity::try_heavy_fence(); }

  // Sleeps while `word` holds `expected`, until the absolute tick `deadline`.
  static Wake futex_wait(const Atomic<uint32_t>& word, uint32_t expected,
                         uint64_t deadline) noexcept;
  static void futex_wake(Atomic<uint32_t>& word) noexcept;

  // Monitor backends only. monitor() arms on the line of `address`; wait() sleeps until a store to
  // it or until the absolute tick `deadline`. `deep` allows the slower, cheaper sleep state.
  static void monitor(Backend backend, const volatile void* address) noexcept;
  static Wake wait(Backend backend, uint64_t deadline, bool deep) noexcept;
};

}  // namespace vanity
#endif

namespace vanity {

// Where a consumer says that it sleeps in the kernel. A line of its own, written by the consumer,
// read by its producers: while the consumer is awake the line stays shared and the read is a hit.
template <class Policy>
struct alignas(64) BasicSleeper {
  typename Policy::template Atomic<uint32_t> sleeping{0};
};
using Sleeper = BasicSleeper<Hardware>;

template <class Policy>
[[gnu::noinline, gnu::cold]] void signal_slow(BasicSleeper<Policy>& sleeper) noexcept {
  // One producer of many gets the 1 and pays for the system call.
  // Pairs with the load after the sleep in BasicWaiter.
  if (sleeper.sleeping.exchange(0, std::memory_order_seq_cst) != 0) {
    Policy::futex_wake(sleeper.sleeping);
  }
}

// The producer's half of the wake, after its release store of what it publishes. On monitor
// backends the published store is itself the signal and nobody sets `sleeping`.
template <class Policy>
inline void signal(BasicSleeper<Policy>& sleeper) noexcept {
  Policy::light_fence();  // pairs with try_heavy_fence() in BasicWaiter
  // Pairs with the store of 1 in BasicWaiter.
  if (__builtin_expect(sleeper.sleeping.load(std::memory_order_relaxed) != 0, 0)) {
    signal_slow(sleeper);
  }
}

}  // namespace vanity
