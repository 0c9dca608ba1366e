// What else happened on a measured thread. Dear questions, so they are asked only about a sample
// that looks disturbed.
#pragma once

#include <cstdint>

#include "vanity/platform.hpp"

namespace vanity::wake {

enum Mark : uint8_t { kPreempted = 1, kMigrated = 2, kStolen = 4, kSignaller = 8 };

// Far above the running median: more than 8 times, and by more than a microsecond.
class Suspicion {
 public:
  explicit Suspicion(uint64_t microsecond_ticks) noexcept : microsecond_(microsecond_ticks) {}

  void begin() noexcept { median_ = 0; }
  bool suspects(uint64_t ticks) noexcept {
    if (median_ == 0) median_ = ticks + 1;
    const bool far = ticks > 8 * median_ && ticks > microsecond_;
    // A step up or down: half of the samples lie on either side where it settles. What is far off
    // moves it less, or a burst would soon look usual.
    const uint64_t step = median_ / (far ? 256 : 16) + 1;
    median_ = ticks > median_ ? median_ + step : median_ > step ? median_ - step : 1;
    return far;
  }

 private:
  const uint64_t microsecond_;
  uint64_t median_ = 0;
};

// Of the thread that constructs it. Each answer covers the time since the one before, and each is
// asked for at a suspicious sample: whatever disturbed an earlier one is no longer counted, unless
// it disturbed nothing.
class Disturbance {
 public:
  explicit Disturbance(uint32_t cpu) noexcept;
  ~Disturbance();
  Disturbance(const Disturbance&) = delete;
  Disturbance& operator=(const Disturbance&) = delete;

  // Forgets what was.
  void begin() noexcept;
  uint8_t marks() noexcept;
  uint64_t involuntary() const noexcept;  // switches since begin()

 private:
  uint64_t steal() noexcept;

  const uint32_t cpu_;
  const int stat_;  // /proc/stat, kept open; -1: not readable
  uint64_t begun_ = 0;
  uint64_t switches_ = 0;
  uint64_t stolen_ = 0;
  uint64_t read_at_ = 0;
};

}  // namespace vanity::wake
