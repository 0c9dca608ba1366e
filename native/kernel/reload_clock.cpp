#include <ctime>

#include "kernel/reload.hpp"
#include "platform/clock.hpp"

namespace vanity {
namespace {

constexpr long kLookNs = 200'000;

}  // namespace

uint64_t ReloadClock::now_ns() noexcept {
  return monotonic_ns();
}

void ReloadClock::nap() noexcept {
  const timespec time{0, kLookNs};
  nanosleep(&time, nullptr);
}

}  // namespace vanity
