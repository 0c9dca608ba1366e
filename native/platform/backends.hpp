// What each way of waiting offers, one file each. On another architecture a backend only says so.
#pragma once

#include <cstdint>
#include <string>

#include "vanity/platform.hpp"

namespace vanity {

// What the processor and Linux declare; `reason` says on what ground, in both cases.
struct Declared {
  bool present;
  std::string reason;
};

// monitor() arms on the line of `address`. wait() sleeps until the monitor fires, until the
// absolute tick `deadline`, or for no reason. Call only what declared() and a probe allow.
#define VANITY_MONITOR_BACKEND(name)                   \
  namespace name {                                     \
  Declared declared();                                 \
  void monitor(const volatile void* address) noexcept; \
  Wake wait(uint64_t deadline, bool deep) noexcept;    \
  }

VANITY_MONITOR_BACKEND(waitpkg)
VANITY_MONITOR_BACKEND(monitorx)
VANITY_MONITOR_BACKEND(wfe)
VANITY_MONITOR_BACKEND(zawrs)

#undef VANITY_MONITOR_BACKEND

}  // namespace vanity
