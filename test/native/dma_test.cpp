// native/device/dma and iommu_space with an IOMMU made up: what is given out, and what comes back.
#include "device/dma.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "check.hpp"
#include "device/iommu_space.hpp"
#include "platform/error.hpp"

using namespace vanity;

namespace {

constexpr uint64_t k4k = 4096;
constexpr uint64_t k2m = uint64_t{2} << 20;

class FakeIommu final : public IommuSpace {
 public:
  explicit FakeIommu(std::vector<IovaRange> windows) { joined(windows, {}); }
  const char* backend() const noexcept override { return "fake"; }
  Fd attach(PciAddress) override { return {}; }
  void narrow(const std::vector<IovaRange>& windows, const std::vector<ReservedRange>& reserved) {
    joined(windows, reserved);
  }

  struct Entry {
    std::byte* memory;
    uint64_t bytes;
    DmaAccess access;
  };
  std::map<uint64_t, Entry> table;
  bool refuses_map = false;
  bool refuses_unmap = false;

 protected:
  void map_at(uint64_t iova, void* memory, uint64_t bytes, DmaAccess access) override {
    if (refuses_map) throw Error("VANITY_E_VFIO_KERNEL", "no");
    table[iova] = {static_cast<std::byte*>(memory), bytes, access};
  }
  void unmap_at(uint64_t iova, uint64_t bytes) override {
    if (refuses_unmap) throw Error("VANITY_E_VFIO_KERNEL", "no");
    CHECK_EQ(table.at(iova).bytes, bytes);
    table.erase(iova);
  }
};

std::shared_ptr<FakeIommu> fake() {
  return std::make_shared<FakeIommu>(std::vector<IovaRange>{{0, (uint64_t{1} << 39) - 1}});
}
// Memory that nobody touches.
void* at(uint64_t address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr)
}
constexpr uint64_t kHuge = uint64_t{1} << 40;  // the beginning of a huge page of any size

}  // namespace

TEST(a_part_lies_in_the_devices_huge_pages_as_in_ours) {
  auto space = fake();
  for (const uint64_t offset : {uint64_t{0}, k4k, k2m - k4k, k2m + 5 * k4k}) {
    const DmaRegion region(space, at(kHuge + offset), 2 * k2m, k2m, 32, DmaAccess::read_only);
    CHECK_EQ(region.iova() % k2m, offset % k2m);
    CHECK(region.iova() + region.bytes() <= uint64_t{1} << 32);
    CHECK(space->table.at(region.iova()).access == DmaAccess::read_only);
  }
  CHECK(space->table.empty());
}

TEST(a_part_of_a_gigabyte_page_fits_into_few_bits) {
  auto space = fake();
  const DmaRegion region(space, at(kHuge + 700 * k2m + k4k), 4 * k4k, uint64_t{1} << 30, 24,
                         DmaAccess::read_write);
  CHECK(region.iova() + region.bytes() <= uint64_t{1} << 24);
}

TEST(everything_given_out_comes_back) {
  auto space = fake();
  const auto before = space->free_ranges();
  {
    const DmaRegion a(space, at(kHuge + k4k), 3 * k4k, k2m, 32, DmaAccess::read_write);
    const DmaRegion b(space, at(kHuge + k2m - k4k), 3 * k2m, k2m, 39, DmaAccess::read_write);
    const DmaRegion own(space, 5 * k4k, 32);
    CHECK(space->free_ranges() != before);
  }
  CHECK(space->free_ranges() == before);
  space->refuses_map = true;
  CHECK_THROWS(DmaRegion(space, at(kHuge), k2m, k2m, 32, DmaAccess::read_write), Error);
  CHECK(space->free_ranges() == before);
}

TEST(memory_of_half_pages_is_refused) {
  auto space = fake();
  CHECK_THROWS(DmaRegion(space, at(kHuge + 64), k4k, k4k, 32, DmaAccess::read_write), Error);
  CHECK_THROWS(DmaRegion(space, at(kHuge), k4k + 64, k4k, 32, DmaAccess::read_write), Error);
}

// Better lost than written by a device when somebody else has it.
TEST(addresses_that_could_not_be_unmapped_are_not_given_again) {
  auto space = fake();
  uint64_t iova = 0;
  {
    DmaRegion region(space, k4k, 32);
    iova = region.iova();
    space->refuses_unmap = true;
    CHECK_THROWS(region.unmap(), Error);
  }
  space->refuses_unmap = false;
  const DmaRegion other(space, k4k, 32);
  CHECK(other.iova() != iova);
}

TEST(a_device_that_joins_narrows_the_windows_but_not_what_is_given) {
  auto space = fake();
  const DmaRegion before(space, k4k, 39);
  space->narrow({{0, (uint64_t{1} << 32) - 1}},
                {{{0xfee00000, 0xfeefffff}, "msi"}, {{0x1000, 0x1fff}, "direct-relaxable"}});
  const DmaRegion after(space, k4k, 39);
  CHECK(before.iova() > uint64_t{1} << 32);
  CHECK(after.iova() < uint64_t{1} << 32);
  for (const IovaRange range : space->free_ranges())
    CHECK(range.last < 0xfee00000 || range.first > 0xfeefffff);
}

TEST(a_view_of_one_entry_or_of_many_finds_every_byte) {
  const uint64_t one[] = {0x5000};
  CHECK_EQ((DmaView{one, 63}.address(0x123456789)), uint64_t{0x5000 + 0x123456789});
  const uint64_t many[] = {0x10000, 0x90000, 0x40000};
  const DmaView view{many, 12};
  CHECK_EQ(view.address(0), 0x10000u);
  CHECK_EQ(view.address(0x1fff), 0x90fffu);
  CHECK_EQ(view.address(0x2001), 0x40001u);
}
