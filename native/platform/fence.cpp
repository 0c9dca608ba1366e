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
std::atomic<int> heavy_fence_command{MEMBARRIER_CMD_PRIVATE_EXPEDITED};

long membarrier(int command) noexcept {
  return syscall(__NR_membarrier, command, 0, 0);
}

bool register_membarrier([[maybe_unused]] int command, [[maybe_unused]] int registration) noexcept {
#if defined(__SANITIZE_THREAD__)
  return false;  // TSan sees full fences on both sides instead
#else
  const long commands = membarrier(MEMBARRIER_CMD_QUERY);
  return commands >= 0 && (commands & command) != 0 && membarrier(registration) == 0;
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
  const bool fenced = membarrier(heavy_fence_command.load(std::memory_order_relaxed)) == 0;
  heavy_fence_held.store(0, std::memory_order_release);
  return fenced;
}

void platform_init() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Publishes nothing: until a thread sees the new value it pays for a fence that it doesn't
    // need.
    if (register_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED,
                            MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)) {
      detail::light_fence_is_full.store(false, std::memory_order_relaxed);
    }
    ticks_per_second();
  });
}

void platform_share() {
  platform_init();
  static std::once_flag once;
  std::call_once(once, [] {
    // Before Linux 4.16, each process pays for the full fence itself.
    if (!register_membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED,
                             MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)) {
      detail::light_fence_is_full.store(true, std::memory_order_relaxed);
    }
    // Shards of other systems in this process that sleep meanwhile sleep to their bound once.
    heavy_fence_command.store(MEMBARRIER_CMD_GLOBAL_EXPEDITED, std::memory_order_relaxed);
    detail::waits_are_shared.store(true, std::memory_order_relaxed);
  });
}

}  // namespace vanity
