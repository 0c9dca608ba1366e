#include "wake/clock_quality.hpp"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "platform/clock.hpp"
#include "vanity/platform.hpp"

namespace vanity::wake {
namespace {

constexpr int kPoints = 51;
constexpr long kStepNs = 2'000'000;
constexpr int kReadings = 10'000;

struct Line {
  double slope;
  double error;  // one standard error of the slope
};

Line fit(const std::vector<ClockStamp>& points) {
  const auto count = static_cast<double>(points.size());
  const auto x = [&](const ClockStamp& at) { return static_cast<double>(at.ns - points[0].ns); };
  const auto y = [&](const ClockStamp& at) {
    return static_cast<double>(at.ticks - points[0].ticks);
  };
  double mean_x = 0;
  double mean_y = 0;
  for (const ClockStamp& at : points) {
    mean_x += x(at) / count;
    mean_y += y(at) / count;
  }
  double xx = 0;
  double xy = 0;
  for (const ClockStamp& at : points) {
    xx += (x(at) - mean_x) * (x(at) - mean_x);
    xy += (x(at) - mean_x) * (y(at) - mean_y);
  }
  const double slope = xy / xx;
  double residual = 0;
  for (const ClockStamp& at : points) {
    const double off = y(at) - mean_y - slope * (x(at) - mean_x);
    residual += off * off;
  }
  return {slope, std::sqrt(residual / (count - 2) / xx)};
}

// Many processors count in steps of several ticks, and some scale the steps, so that no common
// divisor is left. But the differences between readings that often occur lie in heaps, each a tick
// or two wide, and the heaps lie a step apart.
double step_of(const std::map<uint64_t, int>& differences) {
  struct Heap {
    uint64_t first;
    uint64_t last;
  };
  std::vector<Heap> heaps;
  for (const auto& [difference, count] : differences) {
    if (count < kReadings / 200) continue;
    if (!heaps.empty() && difference <= heaps.back().last + 1) {
      heaps.back().last = difference;
    } else {
      heaps.push_back({difference, difference});
    }
  }
  // Some counters add one to readings that would be equal.
  const auto middle_of = [](const Heap& heap) {
    return heap.last <= 1 ? 0 : static_cast<double>(heap.first + heap.last) / 2;
  };
  std::vector<double> gaps;
  for (size_t i = 1; i < heaps.size(); ++i) {
    gaps.push_back(middle_of(heaps[i]) - middle_of(heaps[i - 1]));
  }
  if (gaps.empty()) return 1;
  const auto middle = gaps.begin() + static_cast<ptrdiff_t>(gaps.size() / 2);
  std::nth_element(gaps.begin(), middle, gaps.end());
  return *middle;
}

}  // namespace

ClockQuality measure_clock() {
  ClockQuality quality;
  quality.source = clock_source();
  quality.invariant = !detail::ticks_are_ns.load(std::memory_order_relaxed);
#if !defined(__x86_64__)
  quality.invariant = true;  // by architecture: CNTVCT_EL0 and `time` count at a constant rate
#endif

  std::vector<ClockStamp> points;
  points.reserve(kPoints);
  for (int i = 0; i < kPoints; ++i) {
    points.push_back(clock_stamp());
    const timespec nap{0, kStepNs};
    nanosleep(&nap, nullptr);
  }
  const Line line = fit(points);
  quality.ticks_per_second = line.slope * 1e9;
  quality.error_ppm = line.error / line.slope * 1e6;

  std::map<uint64_t, int> differences;
  std::vector<uint64_t> readings(kReadings);
  double least = INFINITY;
  for (int turn = 0; turn < 5; ++turn) {
    const uint64_t first = now_ticks();
    uint64_t before = first;
    for (int i = 0; i < kReadings; ++i) {
      const uint64_t now = now_ticks();
      readings[static_cast<size_t>(i)] = now - before;
      before = now;
    }
    least = std::min(least, static_cast<double>(before - first) / kReadings);
    for (const uint64_t difference : readings) ++differences[difference];
  }
  quality.tick_ns = step_of(differences) / line.slope;
  quality.read_ns = least / line.slope;
  return quality;
}

}  // namespace vanity::wake
