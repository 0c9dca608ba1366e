// What UMWAIT and MWAITX have in common: a bit of CPUID, and a timer that counts TSC ticks.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>

#include "platform/backends.hpp"

namespace vanity {

inline Declared declared_by_cpuid(unsigned leaf, unsigned ecx_bit, const std::string& name) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(leaf, 0, &a, &b, &c, &d) == 0 || (c & (1u << ecx_bit)) == 0) {
    return {false, name + " is clear"};
  }
  if (detail::ticks_are_ns.load(std::memory_order_relaxed)) {
    return {false, "its timer counts TSC ticks, and the TSC is not invariant"};
  }
  return {true, name + " is set"};
}

}  // namespace vanity

#endif
