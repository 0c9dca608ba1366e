// The simulator as the policy of the shipping templates. Words have the size and the place they
// have in the release build, so the byte maps are the same; outside of an execution, while its
// object is made, they are plain memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "sim/world.hpp"
#include "vanity/atomic.hpp"
#include "vanity/waits.hpp"

namespace vanity::sim {

template <class T>
class Atomic {
 public:
  Atomic() noexcept = default;
  constexpr Atomic(T value) noexcept : word_(value) {
    if (!std::is_constant_evaluated() && World::running()) World::current().begins(&word_);
  }
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order order = std::memory_order_seq_cst) const {
    if (!World::running()) return word_;
    return static_cast<T>(World::current().load(&word_, sizeof(T), order));
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    if (!World::running()) {
      word_ = value;
      return;
    }
    World::current().store(&word_, sizeof(T), static_cast<uint64_t>(value), order);
  }
  T exchange(T value, std::memory_order order = std::memory_order_seq_cst) {
    return change(value, order, [](uint64_t, uint64_t operand) { return operand; });
  }
  T fetch_or(T bits, std::memory_order order = std::memory_order_seq_cst) {
    return change(bits, order, [](uint64_t old, uint64_t operand) { return old | operand; });
  }
  T fetch_add(T n, std::memory_order order = std::memory_order_seq_cst) {
    return change(n, order, [](uint64_t old, uint64_t operand) { return old + operand; });
  }
  T fetch_sub(T n, std::memory_order order = std::memory_order_seq_cst) {
    return change(n, order, [](uint64_t old, uint64_t operand) { return old - operand; });
  }
  // As a read-modify-write that leaves what it found where that was not expected.
  bool compare_exchange_strong(T& expected, T wanted,
                               std::memory_order order = std::memory_order_seq_cst) {
    static_assert(sizeof(T) <= 4);
    constexpr uint64_t kLow = 0xffffffff;
    const uint64_t both = uint64_t{expected} << 32 | wanted;
    const uint64_t old = exchange_by(both, order, [](uint64_t found, uint64_t operand) {
      return found == operand >> 32 ? operand & kLow : found;
    });
    const bool same = old == expected;
    expected = static_cast<T>(old);
    return same;
  }
  // A read-modify-write of any kind.
  T change(T operand, std::memory_order order, uint64_t (*how)(uint64_t, uint64_t)) {
    return exchange_by(static_cast<uint64_t>(operand), order, how);
  }
  // As it is in memory, for who looks from outside: no step of any thread.
  T peek() const noexcept { return word_; }

 private:
  T exchange_by(uint64_t operand, std::memory_order order, uint64_t (*how)(uint64_t, uint64_t)) {
    if (!World::running()) {
      const T old = word_;
      word_ = static_cast<T>(how(static_cast<uint64_t>(old), operand));
      return old;
    }
    return static_cast<T>(World::current().exchange(&word_, sizeof(T), how, operand, order));
  }

  T word_;
};

template <class T>
class Ref {
 public:
  explicit Ref(T& word) noexcept : word_(&word) {}
  void store(T value, std::memory_order order) {
    World::current().store(word_, sizeof(T), static_cast<uint64_t>(value), order);
  }
  T fetch_add(T n, std::memory_order order) {
    return change(n, order, [](uint64_t old, uint64_t operand) { return old + operand; });
  }
  T fetch_sub(T n, std::memory_order order) {
    return change(n, order, [](uint64_t old, uint64_t operand) { return old - operand; });
  }

 private:
  T change(T operand, std::memory_order order, uint64_t (*how)(uint64_t, uint64_t)) {
    return static_cast<T>(
        World::current().exchange(word_, sizeof(T), how, static_cast<uint64_t>(operand), order));
  }

  T* word_;
};

// A body that begins when the execution does, as its next thread; or at once, as a spare one.
class Thread {
 public:
  Thread() noexcept = default;
  explicit Thread(std::function<void()> body) : number_(World::current().begin(std::move(body))) {}
  bool joinable() const noexcept { return number_ != kNone; }
  void join() {
    if (World::running()) World::current().join(number_);
    number_ = kNone;
  }
  void detach() noexcept { number_ = kNone; }

 private:
  static constexpr uint32_t kNone = ~0u;
  uint32_t number_ = kNone;
};

struct Policy : EdgeMemory<Atomic> {
  template <class T>
  using Ref = sim::Ref<T>;
  using Thread = sim::Thread;

  static uint64_t now() { return World::running() ? World::current().now() : 0; }
  static uint64_t ticks_of_ns(uint64_t ns) { return ns; }
  static void relax() { World::current().relax(); }
  static void yield() { World::current().relax(); }
  static void light_fence() { World::current().light_fence(); }
  static bool try_heavy_fence() { return World::current().try_heavy_fence(); }
  static Wake futex_wait(const Atomic<uint32_t>& word, uint32_t expected, uint64_t deadline) {
    return World::current().futex_wait(&word, expected, deadline);
  }
  static void futex_wake(Atomic<uint32_t>& word) { World::current().futex_wake(&word); }
  static void monitor(Backend, const volatile void* address) {
    World::current().monitor(const_cast<const void*>(address));
  }
  static Wake wait(Backend, uint64_t deadline, bool) { return World::current().wait(deadline); }
  static uint64_t marks(const Atomic<uint8_t>* line) { return World::current().marks(line); }
  static void prefetch_write(const void*) {}
  static void prefetch_read(const void*) {}
};

// The same for words that are not atomics by their type: the rings that a device shares.
struct Bus {
  class Order {
   public:
    explicit Order(bool) noexcept {}
    void before_publish() const { World::current().release_fence(); }
    void after_observe() const { World::current().acquire_fence(); }
    void between_store_and_look() const { World::current().fence(); }
  };
  template <class T>
  static T look(const T& word) {
    if (!World::running()) return word;
    return static_cast<T>(World::current().load(&word, sizeof(T), std::memory_order_relaxed));
  }
  template <class T>
  static void put(T& word, T value) {
    if (!World::running())
      word = value;
    else
      World::current().store(&word, sizeof(T), value, std::memory_order_relaxed);
  }
  // Zeros, whatever words were there.
  static void clear(std::byte* at, uint32_t bytes) {
    std::memset(at, 0, bytes);
    if (World::running()) World::current().clear(at, bytes);
  }
};

}  // namespace vanity::sim
