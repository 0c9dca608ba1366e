// Which ways to wait this processor, kernel and hypervisor really allow.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vanity/platform.hpp"

namespace vanity {

struct BackendReport {
  Backend backend;
  bool usable;
  std::string reason;  // usable: what it offers; else: why not
  // Of the trial. About 1 when the monitor arms, hundreds when each wait returns at once and the
  // sleep is a spin in disguise. 0: not a monitor, or not tried.
  double waits_per_wake = 0;
};

const char* backend_name(Backend backend) noexcept;

// Every backend, in the order of the enum. Asks CPUID, hwcap or hwprobe, then executes the
// instructions under a guard (a hypervisor may advertise what traps), then checks between two
// threads that an armed monitor sleeps and that a store ends it. Probed once; later calls return
// the same answer.
std::vector<BackendReport> probe_backends();

// `wanted` is "auto" or a backend's name. The environment variable VANITY_WAIT overrides "auto"; a
// backend that the manifest names wins over it, because it was asked for by name. "auto" takes the
// best usable one, which is always at least futex.
// Throws VANITY_E_WAIT_UNAVAILABLE with the reason when the one asked for can't be had.
Backend choose_backend(std::string_view wanted);

// Runs what may trap on this processor: "" or the name of what it raised. `run` must be plain
// instructions, since a trap leaves it by siglongjmp.
std::string trap_of(const std::function<void()>& run);

}  // namespace vanity
