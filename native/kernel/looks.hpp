// The last minute of all counters: once a second the kernel copies them into the segment, where
// they are for whoever asks later what it was like, of a running system or of one that is gone.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "kernel/segment.hpp"

namespace vanity {

// Of a look at these tables; LookRecord says which words they are.
uint64_t look_words(const Table* tables);

// One thread at a time, after the segment is published; nothing throws, allocates or blocks.
class Looks {
 public:
  // Of a row that is not used a look has zeros: somebody may be filling it.
  using Used = std::function<bool(TableKind table, uint32_t row)>;
  Looks(Segment& segment, Used used) : segment_(segment), used_(std::move(used)) {}

  // Takes one when it is due.
  void turn(uint64_t now_ns) noexcept;

 private:
  void take(uint64_t now_ns) noexcept;

  Segment& segment_;
  const Used used_;
  uint64_t count_ = 0;
  uint64_t due_ns_ = 0;
};

}  // namespace vanity
