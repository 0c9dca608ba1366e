// Two threads, each pinned to its processor, that end together whatever happens to one of them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>

namespace vanity::wake {

class Pair {
 public:
  // Runs both bodies and returns when both have. After `max_ns`, stop() or an error of one, the
  // bodies must end by themselves: they look at stopped(), and `kick`, called again and again from
  // here, gets them out of a kernel that sleeps without a bound. Rethrows what a body threw.
  void run(uint32_t a_cpu, const std::function<void()>& a, uint32_t b_cpu,
           const std::function<void()>& b, uint64_t max_ns, const std::function<void()>& kick);

  // From any thread, also before run().
  void stop() noexcept;
  bool stopped() const noexcept { return stopped_.load(std::memory_order_relaxed); }

  // Where both bodies meet; false when the other will not come.
  bool meet() noexcept;

 private:
  void body(uint32_t cpu, const char* name, const std::function<void()>& run) noexcept;

  // Relaxed everywhere: it orders nothing, the joins do.
  std::atomic<bool> stopped_{false};
  std::atomic<uint32_t> met_{0};
  uint32_t ended_ = 0;  // under mutex_
  std::exception_ptr error_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace vanity::wake
