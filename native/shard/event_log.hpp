// What a shard notes down of itself, on its own thread: the writing end of the rings in the segment
// (vanity/events.hpp).
#pragma once

#include <cstdint>

#include "vanity/events.hpp"

namespace vanity {

class EventLog {
 public:
  // Before the thread starts; until then, nothing is noted.
  void write_to(EventsRecord& record) noexcept { record_ = &record; }

  // Now, or at the time that the event has.
  void note(const Event& event) noexcept;
  // Keeps the end of the ring, for whoever asks what a fault came from.
  void keep() noexcept;

 private:
  EventsRecord* record_ = nullptr;
  uint64_t kept_ = 0;  // events up to here were kept before
};

}  // namespace vanity
