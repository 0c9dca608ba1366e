#include "platform/event_set.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "platform/error.hpp"

namespace vanity {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kNsPerS = 1'000'000'000;

Error failed() {
  return system_error("VANITY_E_SYSTEM", "epoll", errno, "raise the limit: ulimit -n");
}

// To the nanosecond where Linux can (5.11): an alarm is due in less than a millisecond.
int wait_until(int epoll, epoll_event* events, uint64_t until, uint64_t now) noexcept {
  const uint64_t ns = until > now ? until - now : 0;
  const timespec time{static_cast<time_t>(ns / kNsPerS), static_cast<long>(ns % kNsPerS)};
  const bool ends = until != UINT64_MAX;
  // By number: glibc has had a name for it since 2.35 only.
  const long count = syscall(SYS_epoll_pwait2, epoll, events, EventSet::kMost,
                             ends ? &time : nullptr, nullptr, size_t{0});
  if (count >= 0 || errno != ENOSYS) return static_cast<int>(count);
  // Rounded up, or the last part of a millisecond would be spent looking.
  const int ms = ends ? static_cast<int>(ns / kNsPerMs + (ns % kNsPerMs != 0)) : -1;
  return epoll_wait(epoll, events, EventSet::kMost, ms);
}

}  // namespace

Fd make_event() noexcept {
  return Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void raise_event(int fd) noexcept {
  const uint64_t one = 1;
  if (write(fd, &one, sizeof one) < 0) {
    // Full: it is under way already.
  }
}

bool take_event(int fd, uint64_t& times) noexcept {
  return read(fd, &times, sizeof times) == sizeof times;
}

EventSet::EventSet() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw failed();
}

void EventSet::add(int fd, void* tag) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = tag;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) throw failed();
}

void EventSet::remove(int fd) noexcept {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

int EventSet::wait(void* (&tags)[kMost], uint64_t now_ns, uint64_t until_ns) noexcept {
  epoll_event events[kMost];
  const int count = wait_until(epoll_.get(), events, until_ns, now_ns);
  for (int i = 0; i < count; ++i) tags[i] = events[i].data.ptr;
  return count;
}

}  // namespace vanity
