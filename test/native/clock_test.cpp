#include "platform/clock.hpp"

#include <time.h>

#include "check.hpp"
#include "vanity/platform.hpp"

using namespace vanity;

TEST(the_rate_agrees_with_the_kernels_clock) {
  platform_init();
  const uint64_t ns = monotonic_ns();
  const uint64_t ticks = now_ticks();
  timespec nap{0, 50'000'000};
  nanosleep(&nap, nullptr);
  const double by_ticks = static_cast<double>(ticks_to_ns(now_ticks() - ticks));
  const double by_clock = static_cast<double>(monotonic_ns() - ns);
  // One per cent: the two readings are not one, and the machine may be busy.
  CHECK(by_ticks > by_clock * 0.99 && by_ticks < by_clock * 1.01);
}

TEST(conversions_undo_each_other_and_saturate) {
  for (const uint64_t ns :
       {uint64_t{0}, uint64_t{1000}, uint64_t{1'000'000'000}, uint64_t{86'400'000'000'000}}) {
    const uint64_t back = ticks_to_ns(ns_to_ticks(ns));
    CHECK(back <= ns && ns - back <= 1'000'000'000 / ticks_per_second() + 1);
  }
  CHECK_EQ(ns_to_ticks(UINT64_MAX) >= ns_to_ticks(UINT64_MAX / 2), true);
}

TEST(ticks_never_go_back) {
  uint64_t last = now_ticks();
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t now = now_ticks();
    CHECK(now >= last);
    last = now;
  }
}

TEST(the_source_is_named) {
  CHECK(!clock_source().empty());
}
