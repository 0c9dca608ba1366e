// The machine: its clock is the scheduler's and a tick is a nanosecond, its shards are on no core,
// and `wait = "auto"` is drawn, a futex or a monitor for each shard.
#include <string>

#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"
#include "platform/nap.hpp"
#include "platform/topology.hpp"
#include "vanity/platform.hpp"

namespace vanity {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr const char* kBackendNames[kBackends] = {"spin",     "futex", "waitpkg",
                                                  "monitorx", "wfe",   "zawrs"};

}  // namespace

void platform_init() {}
void platform_share() {}

uint64_t ticks_per_second() {
  return kNsPerSecond;
}
std::string clock_source() {
  return "the simulator's";
}
uint64_t ticks_to_ns(uint64_t ticks) {
  return ticks;
}
uint64_t ns_to_ticks(uint64_t ns) {
  return ns;
}
uint64_t monotonic_ns() noexcept {
  return now_ticks();
}
void nap_ns(uint64_t ns) noexcept {
  sim::World& world = sim::World::current();
  if (sim::World::running()) world.nap(world.now() + ns);
}
ClockStamp clock_stamp() noexcept {
  return {now_ticks(), now_ticks()};
}

const char* backend_name(Backend backend) noexcept {
  return kBackendNames[static_cast<size_t>(backend)];
}

Backend choose_backend(std::string_view wanted) {
  if (wanted == "auto") {
    return sim::World::current().draw(2) == 0 ? Backend::futex : Backend::waitpkg;
  }
  for (uint32_t i = 0; i < kBackends; ++i)
    if (wanted == kBackendNames[i]) return static_cast<Backend>(i);
  throw Error("VANITY_E_WAIT_UNAVAILABLE", "no wait is called " + std::string(wanted));
}

const Cpu* Topology::find(uint32_t) const noexcept {
  return nullptr;
}
Topology read_topology(const std::string&) {
  return {};
}
void pin_thread(uint32_t) {}
void pin_other_thread(pid_t, uint32_t) {}
void unpin_other_thread(pid_t) {}
void set_thread_name(const std::string&) noexcept {}
void set_fifo(uint32_t) {}
pid_t thread_id() noexcept {
  return 0;
}

}  // namespace vanity
