// A thread that has nothing to do for a while: the control path's, which waits for a device.
#pragma once

#include <cstdint>

namespace vanity {

// Less than a second.
void nap_ns(uint64_t ns) noexcept;

}  // namespace vanity
