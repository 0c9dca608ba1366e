// Intel WAITPKG: UMONITOR and UMWAIT (SDM volume 2B). The bytes are written out, so that no -march
// flag is needed and the file compiles for every x86-64.
#include "platform/backends.hpp"
#include "platform/x86.hpp"

namespace vanity::waitpkg {

#if defined(__x86_64__)

Declared declared() {
  return declared_by_cpuid(7, 5, "CPUID leaf 7 ECX[5]");
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

VANITY_ABSENT_BACKEND("needs an x86-64 processor")

#endif

}  // namespace vanity::waitpkg
