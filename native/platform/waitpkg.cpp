// Intel WAITPKG: UMONITOR and UMWAIT (SDM volume 2B). The bytes are written out, so that no -march
// flag is needed and the file compiles for every x86-64.
#include "platform/backends.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace vanity::waitpkg {

#if defined(__x86_64__)

Declared declared() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (c & (1u << 5)) == 0) {
    return {false, "CPUID leaf 7 ECX[5] is clear"};
  }
  if (detail::ticks_are_ns.load(std::memory_order_relaxed)) {
    return {false, "its deadline is a TSC value, and the TSC is not invariant"};
  }
  return {true, "CPUID leaf 7 ECX[5] is set"};
}

void monitor(const volatile void* address) noexcept {
  asm volatile(".byte 0xf3, 0x0f, 0xae, 0xf0" ::"a"(address) : "memory");  // umonitor %rax
}

Wake wait(uint64_t deadline, bool deep) noexcept {
  const uint32_t state = deep ? 0 : 1;  // C0.2 : C0.1
  bool os_limit;
  asm volatile(".byte 0xf2, 0x0f, 0xae, 0xf1"  // umwait %ecx
               : "=@ccc"(os_limit)
               : "c"(state), "a"(static_cast<uint32_t>(deadline)),
                 "d"(static_cast<uint32_t>(deadline >> 32))
               : "memory");
  if (os_limit) return Wake::os_limit;
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

}  // namespace vanity::waitpkg
