// What Linux knows of a thread that makes no progress, read from /proc by the kernel's thread.
#pragma once

#include <cstdint>
#include <string>

namespace vanity {

struct ThreadSample {
  char state = '?';        // as in proc(5): R, S, D, T, t
  uint64_t run_ns = 0;     // on a processor
  uint64_t wait_ns = 0;    // ready to run, and not on one
  bool scheduled = false;  // the two above are known
};
ThreadSample sample_thread(int thread);

// The function of Linux in which the thread sleeps; empty when that is not told.
std::string wait_channel(int thread);

// Time that the hypervisor took from this processor, in clock ticks of 10 ms.
uint64_t stolen_ticks(uint32_t core);

// By how much CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC: the time that the machine was suspended.
uint64_t suspended_ns();

}  // namespace vanity
