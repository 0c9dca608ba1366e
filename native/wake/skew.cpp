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

struct Exchange {
  alignas(kIsolationBytes) std::atomic<uint32_t> word{0};
  // Of the thread that sends first, then of the other.
  alignas(kIsolationBytes) uint64_t sent[kExchanges];
  uint64_t returned[kExchanges];
  alignas(kIsolationBytes) uint64_t arrived[kExchanges];
  uint64_t replied[kExchanges];
};

bool await(const Exchange& exchange, uint32_t value, const Pair& pair) {
  // Pairs with the release stores of the other thread; only the word itself is needed.
  while (exchange.word.load(std::memory_order_acquire) != value) {
    if (pair.stopped()) return false;
  }
  return true;
}

}  // namespace

Skew measure_skew(uint32_t from, uint32_t to, Pair& pair) {
  if (from == to) return {};  // one clock
  const auto exchange = std::make_unique<Exchange>();
  Exchange& at = *exchange;
  uint32_t done = 0;
  pair.run(
      from,
      [&] {
        if (!pair.meet()) return;
        for (uint32_t i = 0; i < kExchanges; ++i) {
          at.sent[i] = now_ticks();
          at.word.store(2 * i + 1, std::memory_order_release);  // pairs with await()
          if (!await(at, 2 * i + 2, pair)) return;
          at.returned[i] = ordered_ticks();
          done = i + 1;
        }
      },
      to,
      [&] {
        if (!pair.meet()) return;
        for (uint32_t i = 0; i < kExchanges; ++i) {
          if (!await(at, 2 * i + 1, pair)) return;
          at.arrived[i] = ordered_ticks();
          at.replied[i] = now_ticks();
          at.word.store(2 * i + 2, std::memory_order_release);  // pairs with await()
        }
      },
      kMaxNs, [] {});
  if (done == 0) {
    throw Error("VANITY_E_WAKE_PAIR",
                "cores " + std::to_string(from) + " and " + std::to_string(to) +
                    " exchanged nothing within a second",
                "something else keeps one of them; look with: top -H");
  }

  int64_t there = INT64_MAX;
  int64_t back = INT64_MAX;
  int64_t both = INT64_MAX;
  for (uint32_t i = 0; i < done; ++i) {
    there = std::min(there, static_cast<int64_t>(at.arrived[i] - at.sent[i]));
    back = std::min(back, static_cast<int64_t>(at.returned[i] - at.replied[i]));
    both = std::min(both, static_cast<int64_t>(at.returned[i] - at.sent[i]) -
                              static_cast<int64_t>(at.replied[i] - at.arrived[i]));
  }
  const double ns = 1e9 / static_cast<double>(ticks_per_second());
  return {static_cast<double>(there - back) / 2 * ns, static_cast<double>(both) / 2 * ns};
}

}  // namespace vanity::wake
