// shard/guard.hpp: a program is left where the seed says so; what faults by itself
// ends the process.
#include "shard/guard.hpp"

#include <cstring>
#include <string>

#include "sim/world.hpp"

namespace vanity {

Guard::Guard() = default;
Guard::~Guard() {
  stack_ = nullptr;  // for handlers; there are none
}
Guard::Thread::Thread(Guard&) noexcept {}
Guard::Thread::~Thread() {
  given_ = false;
}
void Guard::take_thread() noexcept {}
void Guard::install(bool (*)(int, siginfo_t*)) {}
void Guard::refuse_other_signals() noexcept {}

int Guard::sample_signal() noexcept {
  return SIGPROF;
}
void Guard::leave(FaultKind kind, const char* what) noexcept {
  // What was drawn, and who was asked; anything else is one of the code under the scheduler.
  if (kind != FaultKind::asked && std::strcmp(what, "as drawn") != 0) {
    sim::World& world = sim::World::current();
    world.fail(sim::Verdict::broken, (std::string("the program of ") +
                                      world.scenario().threads[world.self()] + " is left: " + what)
                                         .c_str());
  }
  ++faults_;
  evidence_ = Evidence{};
  evidence_.kind = kind;
  std::strncpy(evidence_.what, what, sizeof(evidence_.what) - 1);
  siglongjmp(exit_, 1);
}
uint32_t Guard::sample(int, uintptr_t*, uint32_t, uint64_t) noexcept {
  return 0;
}
void Guard::ask_to_leave(int, uintptr_t) noexcept {}

}  // namespace vanity
