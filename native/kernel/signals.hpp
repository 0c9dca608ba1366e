// SIGINT and SIGTERM, counted natively: an ordered stop never waits for JavaScript.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vanity {

// One for each system that wants them; all of a process hear every signal. The handlers that were
// in force before the first come back after the last.
class StopSignals {
 public:
  // `wake_fd` is an eventfd that every signal writes to.
  explicit StopSignals(int wake_fd);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Signals since this was made: the first asks for an ordered stop, the second for an immediate
  // one.
  uint32_t count() const noexcept;

 private:
  size_t slot_;
  uint32_t before_;
};

}  // namespace vanity
