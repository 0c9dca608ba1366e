// The heavy half of the asymmetric fences, and platform_init().
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mutex>

#include "platform/clock.hpp"
#include "vanity/platform.hpp"

namespace vanity {
namespace {

std::atomic<uint32_t> heavy_fence_held{0};

long membarrier(int command) noexcept {
  return syscall(__NR_membarrier, command, 0, 0);
}

bool register_membarrier() noexcept {
#if defined(__SANITIZE_THREAD__)
  return false;  // TSan sees full fences on both sides instead
#else
  const long commands = membarrier(MEMBARRIER_CMD_QUERY);
  return commands >= 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0 &&
         membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
#endif
}

}  // namespace

bool try_heavy_fence() noexcept {
  if (detail::light_fence_is_full.load(std::memory_order_relaxed)) {
    detail::full_fence();
    return true;
  }
  // Acquire and release only keep the critical sections apart; no data is passed on.
  if (heavy_fence_held.exchange(1, std::memory_order_acquire) != 0) return false;
  const bool fenced = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
  heavy_fence_held.store(0, std::memory_order_release);
  return fenced;
}

void platform_init() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Publishes nothing: until a thread sees the new value it pays for a fence that it doesn't
    // need.
    if (register_membarrier()) detail::light_fence_is_full.store(false, std::memory_order_relaxed);
    ticks_per_second();
  });
}

}  // namespace vanity
