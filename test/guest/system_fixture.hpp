// A whole System in the guest: what is waited for, a process that is killed while its system runs,
// and what Linux is told of devices.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "../native/check.hpp"
#include "environment.hpp"
#include "kernel/system.hpp"

namespace vanity {

inline bool eventually(const std::function<bool()>& holds, int seconds = 60) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

inline void run(System& system, int seconds = 60) {
  CHECK(eventually([&] { return system.shard(0).state() != ShardState::starting; }, seconds));
  system.start();
  CHECK(eventually([&] { return system.state() != SystemState::booting; }, seconds));
}
// Stopped, in order, and nothing went wrong.
inline void stop(System& system, int seconds = 60) {
  system.stop(false);
  CHECK(eventually([&] { return system.state() >= SystemState::stopped; }, seconds));
  for (const Failure& failure : system.failures())
    std::printf("  %s: %s\n", failure.code.c_str(), failure.message.c_str());
  CHECK(system.state() == SystemState::stopped);
}

// `runs` never returns, in a process of its own, which is killed after a while.
inline void dies_by_sigkill(std::chrono::seconds after, const std::function<void()>& runs) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      runs();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "  child: %s\n", error.what());
    }
    _exit(99);
  }
  std::this_thread::sleep_for(after);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

inline void say(const std::string& file, const std::string& what) {
  std::ofstream out(file);
  out << what << std::flush;
  if (!out.good()) throw std::runtime_error("cannot write " + file);
}
// "unbind" comes back when the device is closed.
inline void tell_vfio(const std::string& what, const std::string& address) {
  say("/sys/bus/pci/drivers/vfio-pci/" + what, address);
}
inline long long ms_since(std::chrono::steady_clock::time_point began) {
  const auto took = std::chrono::steady_clock::now() - began;
  return std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
}
// Which is said when all of it is done.
inline bool is_returned(const DeviceRecord& device) {
  return device.state.load() == static_cast<uint32_t>(DeviceState::returned);
}

}  // namespace vanity
