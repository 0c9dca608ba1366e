#include "wake/disturbance.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "platform/clock.hpp"
#include "platform/topology.hpp"

namespace vanity::wake {

Disturbance::Disturbance(uint32_t cpu) noexcept
    : cpu_(cpu), stat_(open("/proc/stat", O_RDONLY | O_CLOEXEC)) {
  begin();
}

Disturbance::~Disturbance() {
  if (stat_ >= 0) close(stat_);
}

void Disturbance::begin() noexcept {
  begun_ = switches_ = thread_switches().involuntary;
  read_at_ = 0;
  stolen_ = steal();
}

uint64_t Disturbance::involuntary() const noexcept {
  return thread_switches().involuntary - begun_;
}

uint8_t Disturbance::marks() noexcept {
  uint8_t marks = 0;
  const uint64_t switches = thread_switches().involuntary;
  if (switches != switches_) marks |= kPreempted;
  switches_ = switches;
  if (sched_getcpu() != static_cast<int>(cpu_)) marks |= kMigrated;
  const uint64_t stolen = steal();
  if (stolen != stolen_) marks |= kStolen;
  stolen_ = stolen;
  return marks;
}

// In Linux's units of 10 ms; so reading it more often than every millisecond tells nothing more.
uint64_t Disturbance::steal() noexcept {
  const uint64_t now = now_ticks();
  if (stat_ < 0 || (read_at_ != 0 && now - read_at_ < ns_to_ticks(1'000'000))) return stolen_;
  read_at_ = now;
  // The lines of all processors come first; 256 of them fit.
  char text[32768];
  const ssize_t got = pread(stat_, text, sizeof text - 1, 0);
  if (got <= 0) return stolen_;
  text[got] = '\0';
  char name[16];
  std::snprintf(name, sizeof name, "\ncpu%u ", cpu_);
  const char* line = std::strstr(text, name);
  if (line == nullptr) return stolen_;
  // user nice system idle iowait irq softirq steal
  const char* at = line + std::strlen(name);
  uint64_t value = 0;
  for (int field = 0; field < 8; ++field) {
    char* end;
    value = std::strtoull(at, &end, 10);
    at = end;
  }
  return value;
}

}  // namespace vanity::wake
