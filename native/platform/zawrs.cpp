// RISC-V Zawrs: LR.W registers a reservation, WRS.STO stalls until it is lost or a short timeout of
// the hart's choosing passes. WRS.NTO has no bound in user mode, or may be made to trap; so not
// that.
#include "platform/backends.hpp"

#if defined(__riscv)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace vanity::zawrs {

#if defined(__riscv)

namespace {

// <asm/hwprobe.h> is newer than the headers that this must compile with.
constexpr long kSysHwprobe = 258;
constexpr int64_t kKeyImaExt0 = 4;
constexpr uint64_t kExtZawrs = 1ull << 48;
struct Pair {
  int64_t key;
  uint64_t value;
};

}  // namespace

Declared declared() {
  Pair pair{kKeyImaExt0, 0};
  if (syscall(kSysHwprobe, &pair, 1, 0, nullptr, 0) != 0 || pair.key != kKeyImaExt0) {
    return {true, "riscv_hwprobe can't tell"};  // the probe finds out
  }
  if ((pair.value & kExtZawrs) == 0) {
    // Linux before 6.11 does not report it, nor do emulators that run it.
    return {true, "riscv_hwprobe does not report Zawrs"};
  }
  return {true, "riscv_hwprobe reports Zawrs"};
}

void monitor(const volatile void* address) noexcept {
  uint32_t value;
  asm volatile("lr.w.aq %0, (%1)" : "=r"(value) : "r"(address) : "memory");
}

Wake wait(uint64_t deadline, bool) noexcept {
  asm volatile(".word 0x01d00073" ::: "memory");  // wrs.sto
  return now_ticks() >= deadline ? Wake::deadline : Wake::os_limit;
}

#else

VANITY_ABSENT_BACKEND("needs a RISC-V processor")

#endif

}  // namespace vanity::zawrs
