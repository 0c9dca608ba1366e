#include "sim/system/region.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "platform/error.hpp"

namespace vanity::sim {
namespace {

constexpr size_t kPage = 4096;
// A multiple of each kind of page, so that what is aligned lies in the same place in each process.
constexpr size_t kAlignment = size_t{64} << 10;

}  // namespace

std::byte* Region::base() {
  static std::byte* const memory = [] {
    void* at = mmap(nullptr, kBytes + kAlignment, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw system_error("VANITY_E_MEMORY", "no memory to simulate in", errno);
    return static_cast<std::byte*>(at) +
           (kAlignment - reinterpret_cast<uintptr_t>(at) % kAlignment) % kAlignment;
  }();
  return memory;
}

std::byte* Region::take(size_t bytes) {
  bytes = (bytes + kPage - 1) / kPage * kPage;
  if (bytes > kBytes - used_) {
    throw Error("VANITY_E_MEMORY",
                "the simulated system needs more than " + std::to_string(kBytes >> 20) + " MiB",
                "make it smaller: --capacity, --buffers");
  }
  std::byte* const at = base() + used_;
  used_ += bytes;
  std::memset(at, 0, bytes);
  return at;
}

void Region::reset() noexcept {
  used_ = 0;
}

}  // namespace vanity::sim
