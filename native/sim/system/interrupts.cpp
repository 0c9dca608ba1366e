// kernel/interrupts.hpp: nothing comes but the kernel's next turn.
#include "kernel/interrupts.hpp"

#include <cstdlib>

namespace vanity {

Interrupts::Interrupts(std::function<void(const std::string&)> warn, StormLimits limits)
    : warn_(std::move(warn)), limits_(limits) {}

void Interrupts::add(int, uint32_t, std::function<void(uint64_t)> call) {
  call = nullptr;  // there is nothing to call it for
}
void Interrupts::add_readable(int, uint32_t, std::function<void()> call) {
  call = nullptr;
}
IrqLine& Interrupts::add(const VectorSpec&) {
  std::abort();  // there are no devices
}
void Interrupts::remove(uint32_t) noexcept {}

// Who wants something of the kernel does not wake it here: it looks again after a while.
bool Interrupts::wait(uint64_t) noexcept {
  sim::World::current().nap_for_a_while();
  return true;
}

}  // namespace vanity
