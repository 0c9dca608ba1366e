// Older x86 and RISC-V: Linux mediates. The protocol around these two calls is in wait.hpp.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <cerrno>

#include <algorithm>

#include "platform/clock.hpp"
#include "vanity/platform.hpp"

namespace vanity {
namespace {

// Linux finds the sleeper by the page, and not by the address in this process.
int shared_or(int operation) noexcept {
  const bool shared = detail::waits_are_shared.load(std::memory_order_relaxed);
  return shared ? operation : operation | FUTEX_PRIVATE_FLAG;
}

}  // namespace

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

Wake Hardware::futex_wait(const Atomic<uint32_t>& word, uint32_t expected,
                          uint64_t deadline) noexcept {
  const uint64_t now = now_ticks();
  if (now >= deadline) return Wake::deadline;
  const uint64_t ns = ticks_to_ns(deadline - now);
  timespec timeout;
  timeout.tv_sec = static_cast<time_t>(std::min<uint64_t>(ns / 1'000'000'000, 3600));
  timeout.tv_nsec = static_cast<long>(ns % 1'000'000'000);
  if (syscall(SYS_futex, &word, shared_or(FUTEX_WAIT), expected, &timeout, nullptr, 0) == 0) {
    return Wake::spurious;  // woken; the caller reads the word to learn whether it was meant
  }
  return errno == ETIMEDOUT ? Wake::deadline : Wake::spurious;
}

void Hardware::futex_wake(Atomic<uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, shared_or(FUTEX_WAKE), 1, nullptr, nullptr, 0);
}

}  // namespace vanity
