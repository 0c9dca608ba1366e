// What comes to each receive queue, and what stands in its frames.
#pragma once

#include <cstdint>

namespace vanity::sim {

// Packets. Said once, before the first system is made.
inline uint32_t arrivals_of_a_queue = 0;
// Between two bursts at the least, but for none at all. Drawn for each execution.
inline uint64_t arrivals_gap_ns = 0;

// Behind the headers of a frame that came in by a port.
struct FrameMark {
  static constexpr uint32_t kMagic = 0x76736d66;
  uint32_t magic;
  uint32_t number;  // of its queue
  uint32_t queue;   // and its port
  uint32_t flow;
};
inline constexpr uint32_t kFrameBytes = 64;
void write_frame(uint8_t* frame, const FrameMark& mark) noexcept;
// Of the frame of this number that comes to a queue: flows take turns.
FrameMark mark_for(uint32_t number, uint16_t port, uint32_t queue) noexcept;
FrameMark mark_of(const uint8_t* frame) noexcept;

}  // namespace vanity::sim
