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
  // As long as the slower ones of the pilot took, the slowest apart, which something else may have
  // held up. A mechanism that sleeps is often met awake in the pilot: its median tells too little,
  // and signals that follow faster than it can wake would measure nothing but their own queue.
  uint64_t wakes[kPilot];
  for (uint32_t i = 0; i < kPilot; ++i) {
    const auto wake =
        static_cast<int64_t>(cell.received.arrivals[i] - sent.stamps[i]) - cell.offset;
    wakes[i] = std::max(wake > 0 ? static_cast<uint64_t>(wake) : 0, cell.cost(i));
  }
  std::sort(wakes, wakes + kPilot);
  const uint64_t most = std::max(4 * cell.idle, 50 * cell.microsecond);
  const uint64_t slack = std::min(wakes[kPilot - 2] * 3 / 2, most);
  const auto period = static_cast<double>(cell.idle + slack);
  uint64_t state = cell.spec.seed;
  for (uint32_t i = kPilot; i < cell.planned; ++i) {
    const double jitter = static_cast<double>(next_random(state) >> 11) * 0x1p-53 * 0.2 - 0.1;
    sent.due[i] = static_cast<uint64_t>((i - kPilot + 1 + jitter) * period);
  }
  const uint64_t start = now_ticks();
  for (uint32_t i = kPilot; i < cell.planned; ++i) sent.due[i] += start;
}

}  // namespace vanity::wake
