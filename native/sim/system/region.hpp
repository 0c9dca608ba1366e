// The memory of the system under the simulator: arenas and the segment lie in one block, so that a
// word has the same place in it in each execution.
#pragma once

#include <cstddef>

namespace vanity::sim {

class Region {
 public:
  static constexpr size_t kBytes = size_t{256} << 20;

  static std::byte* base();
  // Zeroed. Throws VANITY_E_MEMORY when full.
  static std::byte* take(size_t bytes);
  // Nothing that was taken is used any more.
  static void reset() noexcept;

 private:
  static inline size_t used_ = 0;
};

}  // namespace vanity::sim
