#include "wake/interrupt.hpp"

#include <sys/eventfd.h>

#include <cerrno>
#include <system_error>

#include "platform/detect.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"

namespace vanity::wake {
namespace {

Fd make_eventfd() {
  Fd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) throw system_error("VANITY_E_MEMORY", "eventfd", errno);
  return fd;
}

}  // namespace

uint32_t kernel_cpu(uint32_t from, uint32_t to) {
  for (const Cpu& cpu : read_topology().cpus) {
    if (cpu.usable && cpu.id != from && cpu.id != to) return cpu.id;
  }
  return from;
}

Interrupt::Interrupt(uint32_t cpu, WaitTuning tuning, Dates)
    : raised_(make_eventfd()),
      stop_(make_eventfd()),
      record_(std::make_unique<VectorRecord>()),
      shard_(std::make_unique<ShardLine>()),
      waiter_(std::make_unique<Waiter>(choose_backend("auto"), tuning, &shard_->sleeper)),
      interrupts_([](const std::string&) {}) {
  VectorSpec spec;
  spec.fd = raised_.get();
  spec.record = record_.get();
  spec.shard = shard_.get();
  line_ = &interrupts_.add(spec);
  interrupts_.add(stop_.get(), 1, [](uint64_t) {});
  try {
    kernel_ = std::thread([this, cpu] {
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

Interrupt::~Interrupt() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(stop_.get(), &one, sizeof one);
  kernel_.join();
}

}  // namespace vanity::wake
