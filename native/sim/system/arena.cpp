// memory/arena.hpp: a part of the region.
#include "memory/arena.hpp"

#include <cstring>

#include "platform/error.hpp"
#include "sim/system/region.hpp"

namespace vanity {

const char* page_kind_name(PageKind) noexcept {
  return "simulated";
}

Arena::Arena(size_t bytes, uint32_t, PageChoice, Sharing sharing)
    : base_(sim::Region::take(bytes)),
      bytes_(bytes),
      page_bytes_(4096),
      sharing_(sharing),
      locked_(true) {}

Arena::~Arena() = default;

void* Arena::allocate(size_t bytes, size_t align) {
  const size_t at = (used_ + align - 1) / align * align;
  if (at + bytes > bytes_) throw Error("VANITY_E_MEMORY", "the arena of a shard is full");
  used_ = at + bytes;
  return base_ + at;
}

void Arena::rewind(size_t used) noexcept {
  std::memset(base_ + used, 0, used_ - used);
  used_ = used;
}

}  // namespace vanity
