// Backend: groups without an IOMMU. Devices use physical addresses and reach all memory, so nothing
// is enforced here; what remains is to find where the pages are and to take only those that stay.
//
// That is memory of hugetlbfs alone. A locked page (mlock) is not a pinned one: Linux may move it,
// to compact memory or between NUMA nodes, and the device would write where it was.
#include <fcntl.h>
#include <linux/vfio.h>

#include <bit>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "device/backends.hpp"
#include "device/groups.hpp"
#include "device/host.hpp"

namespace vanity {
namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;

// How large the pages are that the memory consists of, if all of it is of hugetlbfs; else 0.
uint64_t hugetlb_page_bytes(uintptr_t address, uint64_t bytes) {
  std::ifstream file("/proc/self/smaps");
  bool inside = false;
  uint64_t page_kib = 0;
  for (std::string line; std::getline(file, line);) {
    uintptr_t first = 0;
    uintptr_t end = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &first, &end) == 2) {
      inside = address >= first && address < end && bytes <= end - address;
    } else if (inside && line.rfind("KernelPageSize:", 0) == 0) {
      page_kib = std::strtoull(line.c_str() + std::strlen("KernelPageSize:"), nullptr, 10);
    } else if (inside && line.rfind("VmFlags:", 0) == 0) {
      return line.find(" ht") != std::string::npos ? page_kib << 10 : 0;
    }
  }
  return 0;
}

// Linux: Documentation/admin-guide/mm/pagemap.rst. One word a page of the system; bits 0 to 54 are
// the page's number, bit 63 says that it is there.
class PageMap {
 public:
  PageMap() : file_(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {
    if (!file_) throw refused("/proc/self/pagemap", errno);
  }

  uint64_t physical(const std::byte* memory) const {
    *const_cast<const volatile std::byte*>(memory);  // there from now on
    uint64_t word = 0;
    const uint64_t at = reinterpret_cast<uintptr_t>(memory) / page_ * sizeof word;
    if (pread(file_.get(), &word, sizeof word, static_cast<off_t>(at)) != sizeof word)
      throw refused("/proc/self/pagemap", errno);
    constexpr uint64_t kNumber = (uint64_t{1} << 55) - 1;
    if (word >> 63 == 0 || (word & kNumber) == 0) {
      throw Error("VANITY_E_VFIO_PERMISSION",
                  "this user may not know physical addresses, which DMA without an IOMMU needs",
                  "Start it as root, or with the capability CAP_SYS_ADMIN.");
    }
    return (word & kNumber) * page_ + reinterpret_cast<uintptr_t>(memory) % page_;
  }

 private:
  Fd file_;
  uint64_t page_ = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
};

class NoIommuSpace final : public DmaSpace {
 public:
  explicit NoIommuSpace(VfioDescriptors given)
      : groups_(VFIO_NOIOMMU_IOMMU, std::move(given.container), std::move(given.group)) {}

  const char* backend() const noexcept override { return "noiommu"; }
  uint64_t contiguous_bytes() const noexcept override { return kHugePage; }

  Fd attach(PciAddress address) override {
    const int number = require_vfio(sysfs_, address, true);
    return groups_.open_device(sysfs_, address, number,
                               "/dev/vfio/noiommu-" + std::to_string(number));
  }

  DmaMapping map(void* memory, uint64_t bytes, uint64_t, unsigned bits, DmaAccess) override {
    const uint64_t page = hugetlb_page_bytes(reinterpret_cast<uintptr_t>(memory), bytes);
    if (page == 0) {
      throw Error(
          "VANITY_E_PAGES",
          "without an IOMMU, memory for DMA must be huge pages, since Linux may move others",
          "Type: echo 64 | sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    }
    // Where the memory begins within a page, the pieces that are alike are smaller.
    const uint64_t piece =
        std::min(page, uint64_t{1} << std::countr_zero(reinterpret_cast<uintptr_t>(memory)));
    DmaMapping mapping{{}, static_cast<uint32_t>(std::countr_zero(piece))};
    const PageMap map;
    for (uint64_t at = 0; at < bytes; at += piece) {
      const uint64_t address = map.physical(static_cast<const std::byte*>(memory) + at);
      const uint64_t last = address + std::min(piece, bytes - at) - 1;
      if (bits < 64 && last >> bits != 0) {
        char text[160];
        std::snprintf(text, sizeof text,
                      "the device reaches addresses below 2^%u, and without an IOMMU its memory is "
                      "where it is, at 0x%" PRIx64,
                      bits, address);
        throw Error("VANITY_E_VFIO_IOVA", text, "Use a device with more bits, or an IOMMU.");
      }
      mapping.pages.push_back(address);
    }
    return mapping;
  }

  // Nothing holds the device back; that it does nothing any more is what quiesce() sees to before.
  void unmap(const DmaMapping&, uint64_t) override {}

 private:
  Sysfs sysfs_;
  Groups groups_;
};

}  // namespace

std::shared_ptr<DmaSpace> make_noiommu_space(VfioDescriptors descriptors) {
  return std::make_shared<NoIommuSpace>(std::move(descriptors));
}

}  // namespace vanity
