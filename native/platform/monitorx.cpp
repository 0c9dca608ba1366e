// AMD MONITORX and MWAITX (APM volume 3). The timer is relative and has 32 bits.
#include <algorithm>

#include "platform/backends.hpp"
#include "platform/x86.hpp"

namespace vanity::monitorx {

#if defined(__x86_64__)

Declared declared() {
  return declared_by_cpuid(0x80000001, 29, "CPUID leaf 80000001h ECX[29]");
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

VANITY_ABSENT_BACKEND("needs an x86-64 processor")

#endif

}  // namespace vanity::monitorx
