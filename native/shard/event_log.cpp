#include "shard/event_log.hpp"

#include <algorithm>

#include "vanity/platform.hpp"

namespace vanity {

void EventLog::note(const Event& event) noexcept {
  if (record_ == nullptr) return;
  write_event(record_->events_written, record_->events, limits::kShardEvents, event,
              event.ticks != 0 ? event.ticks : now_ticks());
}

void EventLog::keep() noexcept {
  if (record_ == nullptr) return;
  const uint64_t end = record_->events_written.get();
  // Its own thread has written them all.
  const uint64_t most = std::min<uint64_t>(end, limits::kFaultEvents);
  for (uint64_t n = std::max(kept_, end - most); n < end; ++n) {
    const EventSlot& slot = record_->events[n % limits::kShardEvents];
    const auto word = [&slot](uint32_t i) {
      return slot.words[i].load(std::memory_order_relaxed);  // its own
    };
    const uint64_t packed = word(1);
    const Event event{word(0),
                      static_cast<EventKind>(packed & 0xff),
                      static_cast<uint8_t>(packed >> 8),
                      static_cast<uint16_t>(packed >> 16),
                      static_cast<uint32_t>(packed >> 32),
                      word(2),
                      word(3)};
    write_event(record_->fault_events_written, record_->fault_events, EventsRecord::kFaultSlots,
                event, event.ticks);
  }
  kept_ = end;
}

}  // namespace vanity
