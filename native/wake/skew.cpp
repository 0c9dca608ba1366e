#include "wake/skew.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "vanity/platform.hpp"
#include "wake/ticks.hpp"

namespace vanity::wake {
namespace {

constexpr uint32_t kExchanges = 2000;
constexpr uint64_t kMaxNs = 1'000'000'000;

struct alignas(kIsolationBytes) Line {
  std::atomic<uint32_t> word{0};

  void publish(uint32_t value) {
    word.store(value, std::memory_order_release);  // pairs with await() in the other thread
  }
  bool await(uint32_t value, const Pair& pair) const {
    while (word.load(std::memory_order_acquire) != value) {  // pairs with publish()
      if (pair.stopped()) return false;
    }
    return true;
  }
};

}  // namespace

Skew estimate_skew(const std::vector<Exchange>& exchanges, double ns_per_tick) {
  int64_t there = INT64_MAX;
  int64_t back = INT64_MAX;
  int64_t both = INT64_MAX;
  for (const Exchange& at : exchanges) {
    there = std::min(there, static_cast<int64_t>(at.arrived - at.sent));
    back = std::min(back, static_cast<int64_t>(at.returned - at.replied));
    both = std::min(both, static_cast<int64_t>(at.returned - at.sent) -
                              static_cast<int64_t>(at.replied - at.arrived));
  }
  return {static_cast<double>(there - back) / 2 * ns_per_tick,
          static_cast<double>(both) / 2 * ns_per_tick};
}

Skew measure_skew(uint32_t from, uint32_t to, Pair& pair) {
  if (from == to) return {};  // one clock
  const auto line = std::make_unique<Line>();
  std::vector<Exchange> here(kExchanges);
  std::vector<Exchange> there(kExchanges);
  size_t done = 0;
  pair.run(
      from,
      [&] {
        if (!pair.meet()) return;
        for (uint32_t i = 0; i < kExchanges; ++i) {
          here[i].sent = now_ticks();
          line->publish(2 * i + 1);
          if (!line->await(2 * i + 2, pair)) return;
          here[i].returned = ordered_ticks();
          done = i + 1;
        }
      },
      to,
      [&] {
        if (!pair.meet()) return;
        for (uint32_t i = 0; i < kExchanges; ++i) {
          if (!line->await(2 * i + 1, pair)) return;
          there[i].arrived = ordered_ticks();
          there[i].replied = now_ticks();
          line->publish(2 * i + 2);
        }
      },
      kMaxNs, [] {});
  if (done == 0) {
    throw Error("VANITY_E_WAKE_PAIR",
                "cores " + std::to_string(from) + " and " + std::to_string(to) +
                    " exchanged nothing within a second",
                "something else keeps one of them; look with: top -H");
  }
  here.resize(done);
  for (size_t i = 0; i < done; ++i) {
    here[i].arrived = there[i].arrived;
    here[i].replied = there[i].replied;
  }
  return estimate_skew(here, 1e9 / static_cast<double>(ticks_per_second()));
}

}  // namespace vanity::wake
