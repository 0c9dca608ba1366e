// kernel/reload.hpp: who waits for a shard looks again after a while, longer or shorter.
#include "kernel/reload.hpp"
#include "platform/clock.hpp"

namespace vanity {

uint64_t ReloadClock::now_ns() noexcept {
  return monotonic_ns();
}

void ReloadClock::nap() noexcept {
  sim::World::current().nap_for_a_while();
}

}  // namespace vanity
