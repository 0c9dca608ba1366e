// The mechanisms themselves: what a waiter waits by, and a signaller signals with. Each has the
// line of mail that both share; what else it has is its own business.
//
//   wait_for(seen)     returns the newest sequence once it is not `seen`, or when the pair stops
//   publish(sequence)  stores it and signals
//   kick()             from a third thread: gets a waiter that sleeps out to see that it is over
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "platform/backends.hpp"
#include "platform/error.hpp"
#include "platform/wait.hpp"
#include "wake/pair.hpp"

namespace vanity::wake {

// When each sequence was published, by the signaller's clock, taken after the signal; 0: not yet.
// Read by the waiter only when a bound ended its wait, to tell whether a wake was lost.
struct Dates {
  const std::vector<std::atomic<uint64_t>>* after;
  int64_t offset_ticks;  // clock of the waiter minus clock of the signaller

  bool before(uint32_t sequence, uint64_t tick) const noexcept {
    // Relaxed: a date says only that the store it follows is older than itself.
    const uint64_t date = (*after)[sequence - 1].load(std::memory_order_relaxed);
    return date != 0 && static_cast<int64_t>(tick - date) > offset_ticks;
  }
};

// What crosses between the two cores: a line to the waiter with each signal, and in a closed loop a
// line back. Each has one writer, as the lines of channels and shards have. (One line that both
// write to may pass faster: some processors see that it migrates, and hand it over for writing.)
struct Mail {
  alignas(kIsolationBytes) std::atomic<uint32_t> sequence{0};
  alignas(kIsolationBytes) std::atomic<uint32_t> taken{UINT32_MAX};

  // Pairs with load() in the waiter.
  void store(uint32_t value) noexcept { sequence.store(value, std::memory_order_release); }
  // Pairs with store() in the signaller.
  uint32_t load() const noexcept { return sequence.load(std::memory_order_acquire); }
  // The waiter has seen so many, and goes to wait for the next. Pairs with Cell::await().
  void take(uint32_t seen) noexcept { taken.store(seen, std::memory_order_release); }
};

// The waiter that ships, and signal(). Sleeps no longer than 10 ms, so it needs no kick.
template <class Policy>
class Backed {
 public:
  Backed(Backend backend, WaitTuning tuning, Dates dates) noexcept
      : dates_(dates), waiter_(backend, tuning, &sleeper_) {}

  uint32_t wait_for(uint32_t seen, const Pair& pair) noexcept {
    uint32_t found = seen;
    const auto ready = [&] {
      found = mail.load();
      return found != seen;
    };
    const auto watched = [&](uint64_t tick) { return dates_.before(seen + 1, tick); };
    while (waiter_.idle(&mail, ready, UINT64_MAX, watched) != Wake::signalled) {
      if (pair.stopped()) return mail.load();
    }
    return found;
  }
  void publish(uint32_t sequence) noexcept {
    mail.store(sequence);
    signal(sleeper_);
  }
  void poll() noexcept {}
  void kick() noexcept {}
  const WaitCounters& counters() const noexcept { return waiter_.counters(); }

  Mail mail;

 private:
  alignas(kIsolationBytes) BasicSleeper<Policy> sleeper_;
  alignas(kIsolationBytes) const Dates dates_;  // from here on the waiter's own
  BasicWaiter<Policy> waiter_;
};

// A spinner that leaves out the pause.
struct Bare : Hardware {
  static void relax() noexcept {}
};

// A plain WFE, also where there is WFET.
struct Untimed : Hardware {
  static Wake wait(Backend, uint64_t deadline, bool) noexcept {
    return wfe::wait_untimed(deadline);
  }
};

// The references know neither flag nor bound: what a program does that has only the system call.
class Reference {
 public:
  void poll() noexcept {}
  const WaitCounters& counters() const noexcept { return counters_; }

  Mail mail;

 protected:
  template <class Sleep>
  uint32_t sleep_until_mail(uint32_t seen, const Pair& pair, Sleep&& sleep) noexcept {
    do {
      ++counters_.waits;
      sleep();
      const uint32_t found = mail.load();
      ++(found == seen ? counters_.spurious : counters_.signalled);
      if (found != seen) return found;
    } while (!pair.stopped());
    return seen;
  }

 private:
  alignas(kIsolationBytes) WaitCounters counters_;
};

class RawFutex : public Reference {
 public:
  explicit RawFutex(Dates) noexcept {}
  uint32_t wait_for(uint32_t seen, const Pair& pair) noexcept {
    const uint32_t found = mail.load();
    if (found != seen) return found;
    return sleep_until_mail(seen, pair, [&] {
      syscall(SYS_futex, &mail.sequence, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    });
  }
  void publish(uint32_t sequence) noexcept {
    mail.store(sequence);
    kick();
  }
  void kick() noexcept {
    syscall(SYS_futex, &mail.sequence, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
};

class EventFd : public Reference {
 public:
  explicit EventFd(Dates) : fd_(eventfd(0, EFD_CLOEXEC)) {
    if (fd_ < 0) throw system_error("VANITY_E_MEMORY", "eventfd", errno);
  }
  ~EventFd() { close(fd_); }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;

  // Reads even when the mail is there: the count would end the next wait for nothing.
  uint32_t wait_for(uint32_t seen, const Pair& pair) noexcept {
    return sleep_until_mail(seen, pair, [&] {
      uint64_t count;
      [[maybe_unused]] const ssize_t got = read(fd_, &count, sizeof count);
    });
  }
  void publish(uint32_t sequence) noexcept {
    mail.store(sequence);
    kick();
  }
  void kick() noexcept {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = write(fd_, &one, sizeof one);
  }

 private:
  const int fd_;
};

class Pipe : public Reference {
 public:
  explicit Pipe(Dates) {
    if (pipe2(fds_, O_CLOEXEC) != 0) throw system_error("VANITY_E_MEMORY", "pipe", errno);
    // A full pipe holds signals enough.
    fcntl(fds_[1], F_SETFL, O_NONBLOCK);
  }
  ~Pipe() {
    close(fds_[0]);
    close(fds_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  uint32_t wait_for(uint32_t seen, const Pair& pair) noexcept {
    return sleep_until_mail(seen, pair, [&] { drain(); });
  }
  void publish(uint32_t sequence) noexcept {
    mail.store(sequence);
    kick();
  }
  void poll() noexcept {
    pollfd ready{fds_[0], POLLIN, 0};
    if (::poll(&ready, 1, 0) > 0) drain();
  }
  void kick() noexcept { [[maybe_unused]] const ssize_t put = write(fds_[1], "", 1); }

 private:
  void drain() noexcept {
    char bytes[4096];
    [[maybe_unused]] const ssize_t got = read(fds_[0], bytes, sizeof bytes);
  }
  int fds_[2];
};

}  // namespace vanity::wake
