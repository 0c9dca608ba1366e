// What the IOMMU keeps devices from.
#include "device_fixture.hpp"

using namespace vanity;

// Intel's IOMMU is told by DMAR, which names address and device; Arm's SMMUv3 writes the record of
// its queue in words: event 0x10 (translation), the device's number in the upper half of the first.
#ifdef __aarch64__
constexpr const char* kFault = "event 0x10 received";
#else
constexpr const char* kFault = "fault addr 0x5000";
#endif

TEST(a_blocked_access_is_in_the_kernels_log_with_its_device) {
  const Fd log(open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  CHECK(lseek(log.get(), 0, SEEK_END) >= 0);
  Edu edu;
  edu.device.bus_master(true);
  edu.to_ram(0x5000, 64);
  std::string found;
  for (int ms = 0; ms < kSoonMs && found.empty(); ms += 10) {
    char line[1024];
    const ssize_t n = read(log.get(), line, sizeof line - 1);
    const std::string text(line, n > 0 ? static_cast<size_t>(n) : 0);
    if (text.find(kFault) != std::string::npos) found = text;
    if (n <= 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
#ifdef __aarch64__
  CHECK(holds(found, "arm-smmu-v3"));
#else
  CHECK(holds(found, "[" + edu_address().text().substr(5) + "]"));
#endif
}

// A part of an arena at a place that no huge page begins at, as pools have.
TEST(memory_mapped_to_be_read_is_not_written) {
  Edu edu;
  Arena arena(4 << 20);
  constexpr uint64_t kOffset = 0x3000;
  constexpr uint64_t kBytes = 0x5000;
  std::byte* const memory = arena.base() + kOffset;
  std::memset(arena.base(), 0xaa, arena.bytes());
  const DmaRegion& region =
      edu.device.dma(memory, kBytes, arena.page_bytes(), edu_bits() - 1, DmaAccess::read_only);
  CHECK_EQ(region.iova() % 0x8000, kOffset);
  CHECK_EQ(region.view().address(0x1234), region.iova() + 0x1234);
  edu.device.bus_master(true);
  DmaRegion& writable = edu.device.dma(4096, edu_bits());
  CHECK(edu.to_device(region.iova() + 0x1000, 256));
  CHECK(edu.to_ram(writable.iova(), 256));
  CHECK(writable.data()[255] == std::byte{0xaa});  // it can be read
  std::memset(writable.data(), 0x55, 256);
  CHECK(edu.to_device(writable.iova(), 256));
  edu.to_ram(region.iova() + 0x1000, 256);
  CHECK(all_are(region, 0xaa));
  edu.to_ram(region.iova() - 0x1000, 256);  // and its neighbours are not reached at all
  edu.to_ram(region.iova() + kBytes, 256);
  CHECK(arena.base()[kOffset - 0x1000] == std::byte{0xaa});
  CHECK(arena.base()[kOffset + kBytes] == std::byte{0xaa});
}

TEST(after_unmap_no_write_reaches_memory) {
  Edu edu;
  DmaRegion& region = edu.device.dma(2 << 20, edu_bits());
  edu.device.bus_master(true);
  std::memset(region.data(), 0x11, 1024);
  CHECK(edu.to_device(region.iova(), 1024));
  const uint64_t iova = region.iova();
  CHECK(edu.to_ram(iova + 4096, 1024));  // it does reach it while it is mapped
  CHECK(region.data()[4096] == std::byte{0x11});
  std::memset(region.data(), 0xaa, region.bytes());
  region.unmap();
  region.unmap();
  edu.to_ram(iova, 1024);
  edu.to_ram(iova + 4096, 1024);
  CHECK(all_are(region, 0xaa));
}

// What goes leaves a hole, and its neighbours where they are.
TEST(one_region_of_three_is_unmapped) {
  Edu edu;
  edu.device.bus_master(true);
  Arena arena(2 << 20);
  constexpr uint64_t kPart = 0x4000;
  DmaRegion* parts[3];
  for (uint64_t i = 0; i < 3; ++i) {
    parts[i] = &edu.device.dma(arena.base() + i * kPart, kPart, arena.page_bytes(), edu_bits(),
                               DmaAccess::read_write);
  }
  std::memset(arena.base(), 0x5e, 64);
  CHECK(edu.to_device(parts[0]->iova(), 64));
  std::memset(arena.base(), 0xaa, arena.bytes());
  parts[1]->unmap();
  for (const DmaRegion* part : parts) edu.to_ram(part->iova(), 64);
  CHECK(parts[0]->data()[63] == std::byte{0x5e});
  CHECK(all_are(*parts[1], 0xaa));
  CHECK(parts[2]->data()[63] == std::byte{0x5e});
}

TEST(what_was_never_mapped_is_not_reached) {
  Edu edu;
  DmaRegion& mine = edu.device.dma(4096, edu_bits());
  edu.device.bus_master(true);
  std::memset(mine.data(), 0xaa, mine.bytes());
  edu.to_ram(mine.iova() - 4096, 1024);
  edu.to_ram(mine.iova() - 4096, 1024);
  CHECK(all_are(mine, 0xaa));
}

TEST(unmapped_addresses_can_be_used_again) {
  Edu edu;
  edu.device.bus_master(true);
  const auto before = edu.device.space()->free_ranges();
  for (int i = 0; i < 100; ++i) {
    DmaRegion one(edu.device.space(), 4096, edu_bits());
    DmaRegion two(edu.device.space(), 4096, 64);
    CHECK(one.iova() < uint64_t{1} << edu_bits());
    CHECK(two.iova() >= uint64_t{1} << 32);  // low addresses are left to who needs them
  }
  CHECK(edu.device.space()->free_ranges() == before);
}

TEST(the_windows_leave_out_what_interrupts_use) {
  Edu edu;
  const auto ranges = edu.device.space()->free_ranges();
  CHECK(!ranges.empty());
  uint32_t kept = 0;
  for (const ReservedRange& taken : Sysfs().reserved(Sysfs().iommu_group(edu_address()))) {
    kept += taken.type == "msi" ? 1 : 0;
    for (const IovaRange range : ranges)
      CHECK(range.last < taken.first || range.first > taken.last);
  }
  CHECK_EQ(kept, 1u);  // 0xfee00000 on x86, 0x8000000 on Arm
}

TEST(no_room_below_the_bits_of_the_device) {
  Edu edu;
  const Caught error = caught([&] { edu.device.dma(8192, 13); });
  CHECK_EQ(error.code, "VANITY_E_VFIO_IOVA");
  CHECK(holds(error.message, "below 2^13; the largest gap there has 4 KiB"));
}

TEST(one_mapping_too_many_says_which_limit) {
  const std::string file = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";
  if (wanted_backend() == "cdev") return;  // IOMMUFD counts none
  std::string before;
  std::ifstream(file) >> before;
  std::ofstream(file) << 2 << std::flush;
  {
    Edu edu;
    edu.device.dma(4096, edu_bits());
    edu.device.dma(4096, edu_bits());
    const Caught error = caught([&] { edu.device.dma(4096, edu_bits()); });
    CHECK_EQ(error.code, "VANITY_E_VFIO_KERNEL");
    CHECK(holds(error.message, "one mapping for DMA more than Linux allows"));
    CHECK(holds(error.hint, "echo 65535 | sudo tee " + file));
  }
  std::ofstream(file) << before << std::flush;
}
