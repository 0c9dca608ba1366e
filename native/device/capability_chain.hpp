// What VFIO appends to an answer. Linux does not align it, so every field is copied out.
#pragma once

#include <linux/vfio.h>

#include <cstdint>
#include <cstring>

namespace vanity {

template <class T>
T copied_from(const char* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// visit(id, bytes) for each, where `bytes` begins with its header; `first` is 0 when there are
// none.
template <class Visit>
void each_capability(const void* answer, uint32_t first, Visit visit) {
  const char* const bytes = static_cast<const char*>(answer);
  for (uint32_t at = first; at != 0;) {
    const auto header = copied_from<vfio_info_cap_header>(bytes + at);
    visit(header.id, bytes + at);
    at = header.next;
  }
}

}  // namespace vanity
