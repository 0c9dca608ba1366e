// When a receive queue that has emptied its ring looks at it again. A look takes a line from the
// core of the other side, which has to fetch it back before it can write there: whoever is the
// faster of the two, and looks all the time, slows the other down. So where much comes at once,
// some is let come together first. Where little comes at once, and late is what counts, there is no
// rest.
#pragma once

#include <cstdint>

#include "platform/clock.hpp"
#include "vanity/platform.hpp"

namespace vanity {

class Rest {
 public:
  // In it no more than a small part of the ring fills, at tens of millions a second.
  void fit(uint32_t ring_size) noexcept { ticks_ = ns_to_ticks(uint64_t{kNsPerPlace} * ring_size); }

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
    } else if (many_) {
      many_ = false;
      until_ = now_ticks() + ticks_;
    }
  }

 private:
  static constexpr uint32_t kMany = 16;
  static constexpr uint32_t kNsPerPlace = 3;

  uint64_t ticks_ = 0;
  uint64_t until_ = 0;  // 0: there is none
  bool many_ = false;   // at the last look that brought any
};

}  // namespace vanity
