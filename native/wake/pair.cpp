#include "wake/pair.hpp"

#include <sched.h>

#include <chrono>
#include <system_error>
#include <thread>

#include "platform/error.hpp"
#include "platform/topology.hpp"

namespace vanity::wake {

void Pair::run(uint32_t a_cpu, const std::function<void()>& a, uint32_t b_cpu,
               const std::function<void()>& b, uint64_t max_ns, const std::function<void()>& kick) {
  std::thread first;
  std::thread second;
  try {
    first = std::thread([&] { body(a_cpu, "wake-from", a); });
    second = std::thread([&] { body(b_cpu, "wake-to", b); });
  } catch (const std::system_error& failure) {
    stop();
    if (first.joinable()) first.join();
    throw Error("VANITY_E_MEMORY", std::string("cannot start a thread: ") + failure.what());
  }
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::nanoseconds(max_ns),
                      [&] { return ended_ == 2 || stopped(); });
    while (ended_ < 2) {
      stopped_.store(true, std::memory_order_relaxed);
      kick();
      changed_.wait_for(lock, std::chrono::milliseconds(1), [&] { return ended_ == 2; });
    }
  }
  first.join();
  second.join();
  if (error_) std::rethrow_exception(error_);
}

void Pair::stop() noexcept {
  const std::lock_guard lock(mutex_);
  stopped_.store(true, std::memory_order_relaxed);
  changed_.notify_all();
}

bool Pair::meet() noexcept {
  // Releases what this side prepared. Pairs with the load below in the other thread.
  const uint32_t arrived = met_.fetch_add(1, std::memory_order_acq_rel) + 1;
  const uint32_t both = arrived + arrived % 2;
  // Pairs with the fetch_add of the other thread.
  while (met_.load(std::memory_order_acquire) < both) {
    if (stopped()) return false;
    sched_yield();
  }
  return !stopped();
}

void Pair::body(uint32_t cpu, const char* name, const std::function<void()>& run) noexcept {
  std::exception_ptr error;
  try {
    set_thread_name(name);
    pin_thread(cpu);
    run();
  } catch (...) {
    error = std::current_exception();
    stop();
  }
  const std::lock_guard lock(mutex_);
  if (error && !error_) error_ = error;
  ++ended_;
  changed_.notify_all();
}

}  // namespace vanity::wake
