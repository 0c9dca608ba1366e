#include "platform/clock.hpp"

#include <time.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <mutex>

#include "vanity/platform.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace vanity {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;

struct Rate {
  uint64_t ticks_per_second = 0;
  std::string source;
};

uint64_t clock_ns(clockid_t clock) noexcept {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

ClockStamp clock_stamp() noexcept {
  ClockStamp best{};
  uint64_t narrowest = UINT64_MAX;
  for (int i = 0; i < 10; ++i) {
    const uint64_t before = now_ticks();
    const uint64_t ns = clock_ns(CLOCK_MONOTONIC_RAW);
    const uint64_t width = now_ticks() - before;
    if (width < narrowest) {
      narrowest = width;
      best = {before + width / 2, ns};
    }
  }
  return best;
}

namespace {

#if defined(__x86_64__)
bool counter_is_invariant() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1u << 8)) != 0) return true;
  // A hypervisor may hide the bit. Linux itself using the counter for its clock says the same.
  std::ifstream file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  std::string source;
  return (file >> source) &&
         (source == "tsc" || source == "kvm-clock" || source.find("hyperv") == 0);
}

Rate measure() {
  if (!counter_is_invariant()) {
    detail::ticks_are_ns.store(true, std::memory_order_relaxed);
    return {kNsPerSecond, "CLOCK_MONOTONIC, because the TSC is not invariant"};
  }
  detail::ticks_are_ns.store(false, std::memory_order_relaxed);
  // 20 ms against stamps that are good to some 50 ns: a few parts in a million.
  const ClockStamp first = clock_stamp();
  ClockStamp last = first;
  while (last.ns - first.ns < 20'000'000) {
    timespec nap{0, 5'000'000};
    nanosleep(&nap, nullptr);
    last = clock_stamp();
  }
  const uint64_t rate =
      static_cast<uint64_t>(static_cast<unsigned __int128>(last.ticks - first.ticks) *
                            kNsPerSecond / (last.ns - first.ns));
  char text[64];
  std::snprintf(text, sizeof text, "TSC, measured %.3f MHz", static_cast<double>(rate) / 1e6);
  return {rate, text};
}
#elif defined(__aarch64__)
Rate measure() {
  uint64_t rate;
  asm volatile("mrs %0, cntfrq_el0" : "=r"(rate));
  char text[64];
  std::snprintf(text, sizeof text, "CNTVCT_EL0, declared %.3f MHz",
                static_cast<double>(rate) / 1e6);
  return {rate, text};
}
#else
Rate measure() {
  // The device tree has it as one big-endian cell or two; without a device tree (ACPI), measure.
  std::ifstream file("/proc/device-tree/cpus/timebase-frequency", std::ios::binary);
  uint64_t rate = 0;
  int bytes = 0;
  for (char byte = 0; file.get(byte) && bytes < 8; ++bytes) {
    rate = rate << 8 | static_cast<unsigned char>(byte);
  }
  if (bytes != 4 && bytes != 8) {
    const uint64_t ticks = now_ticks();
    const uint64_t ns = clock_ns(CLOCK_MONOTONIC_RAW);
    timespec nap{0, 20'000'000};
    nanosleep(&nap, nullptr);
    rate = (now_ticks() - ticks) * kNsPerSecond / (clock_ns(CLOCK_MONOTONIC_RAW) - ns);
  }
  char text[64];
  std::snprintf(text, sizeof text, "rdtime, %.3f MHz", static_cast<double>(rate) / 1e6);
  return {rate, text};
}
#endif

const Rate& rate() {
  static const Rate measured = measure();
  return measured;
}

}  // namespace

uint64_t detail::fallback_ticks() noexcept {
  return monotonic_ns();
}

uint64_t ticks_per_second() {
  return rate().ticks_per_second;
}

std::string clock_source() {
  return rate().source;
}

uint64_t ticks_to_ns(uint64_t ticks) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(ticks) * kNsPerSecond /
                               ticks_per_second());
}

uint64_t ns_to_ticks(uint64_t ns) {
  const unsigned __int128 ticks =
      static_cast<unsigned __int128>(ns) * ticks_per_second() / kNsPerSecond;
  return ticks > UINT64_MAX ? UINT64_MAX : static_cast<uint64_t>(ticks);
}

uint64_t monotonic_ns() noexcept {
  return clock_ns(CLOCK_MONOTONIC);
}

}  // namespace vanity
