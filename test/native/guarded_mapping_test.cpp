// native/memory/guarded_mapping on files: what is cut off a file faults as a BAR that is gone does.
#include "memory/guarded_mapping.hpp"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "check.hpp"
#include "platform/error.hpp"
#include "platform/fd.hpp"

using namespace vanity;

namespace {

const size_t kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));

struct File {
  Fd fd{memfd_create("bar", MFD_CLOEXEC)};

  explicit File(size_t pages) { resize(pages); }
  void resize(size_t pages) { CHECK(ftruncate(fd.get(), static_cast<off_t>(pages * kPage)) == 0); }
};

volatile uint32_t* word(const GuardedMapping& mapping, size_t page) {
  return reinterpret_cast<volatile uint32_t*>(static_cast<char*>(mapping.base()) + page * kPage);
}

sigjmp_buf g_back;
void jump_back(int) {
  siglongjmp(g_back, 1);
}

}  // namespace

// First, so that it is the handler that was there before.
TEST(a_bus_error_elsewhere_goes_where_it_went_before) {
  signal(SIGBUS, jump_back);
  File bar(1);
  const GuardedMapping mapping(bar.fd.get(), 0, kPage);
  File other(1);
  auto* const elsewhere = static_cast<volatile char*>(
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, other.fd.get(), 0));
  other.resize(0);
  if (sigsetjmp(g_back, 1) == 0) {
    static_cast<void>(*elsewhere);
    CHECK(false);
  }
  CHECK(!mapping.gone());
  munmap(const_cast<char*>(elsewhere), kPage);
}

TEST(what_is_gone_reads_as_ones_page_by_page) {
  File bar(4);
  const GuardedMapping mapping(bar.fd.get(), 0, 4 * kPage);
  const GuardedMapping neighbour(bar.fd.get(), 0, kPage);
  *word(mapping, 1) = 5;
  bar.resize(2);
  CHECK_EQ(*word(mapping, 1), 5u);
  CHECK(!mapping.gone());
  CHECK_EQ(*word(mapping, 3), 0xffffffffu);
  CHECK(mapping.gone());
  CHECK_EQ(*word(mapping, 1), 5u);
  *word(mapping, 2) = 1;
  bar.resize(4);
  CHECK_EQ(*word(mapping, 3), 0xffffffffu);
  CHECK(!neighbour.gone());
}

TEST(one_page_of_ones_is_not_shared_by_those_who_write_to_it) {
  File bar(2);
  const GuardedMapping mapping(bar.fd.get(), 0, 2 * kPage);
  bar.resize(0);
  *word(mapping, 0) = 7;
  CHECK_EQ(*word(mapping, 1), 0xffffffffu);
}

TEST(a_huge_page_is_replaced_whole) {
  const size_t huge = size_t{2} << 20;  // the default of all but a few hosts
  const Fd file(memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
  if (!file || ftruncate(file.get(), static_cast<off_t>(2 * huge)) != 0) return;
  std::unique_ptr<GuardedMapping> mapping;
  try {
    mapping = std::make_unique<GuardedMapping>(file.get(), 0, 2 * huge, huge);
  } catch (const Error&) {
    return;  // none is reserved
  }
  *word(*mapping, 0) = 5;
  CHECK(ftruncate(file.get(), static_cast<off_t>(huge)) == 0);
  CHECK_EQ(*word(*mapping, huge / kPage + 3), 0u);
  CHECK(mapping->gone());
  *word(*mapping, huge / kPage) = 9;
  CHECK_EQ(*word(*mapping, 0), 5u);
}

TEST(slots_are_used_again_and_one_mapping_too_many_is_refused) {
  File bar(1);
  for (size_t round = 0; round < 2; ++round) {
    std::vector<std::unique_ptr<GuardedMapping>> mappings;
    for (size_t i = 0; i < GuardedMapping::kMax; ++i)
      mappings.push_back(std::make_unique<GuardedMapping>(bar.fd.get(), 0, kPage));
    CHECK_THROWS(GuardedMapping(bar.fd.get(), 0, kPage), Error);
    bar.resize(0);
    CHECK_EQ(*word(*mappings.back(), 0), 0xffffffffu);
    CHECK(mappings.back()->gone() && !mappings.front()->gone());
    bar.resize(1);
  }
  CHECK(!GuardedMapping(bar.fd.get(), 0, kPage).gone());
}
