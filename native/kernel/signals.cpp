#include "kernel/signals.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>

namespace vanity {
namespace {

constexpr int kNoFd = 0;  // what static storage holds; descriptor 0 is never an eventfd of ours
// A system past these is not woken: its kernel looks at the count every turn all the same.
std::array<std::atomic<int>, 64> g_wake_fds{};
std::atomic<uint32_t> g_count{0};

std::mutex g_mutex;  // of the three below; the handler touches none of them
uint32_t g_listeners = 0;
struct sigaction g_previous_int {};
struct sigaction g_previous_term {};

// Only async-signal-safe calls: an increment and writes (signal-safety(7)).
void on_signal(int) {
  const int saved = errno;
  g_count.fetch_add(1, std::memory_order_relaxed);
  const uint64_t one = 1;
  for (const auto& each : g_wake_fds) {
    const int fd = each.load(std::memory_order_relaxed);
    if (fd != kNoFd && write(fd, &one, sizeof(one)) < 0) {
      // The counter is at its limit, so the kernel is about to wake anyway.
    }
  }
  errno = saved;
}

}  // namespace

StopSignals::StopSignals(int wake_fd) : slot_(0) {
  const std::lock_guard<std::mutex> lock(g_mutex);
  before_ = g_count.load(std::memory_order_relaxed);
  while (slot_ < g_wake_fds.size() && g_wake_fds[slot_].load(std::memory_order_relaxed) != kNoFd) {
    ++slot_;
  }
  if (slot_ < g_wake_fds.size()) g_wake_fds[slot_].store(wake_fd, std::memory_order_relaxed);
  if (g_listeners++ != 0) return;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &g_previous_int);
  sigaction(SIGTERM, &action, &g_previous_term);
}

StopSignals::~StopSignals() {
  const std::lock_guard<std::mutex> lock(g_mutex);
  if (slot_ < g_wake_fds.size()) g_wake_fds[slot_].store(kNoFd, std::memory_order_relaxed);
  if (--g_listeners != 0) return;
  sigaction(SIGINT, &g_previous_int, nullptr);
  sigaction(SIGTERM, &g_previous_term, nullptr);
}

uint32_t StopSignals::count() const noexcept {
  return g_count.load(std::memory_order_relaxed) - before_;
}

}  // namespace vanity
