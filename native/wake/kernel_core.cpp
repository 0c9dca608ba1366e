#include "wake/kernel_core.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "platform/error.hpp"
#include "platform/topology.hpp"

namespace vanity::wake {

uint32_t kernel_cpu(uint32_t from, uint32_t to) {
  for (const Cpu& cpu : read_topology().cpus) {
    if (cpu.usable && cpu.id != from && cpu.id != to) return cpu.id;
  }
  return from;
}

Fd make_eventfd() {
  Fd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) throw system_error("VANITY_E_MEMORY", "eventfd", errno);
  return fd;
}

KernelCore::KernelCore(uint32_t cpu, int raised)
    : stop_(make_eventfd()),
      record_(std::make_unique<VectorRecord>()),
      shard_(std::make_unique<ShardLine>()),
      interrupts_([](const std::string&) {}) {
  VectorSpec spec;
  spec.fd = raised;
  spec.record = record_.get();
  spec.shard = shard_.get();
  line_ = &interrupts_.add(spec);
  interrupts_.add(stop_.get(), 1, [](uint64_t) {});
  try {
    thread_ = std::thread([this, cpu] {
      set_thread_name("wake-kernel");
      try {
        pin_thread(cpu);
      } catch (const Error&) {
        // Not for us to have: it runs where it may.
      }
      while (!interrupts_.wait(UINT64_MAX)) {
      }
    });
  } catch (const std::system_error& failure) {
    throw Error("VANITY_E_MEMORY", std::string("cannot start a thread: ") + failure.what());
  }
}

KernelCore::~KernelCore() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(stop_.get(), &one, sizeof one);
  thread_.join();
}

}  // namespace vanity::wake
