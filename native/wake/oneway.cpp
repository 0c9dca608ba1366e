#include "wake/oneway.hpp"

namespace vanity::wake {
namespace {

// splitmix64.
uint64_t next_random(uint64_t& state) noexcept {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

void lay_down(Cell& cell) {
  Sent& sent = cell.sent;
  uint64_t wakes[kPilot];
  for (uint32_t i = 0; i < kPilot; ++i) {
    const auto wake =
        static_cast<int64_t>(cell.received.arrivals[i] - sent.stamps[i]) - cell.offset;
    wakes[i] = wake > 0 ? static_cast<uint64_t>(wake) : 0;
  }
  std::nth_element(wakes, wakes + kPilot / 2, wakes + kPilot);
  const auto period = static_cast<double>(cell.idle + 2 * wakes[kPilot / 2]);
  uint64_t state = cell.spec.seed;
  for (uint32_t i = kPilot; i < cell.planned; ++i) {
    const double jitter = static_cast<double>(next_random(state) >> 11) * 0x1p-53 * 0.2 - 0.1;
    sent.due[i] = static_cast<uint64_t>((i - kPilot + 1 + jitter) * period);
  }
  const uint64_t start = now_ticks();
  for (uint32_t i = kPilot; i < cell.planned; ++i) sent.due[i] += start;
}

}  // namespace vanity::wake
