#include "memory/arena.hpp"

#include <cerrno>
#include <cstring>

#include "memory/pages.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

constexpr size_t kWorth1g = size_t{512} << 20;  // smaller ones would waste most of the page

size_t round_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
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
  if (reserved_ != nullptr) pages::give_back(reserved_, reserved_bytes_);
  if (fd_ >= 0) pages::close_file(fd_);
  reserved_ = base_ = nullptr;
  fd_ = -1;
}

bool Arena::try_map(PageKind kind, uint32_t node) {
  const std::string which = std::string(page_kind_name(kind)) + " pages: ";
  const bool huge_tlb = kind == PageKind::huge_1g || kind == PageKind::huge_2m;
  page_bytes_ = pages::bytes_of(kind);
  bytes_ = round_up(wanted_, page_bytes_);
  const auto failed = [&](const char* what) {
    note(which + what + ": " + std::strerror(errno));
    unmap();
    return false;
  };

  if (kind == PageKind::transparent) {
    if (sharing_ == Sharing::sealed) {
      note(which + "private, and these are to be shared");
      return false;
    }
    if (pages::transparent_is_off()) {
      note(which + "switched off on this host");
      return false;
    }
  } else {
    fd_ = pages::make_file(kind, sharing_);
    if (fd_ < 0) return failed("this kernel has none");
    if (!pages::size_file(fd_, bytes_)) return failed("can't size the memfd");
    if (sharing_ == Sharing::sealed && !pages::seal_file(fd_))
      return failed("can't seal the memfd");
  }

  // One reservation with room to align and a guard on each side, then the arena mapped into it.
  // The guards are whole pages of the kind, for transparent pages would otherwise merge with them.
  const size_t guard = huge_tlb ? pages::bytes_of(PageKind::small) : page_bytes_;
  reserved_bytes_ = bytes_ + page_bytes_ + 2 * guard;
  reserved_ = pages::reserve(reserved_bytes_);
  if (reserved_ == nullptr) return failed("no address space");
  const uintptr_t start = round_up(reinterpret_cast<uintptr_t>(reserved_) + guard, page_bytes_);
  auto* const base = reinterpret_cast<std::byte*>(start);
  if (!pages::map(base, bytes_, fd_)) return failed(huge_tlb ? "not enough are free" : "can't map");
  base_ = base;

  if (kind == PageKind::transparent && !pages::make_transparent(base_, bytes_)) {
    return failed("this kernel has none");
  }
  if (node != kAnyNode && !pages::bind_to_node(base_, bytes_, node)) {
    note("not bound to node " + std::to_string(node) + ": " + std::strerror(errno));
  }
  if (!pages::fill(base_, bytes_, fd_)) {
    return failed(huge_tlb ? "not enough are free on the node" : "can't fill");
  }
  pages::keep_to_itself(base_, bytes_);
  kind_ = kind;
  locked_ = pages::lock(base_, bytes_);
  if (!locked_ && !huge_tlb)
    note("not locked, may be swapped out (raise with: ulimit -l unlimited)");
  return true;
}

Arena::Arena(size_t bytes, uint32_t numa_node, PageChoice choice, Sharing sharing)
    : wanted_(bytes == 0 ? 1 : bytes), sharing_(sharing) {
  if (wanted_ > SIZE_MAX / 4) throw Error("VANITY_E_MEMORY", "an arena of this size can't exist");
  if (choice == PageChoice::automatic) {
    for (const PageKind kind :
         {PageKind::huge_1g, PageKind::huge_2m, PageKind::transparent, PageKind::small}) {
      if (kind == PageKind::huge_1g && wanted_ < kWorth1g) continue;
      if (try_map(kind, numa_node)) break;
    }
  } else {
    const PageKind kind = static_cast<PageKind>(static_cast<int>(choice) - 1);
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
