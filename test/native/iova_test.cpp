#include "device/iova.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "platform/error.hpp"

using namespace vanity;

namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kTop = ~uint64_t{0};

template <class Run>
std::pair<std::string, std::string> error_of(Run run) {
  try {
    run();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

bool same(const std::vector<IovaRange>& a, const std::vector<IovaRange>& b) {
  return a == b;
}

}  // namespace

TEST(the_highest_address_that_the_device_reaches) {
  IovaSpace space({{0, (uint64_t{1} << 39) - 1}});
  CHECK_EQ(space.allocate(kPage, kPage, 64), (uint64_t{1} << 39) - kPage);
  CHECK_EQ(space.allocate(kPage, kPage, 28), (uint64_t{1} << 28) - kPage);
  CHECK_EQ(space.allocate(kPage, kPage, 28), (uint64_t{1} << 28) - 2 * kPage);
}

TEST(address_zero_is_nobodys) {
  IovaSpace space({{0, 2 * kPage - 1}});
  CHECK_EQ(space.allocate(kPage, kPage, 64), kPage);
  CHECK_EQ(error_of([&] { space.allocate(kPage, kPage, 64); }).first, "VANITY_E_VFIO_IOVA");
}

TEST(the_last_page_of_64_bits_can_be_used) {
  IovaSpace space({{kTop - 3 * kPage + 1, kTop}});
  CHECK_EQ(space.allocate(2 * kPage, kPage, 64), kTop - 2 * kPage + 1);
  CHECK_EQ(space.allocate(kPage, kPage, 64), kTop - 3 * kPage + 1);
  space.free(kTop - 2 * kPage + 1);
  space.free(kTop - 3 * kPage + 1);
  CHECK(same(space.free_ranges(), {{kTop - 3 * kPage + 1, kTop}}));
}

TEST(huge_pages_stay_aligned) {
  const uint64_t huge = uint64_t{2} << 20;
  IovaSpace space({{0, (uint64_t{1} << 28) - 1}});
  space.allocate(kPage, kPage, 28);
  const uint64_t first = space.allocate(huge, huge, 28);
  CHECK_EQ(first % huge, 0u);
  CHECK_EQ(first, (uint64_t{1} << 28) - 2 * huge);
}

TEST(windows_are_cut_to_whole_pages_and_joined) {
  IovaSpace space(
      {{0x5001, 0x8fff}, {0x9000, 0xa7ff}, {0x20000, 0x20fff}, {0x1f000, 0x1ffff}, {9, 3}});
  CHECK(same(space.free_ranges(), {{0x6000, 0x9fff}, {0x1f000, 0x20fff}}));
}

TEST(what_is_reserved_is_never_given) {
  IovaSpace space({{0, 0xffffffff}});
  space.reserve({0xfee00000, 0xfeefffff});
  CHECK(same(space.free_ranges(), {{0x1000, 0xfedfffff}, {0xfef00000, 0xffffffff}}));
  const uint64_t big = 0x2000000;  // reaches across the hole
  const uint64_t at = space.allocate(big, kPage, 32);
  CHECK_EQ(at, 0xfee00000 - big);
}

TEST(a_device_that_joins_later_narrows_what_is_left) {
  IovaSpace space({{0, 0xffffffff}});
  const uint64_t before = space.allocate(kPage, kPage, 32);
  space.restrict_to({{0x10000, 0x1ffff}, {0x40000, 0x4ffff}});
  CHECK(same(space.free_ranges(), {{0x10000, 0x1ffff}, {0x40000, 0x4ffff}}));
  space.free(before);  // outside: gone for good
  CHECK(same(space.free_ranges(), {{0x10000, 0x1ffff}, {0x40000, 0x4ffff}}));
  space.restrict_to({});
  CHECK(space.free_ranges().empty());
}

TEST(errors_say_what_there_is) {
  IovaSpace space({{0, 0x7fffff}});
  const auto [code, message] = error_of([&] { space.allocate(uint64_t{16} << 20, kPage, 28); });
  CHECK_EQ(code, "VANITY_E_VFIO_IOVA");
  CHECK_EQ(message,
           "no 16384 KiB of DMA addresses, aligned to 4 KiB, below 2^28; the largest gap there has "
           "8188 KiB");
  const auto narrow = error_of([&] { space.allocate(kPage, kPage, 12); });
  CHECK_EQ(narrow.second,
           "no 4 KiB of DMA addresses, aligned to 4 KiB, below 2^12; the largest gap there has 0 "
           "KiB");
}

TEST(a_wrong_free_and_nonsense_are_defects) {
  IovaSpace space({{0, 0xffffff}});
  const uint64_t at = space.allocate(2 * kPage, kPage, 64);
  CHECK_EQ(error_of([&] { space.free(at + kPage); }).first, "VANITY_E_INTERNAL");
  space.free(at);
  CHECK_EQ(error_of([&] { space.free(at); }).first, "VANITY_E_INTERNAL");
  for (const auto& [bytes, align, bits] :
       std::vector<std::tuple<uint64_t, uint64_t, unsigned>>{{0, kPage, 64},
                                                             {kTop, kPage, 64},
                                                             {kPage, 0, 64},
                                                             {kPage, 3 * kPage, 64},
                                                             {kPage, 64, 64},
                                                             {kPage, kPage, 0},
                                                             {kPage, kPage, 65}}) {
    const auto code = error_of([&, b = bytes, a = align, c = bits] { space.allocate(b, a, c); });
    CHECK_EQ(code.first, "VANITY_E_INTERNAL");
  }
  CHECK(same(space.free_ranges(), {{0x1000, 0xffffff}}));
}

// Against a map of single pages: what is given out is inside a window, aligned, in reach, nobody
// else's, and the highest there is; what is refused fits nowhere; and all comes back as it was.
TEST(random_histories_against_a_map_of_pages) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](uint64_t n) { return random() % n; };
    constexpr uint64_t kPages = 512;  // below 2^21
    std::vector<IovaRange> windows;
    std::vector<bool> owned(kPages, true);  // by the caller, or nobody's to give
    for (uint64_t i = 0, n = 1 + below(4); i < n; ++i) {
      const uint64_t first = below(kPages);
      const uint64_t last = first + below(kPages - first);
      windows.push_back({first * kPage, last * kPage + kPage - 1});
      for (uint64_t page = std::max<uint64_t>(first, 1); page <= last; ++page) owned[page] = false;
    }
    IovaSpace space(windows);
    if (seed % 3 == 0) {
      const uint64_t first = below(kPages);
      const uint64_t last = std::min(kPages - 1, first + below(32));
      space.reserve({first * kPage + below(kPage), last * kPage + below(kPage)});
      for (uint64_t page = first; page <= last; ++page) owned[page] = true;
    }
    const auto at_start = space.free_ranges();
    std::map<uint64_t, uint64_t> held;  // first page -> pages

    for (int step = 0; step < 400; ++step) {
      if (!held.empty() && below(5) < 2) {
        const auto one = std::next(held.begin(), static_cast<long>(below(held.size())));
        space.free(one->first * kPage);
        for (uint64_t i = 0; i < one->second; ++i) owned[one->first + i] = false;
        held.erase(one);
        continue;
      }
      const uint64_t pages = 1 + below(below(4) == 0 ? 64 : 8);
      const uint64_t align = uint64_t{1} << below(5);  // in pages
      const unsigned bits = 14 + static_cast<unsigned>(below(9));
      const uint64_t reach = std::min(kPages, (uint64_t{1} << bits) / kPage);
      uint64_t expected = kTop;
      for (uint64_t first = 0; first + pages <= reach; first += align) {
        bool free = true;
        for (uint64_t i = 0; free && i < pages; ++i) free = !owned[first + i];
        if (free) expected = first;
      }
      uint64_t got = kTop;
      try {
        got = space.allocate(pages * kPage - below(kPage), align * kPage, bits) / kPage;
      } catch (const Error& error) {
        CHECK_EQ(std::string(error.code()), "VANITY_E_VFIO_IOVA");
      }
      CHECK_EQ(got, expected);
      if (got == kTop) continue;
      for (uint64_t i = 0; i < pages; ++i) owned[got + i] = true;
      held[got] = pages;
    }
    for (const auto& [first, pages] : held) space.free(first * kPage);
    CHECK(same(space.free_ranges(), at_start));
  }
}
