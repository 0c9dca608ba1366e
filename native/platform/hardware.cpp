// Sends a wait to the backend that the shard was given.
#include <sched.h>

#include "platform/backends.hpp"
#include "platform/clock.hpp"
#include "vanity/platform.hpp"

namespace vanity {

void Hardware::yield() noexcept {
  sched_yield();
}

uint64_t Hardware::ticks_of_ns(uint64_t ns) noexcept {
  return ns_to_ticks(ns);
}

void Hardware::monitor(Backend backend, const volatile void* address) noexcept {
  switch (backend) {
    case Backend::waitpkg:
      return waitpkg::monitor(address);
    case Backend::monitorx:
      return monitorx::monitor(address);
    case Backend::wfe:
      return wfe::monitor(address);
    case Backend::zawrs:
      return zawrs::monitor(address);
    case Backend::spin:
    case Backend::futex:
      return;
  }
}

Wake Hardware::wait(Backend backend, uint64_t deadline, bool deep) noexcept {
  switch (backend) {
    case Backend::waitpkg:
      return waitpkg::wait(deadline, deep);
    case Backend::monitorx:
      return monitorx::wait(deadline, deep);
    case Backend::wfe:
      return wfe::wait(deadline, deep);
    case Backend::zawrs:
      return zawrs::wait(deadline, deep);
    case Backend::spin:
    case Backend::futex:
      break;
  }
  vanity::relax();
  return Wake::spurious;
}

}  // namespace vanity
