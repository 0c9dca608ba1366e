#include "device/mmio.hpp"

#include <cstdio>

#include "platform/error.hpp"

namespace vanity {

void refuse_access(uint64_t offset, uint64_t width, uint64_t granted) {
  char text[160];
  std::snprintf(text, sizeof text,
                "an access to %llu bytes at offset 0x%llx is not aligned, or not inside the 0x%llx "
                "bytes granted",
                static_cast<unsigned long long>(width), static_cast<unsigned long long>(offset),
                static_cast<unsigned long long>(granted));
  throw Error("VANITY_E_VFIO_ACCESS", text,
              "Grant the range in the manifest (mmio of the device), or correct the driver.");
}

}  // namespace vanity
