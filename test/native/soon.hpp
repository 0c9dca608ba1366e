// Waiting for what another thread does.
#pragma once

#include <chrono>
#include <thread>

// False: it was not so within the time.
template <class Done>
bool soon(Done&& done, int ms = 20000) {
  for (int i = 0; i < ms; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}
