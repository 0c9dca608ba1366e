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

// On another architecture.
#define VANITY_ABSENT_BACKEND(needs)             \
  Declared declared() {                          \
    return {false, needs};                       \
  }                                              \
  void monitor(const volatile void*) noexcept {} \
  Wake wait(uint64_t, bool) noexcept {           \
    return Wake::spurious;                       \
  }

namespace wfe {
// FEAT_WFxT, so wait() is a WFET.
bool has_deadline() noexcept;
// Linux's event stream ends every WFE within 100 us.
bool has_event_stream() noexcept;
// A plain WFE, as without FEAT_WFxT, for hosts with an event stream.
Wake wait_untimed(uint64_t deadline) noexcept;
}  // namespace wfe

}  // namespace vanity
