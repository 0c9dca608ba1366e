#include "memory/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "platform/error.hpp"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#define MFD_HUGE_1GB (30u << 26)
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace vanity {
namespace {

constexpr size_t k2m = size_t{2} << 20;
constexpr size_t k1g = size_t{1} << 30;
constexpr size_t kWorth1g = size_t{512} << 20;  // smaller ones would waste most of the page
constexpr int kMpolBind = 2;

size_t small_page() {
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

size_t page_bytes_of(PageKind kind) {
  switch (kind) {
    case PageKind::huge_1g:
      return k1g;
    case PageKind::huge_2m:
    case PageKind::transparent:
      return k2m;
    case PageKind::small:
      break;
  }
  return small_page();
}

size_t round_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// The kernel marks the mode in force: "always [madvise] never".
bool transparent_is_off() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  return !std::getline(file, line) || line.find("[never]") != std::string::npos;
}

int make_memfd(PageKind kind, Sharing sharing) {
  unsigned flags = MFD_CLOEXEC;
  if (sharing == Sharing::sealed) flags |= MFD_ALLOW_SEALING;
  if (kind == PageKind::huge_1g) flags |= MFD_HUGETLB | MFD_HUGE_1GB;
  if (kind == PageKind::huge_2m) flags |= MFD_HUGETLB | MFD_HUGE_2MB;
  return memfd_create("vanity-arena", flags);
}

// The raw system call, so that nothing depends on libnuma. Before the first touch.
bool bind_to_node(void* base, size_t bytes, uint32_t node) {
  constexpr size_t kMaskBits = 1024;
  constexpr size_t kWordBits = sizeof(unsigned long) * 8;
  if (node >= kMaskBits) return false;
  unsigned long mask[kMaskBits / kWordBits] = {};
  mask[node / kWordBits] = 1ul << (node % kWordBits);
  return syscall(SYS_mbind, base, bytes, kMpolBind, mask, kMaskBits + 1, 0) == 0;
}

// Every page present before the first packet: later there would be a fault in the data path, or a
// SIGBUS when the host has run out.
bool populate(std::byte* base, size_t bytes, int fd) {
  if (madvise(base, bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  // Before Linux 5.14: take the pages of the file first, for touching one that can't be had is
  // fatal.
  if (fd >= 0 && fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0) return false;
  for (size_t at = 0; at < bytes; at += small_page()) {
    *reinterpret_cast<volatile char*>(base + at) = 0;
  }
  return true;
}

const char* hint_of(PageKind kind) {
  switch (kind) {
    case PageKind::huge_1g:
      return "echo 1 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages, or boot with "
             "hugepagesz=1G hugepages=N";
    case PageKind::huge_2m:
      return "echo N > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, N = bytes of all "
             "arenas / 2097152, rounded up for each";
    case PageKind::transparent:
      return "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
    case PageKind::small:
      break;
  }
  return "";
}

}  // namespace

const char* page_kind_name(PageKind kind) noexcept {
  constexpr const char* kNames[] = {"1 GiB", "2 MiB", "transparent", "4 KiB"};
  return kNames[static_cast<int>(kind)];
}

void Arena::note(const std::string& text) {
  if (!why_.empty()) why_ += "; ";
  why_ += text;
}

void Arena::unmap() noexcept {
  if (reserved_ != nullptr) munmap(reserved_, reserved_bytes_);
  if (fd_ >= 0) close(fd_);
  reserved_ = base_ = nullptr;
  fd_ = -1;
}

bool Arena::try_map(PageKind kind, uint32_t node) {
  const std::string pages = std::string(page_kind_name(kind)) + " pages: ";
  const bool huge_tlb = kind == PageKind::huge_1g || kind == PageKind::huge_2m;
  page_bytes_ = page_bytes_of(kind);
  bytes_ = round_up(wanted_, page_bytes_);
  const auto failed = [&](const char* what) {
    note(pages + what + ": " + std::strerror(errno));
    unmap();
    return false;
  };

  if (kind == PageKind::transparent) {
    if (sharing_ == Sharing::sealed) {
      note(pages + "private, and these are to be shared");
      return false;
    }
    if (transparent_is_off()) {
      note(pages + "switched off on this host");
      return false;
    }
  } else {
    fd_ = make_memfd(kind, sharing_);
    if (fd_ < 0) return failed("this kernel has none");
    if (ftruncate(fd_, static_cast<off_t>(bytes_)) != 0) return failed("can't size the memfd");
    if (sharing_ == Sharing::sealed &&
        fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
      return failed("can't seal the memfd");
  }

  // One reservation with room to align and a guard on each side, then the arena mapped into it.
  // The guards are whole pages of the kind, for transparent pages would otherwise merge with them.
  const size_t guard = huge_tlb ? small_page() : page_bytes_;
  reserved_bytes_ = bytes_ + page_bytes_ + 2 * guard;
  void* const reserved =
      mmap(nullptr, reserved_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    reserved_ = nullptr;
    return failed("no address space");
  }
  reserved_ = static_cast<std::byte*>(reserved);
  const uintptr_t start = round_up(reinterpret_cast<uintptr_t>(reserved_) + guard, page_bytes_);
  const int flags = fd_ >= 0 ? MAP_SHARED | MAP_FIXED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  void* const base =
      mmap(reinterpret_cast<void*>(start), bytes_, PROT_READ | PROT_WRITE, flags, fd_, 0);
  if (base == MAP_FAILED) return failed(huge_tlb ? "not enough are free" : "can't map");
  base_ = static_cast<std::byte*>(base);

  if (kind == PageKind::transparent && madvise(base_, bytes_, MADV_HUGEPAGE) != 0) {
    return failed("this kernel has none");
  }
  if (node != kAnyNode && !bind_to_node(base_, bytes_, node)) {
    note("not bound to node " + std::to_string(node) + ": " + std::strerror(errno));
  }
  if (!populate(base_, bytes_, fd_)) {
    return failed(huge_tlb ? "not enough are free on the node" : "can't fill");
  }
  // A dump of gigabytes of packets helps nobody and may hold what nobody should read.
  madvise(base_, bytes_, MADV_DONTDUMP);
  // A child of the process must not turn these pages into copies.
  madvise(base_, bytes_, MADV_DONTFORK);
  kind_ = kind;
  locked_ = mlock(base_, bytes_) == 0;
  if (!locked_ && !huge_tlb)
    note("not locked, may be swapped out (raise with: ulimit -l unlimited)");
  return true;
}

Arena::Arena(size_t bytes, uint32_t numa_node, PageChoice pages, Sharing sharing)
    : wanted_(bytes == 0 ? 1 : bytes), sharing_(sharing) {
  if (wanted_ > SIZE_MAX / 4) throw Error("VANITY_E_MEMORY", "an arena of this size can't exist");
  if (pages == PageChoice::automatic) {
    for (const PageKind kind :
         {PageKind::huge_1g, PageKind::huge_2m, PageKind::transparent, PageKind::small}) {
      if (kind == PageKind::huge_1g && wanted_ < kWorth1g) continue;
      if (try_map(kind, numa_node)) break;
    }
  } else {
    const PageKind kind = static_cast<PageKind>(static_cast<int>(pages) - 1);
    if (!try_map(kind, numa_node) && kind != PageKind::small) {
      throw Error("VANITY_E_HUGE_PAGES", why_, hint_of(kind));
    }
  }
  if (base_ == nullptr) {
    throw Error("VANITY_E_MEMORY",
                "no memory for an arena of " + std::to_string(wanted_) + " bytes: " + why_,
                "give the shards smaller arenas, or the machine more memory");
  }
  if (kind_ == PageKind::small) note("4 KiB pages cost more TLB misses than 2 MiB pages");
  if (kind_ == PageKind::transparent)
    note("transparent pages are private: other processes can't map this arena");
}

Arena::~Arena() {
  unmap();
}

void* Arena::allocate(size_t bytes, size_t align) {
  const size_t start = round_up(used_, align == 0 ? 1 : align);
  if (start > bytes_ || bytes > bytes_ - start) {
    throw Error("VANITY_E_MEMORY",
                "an arena of " + std::to_string(bytes_) +
                    " bytes is full: " + std::to_string(bytes) + " more wanted, " +
                    std::to_string(bytes_ - used_) + " left",
                "raise arena = \"...\" of this shard in the manifest");
  }
  used_ = start + bytes;
  return base_ + start;
}

void Arena::rewind(size_t used) noexcept {
  if (used >= used_) return;
  std::memset(base_ + used, 0, used_ - used);
  used_ = used;
}

}  // namespace vanity
