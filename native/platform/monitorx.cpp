// AMD MONITORX and MWAITX (APM volume 3). The timer is relative and has 32 bits.
#include <algorithm>

#include "platform/backends.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace vanity::monitorx {

#if defined(__x86_64__)

Declared declared() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d) == 0 || (c & (1u << 29)) == 0) {
    return {false, "CPUID leaf 80000001h ECX[29] is clear"};
  }
  if (detail::ticks_are_ns.load(std::memory_order_relaxed)) {
    return {false, "its timer counts TSC ticks, and the TSC is not invariant"};
  }
  return {true, "CPUID leaf 80000001h ECX[29] is set"};
}

void monitor(const volatile void* address) noexcept {
  asm volatile(".byte 0x0f, 0x01, 0xfa" ::"a"(address), "c"(0), "d"(0) : "memory");  // monitorx
}

Wake wait(uint64_t deadline, bool deep) noexcept {
  const uint64_t now = now_ticks();
  if (now >= deadline) return Wake::deadline;
  const uint32_t ticks = static_cast<uint32_t>(std::min<uint64_t>(deadline - now, UINT32_MAX));
  const uint32_t hint = deep ? 0x00 : 0xf0;  // C1 : stay in C0
  const uint32_t with_timer = 2;
  asm volatile(".byte 0x0f, 0x01, 0xfb" ::"a"(hint), "b"(ticks), "c"(with_timer)  // mwaitx
               : "memory");
  return now_ticks() >= deadline ? Wake::deadline : Wake::spurious;
}

#else

Declared declared() {
  return {false, "needs an x86-64 processor"};
}
void monitor(const volatile void*) noexcept {}
Wake wait(uint64_t, bool) noexcept {
  return Wake::spurious;
}

#endif

}  // namespace vanity::monitorx
