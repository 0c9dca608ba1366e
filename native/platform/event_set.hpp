// Descriptors that count what came, and one wait for many of them: Linux's eventfd and epoll, or
// the simulator's in their place.
#pragma once

#include <cstdint>

#include "platform/fd.hpp"

namespace vanity {

// Counts from 0 and never blocks. None, and errno: there are no more descriptors.
Fd make_event() noexcept;
// One more; from any thread. Everything before is seen by who takes it.
void raise_event(int fd) noexcept;
// How many came since the last time. False: none.
bool take_event(int fd, uint64_t& times) noexcept;

class EventSet {
 public:
  static constexpr int kMost = 64;  // of one wait; the rest come with the next

  // Throws VANITY_E_SYSTEM.
  EventSet();
  // Throws VANITY_E_SYSTEM. `tag` is what wait() says of it.
  void add(int fd, void* tag);
  void remove(int fd) noexcept;
  // Until one of them is readable, or it is `until_ns` (UINT64_MAX: never): how many are.
  int wait(void* (&tags)[kMost], uint64_t now_ns, uint64_t until_ns) noexcept;

 private:
  Fd epoll_;
};

}  // namespace vanity
