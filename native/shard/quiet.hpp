// Threads of shards hear no signals but their own. A handler takes microseconds at the best:
// whoever sends signals to the process finds other threads. What a thread brings on itself, and
// profilers, stay.
#pragma once

#include <pthread.h>
#include <signal.h>

#include "shard/guard.hpp"

namespace vanity {

// For the length of a scope; threads that are started in it inherit it.
class Quiet {
 public:
  Quiet() noexcept {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF}) {
      sigdelset(&blocked, own);
    }
    sigdelset(&blocked, Guard::sample_signal());
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~Quiet() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  sigset_t before_;
};

}  // namespace vanity
