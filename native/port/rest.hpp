// When a receive queue that has emptied its ring looks at it again. A look takes a line from the
// core of the other side, which has to fetch it back before it can write there: whoever is the
// faster of the two, and looks all the time, slows the other down. So where much comes at once,
// some is let come together first, and the more of it the faster it comes. Where little comes at
// once, and late is what counts, there is no rest.
#pragma once

#include <algorithm>
#include <cstdint>

#include "platform/clock.hpp"
#include "vanity/platform.hpp"

namespace vanity {

class Rest {
 public:
  // At tens of millions a second the first rest fills a small part of the ring, the longest half.
  void fit(uint32_t ring_size) noexcept {
    first_ = ticks_ = ns_to_ticks(std::min(kNsPerPlace * ring_size, kNsMax));
    longest_ = ns_to_ticks(std::min(kLonger * kNsPerPlace * ring_size, kNsMax));
    packet_ = ns_to_ticks(kFastNs);
    together_ = 0;
  }

  // Not to be looked at yet.
  bool lasts() noexcept {
    if (until_ == 0) return false;
    if (now_ticks() < until_) return true;
    until_ = 0;
    return false;
  }
  // What a look brought.
  void note(uint32_t got) noexcept {
    if (got != 0) {
      many_ = got >= kMany;
      together_ += got;
    } else if (many_) {
      many_ = false;
      ticks_ = together_ * packet_ < ticks_ ? first_ : std::min(2 * ticks_, longest_);
      together_ = 0;
      until_ = now_ticks() + ticks_;
    }
  }
  // The last one, or the next.
  uint64_t ticks() const noexcept { return ticks_; }

 private:
  static constexpr uint32_t kMany = 16;
  static constexpr uint32_t kNsPerPlace = 3;
  static constexpr uint32_t kLonger = 8;
  static constexpr uint32_t kNsMax = 25'000;
  static constexpr uint32_t kFastNs = 50;  // a packet: faster than this, and rests get longer

  uint64_t first_ = 0;
  uint64_t longest_ = 0;
  uint64_t packet_ = 0;
  uint64_t ticks_ = 0;
  uint64_t together_ = 0;  // packets since the last rest
  uint64_t until_ = 0;     // 0: there is none
  bool many_ = false;      // at the last look that brought any
};

}  // namespace vanity
