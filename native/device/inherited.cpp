#include "device/inherited.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <bitset>
#include <cstdlib>

namespace vanity {
namespace {

constexpr int kFirst = 3;   // SD_LISTEN_FDS_START
constexpr int kMost = 256;  // more than that is a mistake in the environment

// A number is somebody else's once we closed it.
std::bitset<kFirst + kMost> g_taken;

long number_in(const char* variable) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? 0 : std::strtol(text, nullptr, 10);
}

// By device number: how the parent spelled the path does not matter.
int find(const std::string& node) {
  struct stat wanted = {};
  if (stat(node.c_str(), &wanted) != 0 || !S_ISCHR(wanted.st_mode)) return -1;
  if (number_in("LISTEN_PID") != getpid()) return -1;
  const long count = number_in("LISTEN_FDS");
  for (int fd = kFirst; fd < kFirst + kMost && fd - kFirst < count; ++fd) {
    struct stat found = {};
    if (g_taken[static_cast<size_t>(fd)] || fstat(fd, &found) != 0) continue;
    if (S_ISCHR(found.st_mode) && found.st_rdev == wanted.st_rdev) return fd;
  }
  return -1;
}

}  // namespace

bool is_inherited(const std::string& node) {
  return find(node) >= 0;
}

Fd take_inherited(const std::string& node) {
  const int fd = find(node);
  if (fd < 0) return {};
  g_taken.set(static_cast<size_t>(fd));
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return Fd(fd);
}

Fd copy_inherited(const std::string& node) {
  const int fd = find(node);
  return fd < 0 ? Fd() : Fd(fcntl(fd, F_DUPFD_CLOEXEC, kFirst));
}

}  // namespace vanity
