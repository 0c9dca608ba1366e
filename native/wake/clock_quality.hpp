// How good the clock is that everything is measured with.
#pragma once

#include <string>

namespace vanity::wake {

struct ClockQuality {
  std::string source;
  double ticks_per_second = 0;
  double error_ppm = 0;  // one standard error of the rate
  bool invariant = false;
  double tick_ns = 0;  // the least that two different readings are apart
  double read_ns = 0;
};

// A regression of ticks over CLOCK_MONOTONIC_RAW; takes about 100 ms, asleep for most of it.
ClockQuality measure_clock();

}  // namespace vanity::wake
