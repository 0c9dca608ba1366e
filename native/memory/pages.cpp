#include "memory/pages.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#define MFD_HUGE_1GB (30u << 26)
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace vanity::pages {
namespace {

constexpr size_t k2m = size_t{2} << 20;
constexpr size_t k1g = size_t{1} << 30;
constexpr int kMpolBind = 2;

}  // namespace

size_t bytes_of(PageKind kind) {
  switch (kind) {
    case PageKind::huge_1g:
      return k1g;
    case PageKind::huge_2m:
    case PageKind::transparent:
      return k2m;
    case PageKind::small:
      break;
  }
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// The kernel marks the mode in force: "always [madvise] never".
bool transparent_is_off() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  return !std::getline(file, line) || line.find("[never]") != std::string::npos;
}

int make_file(PageKind kind, Sharing sharing) {
  unsigned flags = MFD_CLOEXEC;
  if (sharing == Sharing::sealed) flags |= MFD_ALLOW_SEALING;
  if (kind == PageKind::huge_1g) flags |= MFD_HUGETLB | MFD_HUGE_1GB;
  if (kind == PageKind::huge_2m) flags |= MFD_HUGETLB | MFD_HUGE_2MB;
  return memfd_create("vanity-arena", flags);
}

bool size_file(int file, size_t bytes) {
  return ftruncate(file, static_cast<off_t>(bytes)) == 0;
}

bool seal_file(int file) {
  return fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

void close_file(int file) noexcept {
  close(file);
}

std::byte* reserve(size_t bytes) {
  void* const reserved =
      mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return reserved == MAP_FAILED ? nullptr : static_cast<std::byte*>(reserved);
}

void give_back(std::byte* reserved, size_t bytes) noexcept {
  munmap(reserved, bytes);
}

bool map(std::byte* at, size_t bytes, int file) {
  const int flags = file >= 0 ? MAP_SHARED | MAP_FIXED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  return mmap(at, bytes, PROT_READ | PROT_WRITE, flags, file, 0) != MAP_FAILED;
}

bool make_transparent(std::byte* at, size_t bytes) {
  return madvise(at, bytes, MADV_HUGEPAGE) == 0;
}

// The raw system call, so that nothing depends on libnuma. Before the first touch.
bool bind_to_node(std::byte* at, size_t bytes, uint32_t node) {
  constexpr size_t kMaskBits = 1024;
  constexpr size_t kWordBits = sizeof(unsigned long) * 8;
  if (node >= kMaskBits) return false;
  unsigned long mask[kMaskBits / kWordBits] = {};
  mask[node / kWordBits] = 1ul << (node % kWordBits);
  return syscall(SYS_mbind, at, bytes, kMpolBind, mask, kMaskBits + 1, 0) == 0;
}

bool fill(std::byte* at, size_t bytes, int file) {
  if (madvise(at, bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  // Before Linux 5.14: take the pages of the file first, for touching one that can't be had is
  // fatal.
  if (file >= 0 && fallocate(file, 0, 0, static_cast<off_t>(bytes)) != 0) return false;
  for (size_t each = 0; each < bytes; each += bytes_of(PageKind::small)) {
    *reinterpret_cast<volatile char*>(at + each) = 0;
  }
  return true;
}

bool lock(std::byte* at, size_t bytes) {
  return mlock(at, bytes) == 0;
}

void keep_to_itself(std::byte* at, size_t bytes) {
  // A dump of gigabytes of packets helps nobody and may hold what nobody should read.
  madvise(at, bytes, MADV_DONTDUMP);
  // A child of the process must not turn these pages into copies.
  madvise(at, bytes, MADV_DONTFORK);
}

}  // namespace vanity::pages
