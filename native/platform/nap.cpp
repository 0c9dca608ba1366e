#include "platform/nap.hpp"

#include <ctime>

namespace vanity {

void nap_ns(uint64_t ns) noexcept {
  const timespec time{0, static_cast<long>(ns)};
  nanosleep(&time, nullptr);
}

}  // namespace vanity
