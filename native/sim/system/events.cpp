// platform/event_set.hpp: counters that are steps, and a wait that is the scheduler's. As of any
// system call, no more is believed of it than what Linux promises: who reads an eventfd has seen
// what was done before the write.
#include "sim/system/events.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <deque>

#include "platform/clock.hpp"
#include "platform/event_set.hpp"
#include "vanity/platform.hpp"

namespace vanity {
namespace {

using Word = Hardware::Atomic<uint32_t>;

// Above all descriptors that Linux gives here.
constexpr int kFirstVector = 1 << 20;

struct Counted {
  explicit Counted(int descriptor) noexcept : fd(descriptor) {}
  const int fd;
  Word count{0};
  void* tag = nullptr;  // null: nobody waits for it
};
std::deque<Counted> events;  // they stay where they are
Word bell{0};                // changes when one of them does
int vectors = 0;

Counted* find(int fd) {
  const auto found = std::find_if(events.begin(), events.end(),
                                  [fd](const Counted& event) { return event.fd == fd; });
  return found == events.end() ? nullptr : &*found;
}

// Of the kernel's turns: 10 us to 10 ms. Whoever wants something of it may wake it at any time.
uint64_t draw_turn_ns() {
  uint64_t ns = 10'000;
  for (uint32_t tenfold = sim::World::current().draw(4); tenfold != 0; --tenfold) ns *= 10;
  return ns;
}

}  // namespace

int sim::make_vector() {
  return events.emplace_back(kFirstVector + vectors++).fd;
}
bool sim::is_raised(int fd) {
  const Counted* const event = find(fd);
  return event != nullptr && event->count.peek() != 0;
}
void sim::forget_events() {
  events.clear();
  vectors = 0;
  bell.store(0, std::memory_order_relaxed);
}

// Closed as any other, so it is one of Linux's, which nobody else looks at.
Fd make_event() noexcept {
  Fd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (fd) events.emplace_back(fd.get());
  return fd;
}

void raise_event(int fd) noexcept {
  Counted* const event = find(fd);
  if (event == nullptr) return;
  event->count.fetch_add(1, std::memory_order_acq_rel);  // pairs with take_event()
  if (!sim::World::running()) return;
  bell.fetch_add(1, std::memory_order_acq_rel);
  Hardware::futex_wake(bell);
}

bool take_event(int fd, uint64_t& times) noexcept {
  Counted* const event = find(fd);
  times = event == nullptr ? 0 : event->count.exchange(0, std::memory_order_acq_rel);
  return times != 0;
}

EventSet::EventSet() = default;

void EventSet::add(int fd, void* tag) {
  if (Counted* const event = find(fd); event != nullptr) event->tag = tag;
}
void EventSet::remove(int fd) noexcept {
  if (Counted* const event = find(fd); event != nullptr) event->tag = nullptr;
}

int EventSet::wait(void* (&tags)[kMost], uint64_t now_ns, uint64_t until_ns) noexcept {
  const uint64_t turn_ns = now_ns + draw_turn_ns();
  const uint64_t deadline = std::min(turn_ns, until_ns);
  for (;;) {
    const uint32_t seen = bell.load(std::memory_order_acquire);
    int ready = 0;
    for (Counted& event : events) {
      if (event.tag == nullptr || ready == kMost) continue;
      if (event.count.load(std::memory_order_acquire) != 0) tags[ready++] = event.tag;
    }
    if (ready != 0) return ready;
    if (monotonic_ns() >= deadline) break;
    Hardware::futex_wait(bell, seen, deadline);
  }
  if (deadline == until_ns) return 0;
  const auto wakes = std::find_if(events.begin(), events.end(), [](const Counted& event) {
    return event.tag != nullptr && event.fd < kFirstVector;
  });
  if (wakes == events.end()) return 0;
  wakes->count.fetch_add(1, std::memory_order_acq_rel);
  tags[0] = wakes->tag;
  return 1;
}

}  // namespace vanity
