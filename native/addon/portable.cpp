// The oldest glibc that the prebuild needs is decided here. libstdc++ is linked in, and its
// std::random_device, which nothing of Vanity uses, asks for arc4random of glibc 2.36; with this
// one the addon loads from glibc 2.34 on (Debian 12, Ubuntu 22.04, RHEL 9).
#include <sys/random.h>

#include <cstdint>
#include <cstdlib>

extern "C" uint32_t arc4random() noexcept {
  uint32_t value = 0;
  if (getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) std::abort();
  return value;
}
