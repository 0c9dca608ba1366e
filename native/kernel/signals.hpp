// SIGINT and SIGTERM, counted natively: an ordered stop never waits for JavaScript.
#pragma once

#include <csignal>
#include <cstdint>

namespace vanity {

// At most one at a time in a process. The handlers in force before come back at the end.
class StopSignals {
 public:
  // `wake_fd` is an eventfd that every signal writes to.
  explicit StopSignals(int wake_fd);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Signals so far: the first asks for an ordered stop, the second for an immediate one.
  static uint32_t count() noexcept;

 private:
  struct sigaction previous_int_ {};
  struct sigaction previous_term_ {};
};

}  // namespace vanity
