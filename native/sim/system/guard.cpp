// shard/guard.hpp: nothing stands between a program and the process; what faults ends it.
#include "shard/guard.hpp"

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
int Guard::sample_signal() noexcept {
  return SIGPROF;
}
void Guard::leave(FaultKind, const char* what) noexcept {
  sim::World& world = sim::World::current();
  world.fail(sim::Verdict::broken, (std::string("the program of ") +
                                    world.scenario().threads[world.self()] + " is left: " + what)
                                       .c_str());
}
uint32_t Guard::sample(int, uintptr_t*, uint32_t, uint64_t) noexcept {
  return 0;
}
void Guard::ask_to_leave(int, uintptr_t) noexcept {}

}  // namespace vanity
