// A thread of control that is switched to by name, on whichever thread of Linux runs the one that
// is left. Its stack may be given up instead of unwound; then nothing on it may own anything.
#pragma once

#include <cstddef>

namespace vanity {

class Fiber {
 public:
  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next switch to it calls `entry(argument)`, which must not return. The stack is the
  // caller's; one that was not started stands for the thread that leaves it first.
  void start(void* stack, size_t bytes, void (*entry)(void*), void* argument);
  // Leaves this one for the other; returns when somebody switches back.
  void switch_to(Fiber& other) noexcept;

 private:
  static void begin(void* fiber);

  void* stack_pointer_ = nullptr;
  void* stack_ = nullptr;
  size_t bytes_ = 0;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  // What sanitizers are told.
  [[maybe_unused]] void* known_ = nullptr;
  [[maybe_unused]] Fiber* from_ = nullptr;
};

}  // namespace vanity
