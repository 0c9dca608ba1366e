#include "kernel/stall.hpp"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace vanity {
namespace {

// One read, as /proc wants it; the text ends with a zero.
size_t read_whole(const char* path, char* text, size_t bytes) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t got = read(fd, text, bytes - 1);
  close(fd);
  const size_t length = got < 0 ? 0 : static_cast<size_t>(got);
  text[length] = '\0';
  return length;
}

}  // namespace

// By its own number in both places, as Linux lets anybody: it may be of another process.
ThreadSample sample_thread(int thread) {
  ThreadSample sample;
  char path[64];
  char text[512];
  std::snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", thread, thread);
  if (read_whole(path, text, sizeof(text)) != 0) {
    // The name stands in parentheses and may hold any.
    const char* const end = std::strrchr(text, ')');
    if (end != nullptr && end[1] == ' ') sample.state = end[2];
  }
  std::snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", thread, thread);
  if (read_whole(path, text, sizeof(text)) == 0) return sample;
  char* rest = text;
  sample.run_ns = std::strtoull(rest, &rest, 10);
  sample.wait_ns = std::strtoull(rest, &rest, 10);
  sample.scheduled = true;
  return sample;
}

std::string wait_channel(int thread) {
  char path[64];
  char text[128];
  std::snprintf(path, sizeof(path), "/proc/%d/task/%d/wchan", thread, thread);
  if (read_whole(path, text, sizeof(text)) == 0 || std::strcmp(text, "0") == 0) return {};
  return text;
}

uint64_t stolen_ticks(uint32_t core) {
  char text[16384];
  if (read_whole("/proc/stat", text, sizeof(text)) == 0) return 0;
  char name[24];
  std::snprintf(name, sizeof(name), "\ncpu%u ", core);
  const char* const line = std::strstr(text, name);
  unsigned long long stolen = 0;
  if (line == nullptr ||
      std::sscanf(line + 1, "%*s %*u %*u %*u %*u %*u %*u %*u %llu", &stolen) != 1)
    return 0;
  return stolen;
}

uint64_t suspended_ns() {
  timespec boot{};
  timespec running{};
  clock_gettime(CLOCK_MONOTONIC, &running);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  const auto ns = [](const timespec& t) {
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
  };
  return ns(boot) - ns(running);
}

}  // namespace vanity
