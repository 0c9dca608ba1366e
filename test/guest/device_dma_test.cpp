// DMA of real devices, on every backend.
#include "device_fixture.hpp"

using namespace vanity;

TEST(dma_goes_both_ways) {
  Edu edu;
  DmaRegion& region = edu.device.dma(2 << 20, edu_bits());
  CHECK(region.iova() + region.bytes() - 1 <= ~uint64_t{0} >> (64 - edu_bits()));
  CHECK_EQ(region.iova() % region.page_bytes(), 0u);
  CHECK(region.contiguous_bytes() >= uint64_t{2} << 20);
  CHECK(region.contiguous_bytes() >= edu.device.space()->contiguous_bytes());
  CHECK_EQ(region.page_bytes(), uint64_t{2} << 20);
  Irq& irq = edu.device.arm(IrqKind::msi);
  edu.device.bus_master(true);
  constexpr size_t kBytes = 2048;
  constexpr size_t kBack = 0x10000;
  for (size_t i = 0; i < kBytes; ++i) region.data()[i] = static_cast<std::byte>(i * 7 + 1);
  CHECK(edu.to_device(region.iova(), kBytes, &irq));
  CHECK(edu.to_ram(region.iova() + kBack, kBytes, &irq));
  CHECK(std::memcmp(region.data(), region.data() + kBack, kBytes) == 0);
  CHECK(region.data()[kBack + kBytes] == std::byte{0});
}

TEST(without_bus_mastering_nothing_moves) {
  Edu edu;
  DmaRegion& region = edu.device.dma(4096, edu_bits());
  CHECK(!edu.device.bus_master());
  std::memset(region.data(), 0xaa, region.bytes());
  edu.to_ram(region.iova(), 1024);
  CHECK(all_are(region, 0xaa));
}

TEST(one_arena_may_be_in_several_spaces_and_outlives_them) {
  Arena arena(2 << 20);
  std::memset(arena.base(), 0x77, 256);
  {
    Edu edu;
    Opened nic(e1000e_address());
    const uint64_t iova = edu.device.dma(arena, edu_bits()).iova();
    nic.dma(arena, 64);
    edu.device.bus_master(true);
    CHECK(edu.to_device(iova, 256));
    CHECK(edu.to_ram(iova + 4096, 256));
  }
  CHECK(std::memcmp(arena.base(), arena.base() + 4096, 256) == 0);
  std::memset(arena.base(), 0, arena.bytes());
}

TEST(two_devices_may_share_a_space_and_then_reach_the_same_memory) {
  Edu edu;
  const auto windows = edu.device.space()->free_ranges();
  DmaRegion& region = edu.device.dma(4096, edu_bits());
  {
    VfioDevice nic(e1000e_address(), edu.device.space());
    edu.device.bus_master(true);
    CHECK(edu.to_ram(region.iova(), 256));
    DmaRegion& other = nic.dma(4096, edu_bits());
    CHECK(other.iova() != region.iova());
    std::memset(other.data(), 0x3c, 256);
    CHECK(edu.to_device(other.iova(), 256));
    CHECK(edu.to_ram(region.iova(), 256));
    CHECK(region.data()[255] == std::byte{0x3c});
  }
  CHECK(edu.to_ram(region.iova(), 256));  // the other one's end is not ours
  region.unmap();
  CHECK(edu.device.space()->free_ranges() == windows);
}

// As small as the addresses that the device has left, though the memory is in a huge page.
TEST(a_small_part_of_a_huge_page_takes_few_addresses) {
  if (without_iommu()) return;  // memory is where it is
  Edu edu;
  Arena arena(4 << 20, kAnyNode, PageChoice::huge_2m);
  for (int i = 0; i < 16; ++i) {
    std::byte* const part = arena.base() + (1 << 20) + i * 0x3000;
    const DmaRegion& region =
        edu.device.dma(part, 0x3000, arena.page_bytes(), 20, DmaAccess::read_write);
    CHECK(region.iova() + 0x3000 <= 1 << 20);
  }
}

// Addresses of several pages, wherever they are: what a driver lays its rings and buffers by.
TEST(the_view_finds_every_page_of_a_region) {
  Edu edu;
  constexpr uint64_t kPage = uint64_t{2} << 20;
  const DmaRegion& region = edu.device.dma(3 * kPage, edu_bits());
  edu.device.bus_master(true);
  for (uint64_t page = 0; page < 3; ++page) {
    std::byte* const at = region.data() + page * kPage + 0x1000;
    std::memset(at, static_cast<int>(0x10 + page), 64);
    CHECK(edu.to_device(region.view().address(page * kPage + 0x1000), 64));
    CHECK(edu.to_ram(region.view().address(page * kPage + 0x1800), 64));
    CHECK(std::memcmp(at, at + 0x800, 64) == 0);
  }
}
