#include "device/region.hpp"

#include <linux/vfio.h>

#include <cstring>
#include <string>
#include <vector>

#include "check.hpp"

using namespace vanity;

namespace {

// Puts an answer together as Linux does: capabilities one after another, aligned to nothing.
class Answer {
 public:
  Answer(uint64_t size, uint32_t flags) {
    info_.argsz = sizeof info_;
    info_.size = size;
    info_.offset = uint64_t{3} << 40;
    info_.flags = flags;
  }
  Answer& capability(uint16_t id, const std::string& body, size_t gap = 4) {
    bytes_.append(gap, '\xee');
    const auto at = static_cast<uint32_t>(sizeof info_ + bytes_.size());
    if (last_ == 0) {
      info_.cap_offset = at;
      info_.flags |= VFIO_REGION_INFO_FLAG_CAPS;
    } else {
      std::memcpy(&bytes_[last_ - sizeof info_ + 4], &at, sizeof at);
    }
    last_ = at;
    const vfio_info_cap_header header = {id, 1, 0};
    bytes_.append(reinterpret_cast<const char*>(&header), sizeof header).append(body);
    return *this;
  }
  Answer& sparse(const std::vector<vfio_region_sparse_mmap_area>& areas) {
    const uint32_t head[2] = {static_cast<uint32_t>(areas.size()), 0};
    std::string body(reinterpret_cast<const char*>(head), sizeof head);
    body.append(reinterpret_cast<const char*>(areas.data()), areas.size() * sizeof areas[0]);
    return capability(VFIO_REGION_INFO_CAP_SPARSE_MMAP, body);
  }
  Region parse() const {
    std::string all(reinterpret_cast<const char*>(&info_), sizeof info_);
    all += bytes_;
    return parse_region(all.data(), 4096);
  }

 private:
  vfio_region_info info_ = {};
  std::string bytes_;
  uint32_t last_ = 0;
};

}  // namespace

TEST(a_region_without_areas_is_mappable_as_a_whole) {
  const Region region = Answer(0x20000, VFIO_REGION_INFO_FLAG_MMAP).parse();
  CHECK_EQ(region.bytes, 0x20000u);
  CHECK_EQ(region.offset, uint64_t{3} << 40);
  CHECK(region.mappable(0, 0x20000));
  CHECK(region.mappable(0x1f000, 0x20000));
  CHECK(!region.mappable(0x1f000, 0x21000));
}

TEST(what_may_not_be_mapped_has_no_areas) {
  CHECK(!Answer(0x1000, VFIO_REGION_INFO_FLAG_READ).parse().mappable(0, 0x1000));
  CHECK(!Answer(0, VFIO_REGION_INFO_FLAG_MMAP).parse().mappable(0, 0x1000));
  CHECK(!Answer(0x4000, VFIO_REGION_INFO_FLAG_READ)
             .sparse({{0, 0x1000}})
             .parse()
             .mappable(0, 0x1000));
}

TEST(less_than_a_page_counts_as_one) {
  const Region region = Answer(0x100, VFIO_REGION_INFO_FLAG_MMAP).parse();
  CHECK_EQ(region.bytes, 0x100u);
  CHECK(region.mappable(0, 0x1000));
  CHECK(!region.mappable(0, 0x2000));
}

TEST(holes_between_areas_stay_holes) {
  const Region region = Answer(0x10000, VFIO_REGION_INFO_FLAG_MMAP)
                            .capability(77, "something newer", 3)
                            .sparse({{0, 0x2000}, {0x4000, 0x1000}})
                            .capability(VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, "")
                            .parse();
  CHECK_EQ(region.areas.size(), 2u);
  CHECK(region.mappable(0, 0x2000));
  CHECK(region.mappable(0x4000, 0x5000));
  CHECK(!region.mappable(0x1000, 0x3000));
  CHECK(!region.mappable(0x2000, 0x3000));
  CHECK(!region.mappable(0, 0x5000));
  CHECK(!region.mappable(0x5000, 0x6000));
}

TEST(an_empty_list_of_areas_allows_nothing) {
  const Region region = Answer(0x10000, VFIO_REGION_INFO_FLAG_MMAP).sparse({}).parse();
  CHECK(!region.mappable(0, 0x1000));
}
