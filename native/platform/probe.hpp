// Is a processor's way to wait what it says it is? Executed under a guard, then tried between two
// threads. A test gives monitors of its own.
#pragma once

#include "platform/backends.hpp"
#include "platform/detect.hpp"

namespace vanity {

struct Monitor {
  Backend backend;
  const char* instructions;
  Declared (*declared)();
  void (*arm)(const volatile void*) noexcept;
  Wake (*wait)(uint64_t, bool) noexcept;
};

// Takes some milliseconds and a second thread when the instructions are there.
BackendReport probe(const Monitor& monitor);

}  // namespace vanity
