#include "kernel/signals.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace vanity {
namespace {

std::atomic<int> g_wake_fd{-1};
std::atomic<uint32_t> g_count{0};

// Only async-signal-safe calls: an increment and a write (signal-safety(7)).
void on_signal(int) {
  const int saved = errno;
  g_count.fetch_add(1, std::memory_order_relaxed);
  const uint64_t one = 1;
  const int fd = g_wake_fd.load(std::memory_order_relaxed);
  if (fd >= 0 && write(fd, &one, sizeof(one)) < 0) {
    // The counter is at its limit, so the kernel is about to wake anyway.
  }
  errno = saved;
}

}  // namespace

StopSignals::StopSignals(int wake_fd) {
  g_count.store(0, std::memory_order_relaxed);
  g_wake_fd.store(wake_fd, std::memory_order_relaxed);
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &previous_int_);
  sigaction(SIGTERM, &action, &previous_term_);
}

StopSignals::~StopSignals() {
  sigaction(SIGINT, &previous_int_, nullptr);
  sigaction(SIGTERM, &previous_term_, nullptr);
  g_wake_fd.store(-1, std::memory_order_relaxed);
}

uint32_t StopSignals::count() noexcept {
  return g_count.load(std::memory_order_relaxed);
}

}  // namespace vanity
