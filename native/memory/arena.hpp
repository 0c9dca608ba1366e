// One block of memory for each shard: the largest pages the host gives, on the shard's NUMA node,
// filled and locked before the first packet, with unmapped pages on both sides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vanity {

// What the manifest asks for.
enum class PageChoice : uint8_t { automatic, huge_1g, huge_2m, transparent, small };

// What the host gave; the order is that of `arena_pages` in the segment.
enum class PageKind : uint8_t { huge_1g, huge_2m, transparent, small };

const char* page_kind_name(PageKind kind) noexcept;

// May its pages be given to another process? Then they are those of a memfd that neither side can
// cut short or make longer (and never transparent ones, which are private).
enum class Sharing : uint8_t { none, sealed };

inline constexpr uint32_t kAnyNode = 0xffffffffu;

class Arena {
 public:
  // `bytes` is rounded up to whole pages. A forced kind that can't be had throws
  // VANITY_E_HUGE_PAGES; no memory at all throws VANITY_E_MEMORY.
  explicit Arena(size_t bytes, uint32_t numa_node = kAnyNode,
                 PageChoice choice = PageChoice::automatic, Sharing sharing = Sharing::none);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Zeroed, never given back before the arena ends. Control path. Throws VANITY_E_MEMORY when full.
  void* allocate(size_t bytes, size_t align = 64);

  // Takes back what was allocated since used() was `used`, and zeroes it.
  void rewind(size_t used) noexcept;

  std::byte* base() const noexcept { return base_; }
  // Of what lies in it.
  uint64_t offset_of(const void* at) const noexcept {
    return static_cast<uint64_t>(static_cast<const std::byte*>(at) - base_);
  }
  size_t bytes() const noexcept { return bytes_; }
  size_t used() const noexcept { return used_; }
  PageKind kind() const noexcept { return kind_; }
  size_t page_bytes() const noexcept { return page_bytes_; }
  bool locked() const noexcept { return locked_; }
  // The memfd that another process may map through /proc/<pid>/fd, -1 when there is none
  // (transparent huge pages are private unless the host enables them for shared memory).
  int fd() const noexcept { return fd_; }
  // What was tried and what the outcome costs, e.g. "2 MiB pages: none free; 4 KiB pages instead".
  const std::string& why() const noexcept { return why_; }

 private:
  bool try_map(PageKind kind, uint32_t node);
  void unmap() noexcept;
  void note(const std::string& text);

  std::byte* base_ = nullptr;
  std::byte* reserved_ = nullptr;  // base_ and the guards
  size_t reserved_bytes_ = 0;
  size_t wanted_ = 0;
  size_t bytes_ = 0;
  size_t used_ = 0;
  size_t page_bytes_ = 0;
  PageKind kind_ = PageKind::small;
  Sharing sharing_;
  bool locked_ = false;
  int fd_ = -1;
  std::string why_;
};

}  // namespace vanity
