// The ways of waiting, and why a wait came back.
#pragma once

#include <cstdint>

namespace vanity {

// The order is that of `wait_backend` in the segment.
enum class Backend : uint8_t { spin, futex, waitpkg, monitorx, wfe, zawrs };
inline constexpr uint32_t kBackends = 6;

// Why a wait came back. os_limit: the processor's or kernel's own bound ended it before ours.
enum class Wake : uint8_t { signalled, deadline, os_limit, spurious };

}  // namespace vanity
