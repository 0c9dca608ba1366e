// What is different without an IOMMU, where nothing holds a device back.
#include "device_fixture.hpp"

using namespace vanity;

TEST(without_an_iommu_a_device_is_refused_unless_the_flag_is_set) {
  const Caught error = caught([] { DmaSpace::open(edu_address()); });
  CHECK_EQ(error.code, "VANITY_E_IOMMU");
  CHECK(holds(error.message, "its DMA could reach all memory"));
  CHECK_EQ(std::string(DmaSpace::open(edu_address(), BackendChoice::automatic, true)->backend()),
           "noiommu");
  CHECK_EQ(caught([] { DmaSpace::open(edu_address(), BackendChoice::cdev, true); }).code,
           "VANITY_E_DEVICE_BACKEND");
}

TEST(only_huge_pages_stay_where_they_are) {
  Edu edu;
  Arena small(4096, kAnyNode, PageChoice::small);
  const Caught error = caught([&] { edu.device.dma(small, 64); });
  CHECK_EQ(error.code, "VANITY_E_PAGES");
  Arena transparent(2 << 20, kAnyNode, PageChoice::transparent);
  CHECK_EQ(caught([&] { edu.device.dma(transparent, 64); }).code, "VANITY_E_PAGES");
}

TEST(a_device_of_few_bits_is_told_that_it_cannot_reach) {
  Edu edu;
  CHECK_EQ(caught([&] { edu.device.dma(4096, 13); }).code, "VANITY_E_VFIO_IOVA");
}

TEST(a_part_of_an_arena_has_the_addresses_of_its_pages) {
  Edu edu;
  Arena arena(4 << 20, kAnyNode, PageChoice::huge_2m);
  const DmaRegion& whole = edu.device.dma(arena, 64);
  CHECK_EQ(whole.contiguous_bytes(), uint64_t{2} << 20);
  constexpr uint64_t kOffset = (2 << 20) - 0x3000;
  const DmaRegion& part =
      edu.device.dma(arena.base() + kOffset, 0x6000, arena.page_bytes(), 64, DmaAccess::read_write);
  for (uint64_t at = 0; at < 0x6000; at += 0x800)
    CHECK_EQ(part.view().address(at), whole.view().address(kOffset + at));
  CHECK_EQ(part.contiguous_bytes(), uint64_t{0x1000});
}

// Physical addresses are root's to know.
TEST(nobody_is_told_what_he_lacks) {
  const std::string error = in_child([] {
    become_nobody(8 << 20);
    Edu edu;
  });
  CHECK(holds(error, "VANITY_E_VFIO_PERMISSION"));
}
