// Arm: LDAXR arms the exclusive monitor, and losing it is an event that ends WFE (Arm ARM D1.6).
// WFET has a deadline. Plain WFE has none of its own: Linux's event stream ends it every 100 us, so
// without either it is not used at all.
#include "platform/backends.hpp"

#if defined(__aarch64__)
#include <sys/auxv.h>

#include "platform/clock.hpp"
#endif

namespace vanity::wfe {

#if defined(__aarch64__)

namespace {

constexpr unsigned long kHwcapEventStream = 1ul << 2;
constexpr unsigned long kHwcap2Wfxt = 1ul << 31;

// Two periods of the event stream: a shorter deadline can't be kept by plain WFE.
uint64_t shortest() noexcept {
  static const uint64_t ticks = ns_to_ticks(200'000);
  return ticks;
}

}  // namespace

bool has_deadline() noexcept {
  static const bool has = (getauxval(AT_HWCAP2) & kHwcap2Wfxt) != 0;
  return has;
}

bool has_event_stream() noexcept {
  return (getauxval(AT_HWCAP) & kHwcapEventStream) != 0;
}

Declared declared() {
  if (has_deadline()) return {true, "FEAT_WFxT: WFET has a deadline"};
  if (has_event_stream()) {
    return {true, "WFE, bounded to 100 us by Linux's event stream (no FEAT_WFxT)"};
  }
  return {false, "nothing would bound a WFE: no FEAT_WFxT, and Linux's event stream is off"};
}

void monitor(const volatile void* address) noexcept {
  uint32_t value;
  asm volatile("ldaxr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
}

Wake wait(uint64_t deadline, bool) noexcept {
  if (!has_deadline()) return wait_untimed(deadline);
  register uint64_t until asm("x0") = deadline;
  asm volatile(".inst 0xd5031000" ::"r"(until) : "memory");  // wfet x0
  return now_ticks() >= deadline ? Wake::deadline : Wake::spurious;
}

Wake wait_untimed(uint64_t deadline) noexcept {
  const uint64_t now = now_ticks();
  if (now >= deadline || deadline - now < shortest()) {
    for (int i = 0; i < 16; ++i) vanity::relax();
    return Wake::spurious;
  }
  // Never `deadline`: the stream ends a wait that the caller's own clock then finds to be over.
  asm volatile("wfe" ::: "memory");
  return Wake::os_limit;
}

#else

VANITY_ABSENT_BACKEND("needs an Arm processor")
bool has_deadline() noexcept {
  return false;
}
bool has_event_stream() noexcept {
  return false;
}
Wake wait_untimed(uint64_t) noexcept {
  return Wake::spurious;
}

#endif

}  // namespace vanity::wfe
