// A thread of control that is switched to by name. Its stack is given up, not unwound, when an
// execution ends early, so nothing on it may own anything.
#pragma once

#include <cstddef>
#include <memory>

namespace vanity::sim {

class Fiber {
 public:
  static constexpr size_t kStackBytes = 64 * 1024;

  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next switch to it calls `entry(argument)`, which must not return.
  void start(void (*entry)(void*), void* argument);
  // Leaves this one for the other; returns when somebody switches back.
  void switch_to(Fiber& other) noexcept;

 private:
  void* stack_pointer_ = nullptr;
  std::unique_ptr<std::byte[]> stack_;  // none: the stack of the thread that began
};

}  // namespace vanity::sim
