#include "memory/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "check.hpp"
#include "platform/error.hpp"

using namespace vanity;

namespace {

constexpr size_t k2m = size_t{2} << 20;
const char* const kCount = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const char* const kFree = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

long read_number(const char* path) {
  long number = -1;
  std::ifstream(path) >> number;
  return number;
}

// Raises the host's count of 2 MiB pages for one test and puts it back.
class HugePages {
 public:
  explicit HugePages(long free) : before_(read_number(kCount)) {
    if (before_ >= 0) std::ofstream(kCount) << before_ + free << std::flush;
  }
  ~HugePages() {
    if (before_ >= 0) std::ofstream(kCount) << before_ << std::flush;
  }
  bool free(long wanted) const { return read_number(kFree) >= wanted; }

 private:
  long before_;
};

// The signal that `touch` dies of in a child, 0 if it lives.
template <class Touch>
int dies(Touch touch) {
  const pid_t child = fork();
  if (child == 0) {
    // A sanitizer would turn the fault into a report and an exit code.
    signal(SIGSEGV, SIG_DFL);
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
    touch();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

size_t resident(const std::byte* base, size_t bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages(bytes / page);
  if (mincore(const_cast<std::byte*>(base), bytes, pages.data()) != 0) return 0;
  size_t count = 0;
  for (const unsigned char present : pages) count += present & 1;
  return count * page;
}

}  // namespace

TEST(small_pages_always_work_and_are_present_at_once) {
  Arena arena(3 * 1024 * 1024 + 5, kAnyNode, PageChoice::small);
  CHECK(arena.kind() == PageKind::small);
  CHECK_EQ(arena.page_bytes(), static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  CHECK_EQ(arena.bytes() % arena.page_bytes(), 0u);
  CHECK(arena.bytes() > 3 * 1024 * 1024);
  CHECK_EQ(resident(arena.base(), arena.bytes()), arena.bytes());
  CHECK(arena.why().find("TLB") != std::string::npos);
}

TEST(automatic_gives_an_arena_on_any_host_and_says_which) {
  Arena arena(k2m);
  CHECK(arena.bytes() >= k2m);
  CHECK(arena.kind() == PageKind::huge_2m || !arena.why().empty());
}

TEST(another_mapping_of_the_descriptor_sees_the_same_bytes) {
  Arena arena(4096, kAnyNode, PageChoice::small);
  CHECK(arena.fd() >= 0);
  const std::string path = "/proc/self/fd/" + std::to_string(arena.fd());
  const int fd = open(path.c_str(), O_RDONLY);
  CHECK(fd >= 0);
  const void* view = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  CHECK(view != MAP_FAILED);
  *static_cast<uint64_t*>(arena.allocate(8)) = 42;
  CHECK_EQ(*static_cast<const uint64_t*>(view), 42u);
  munmap(const_cast<void*>(view), 4096);
}

TEST(the_pages_before_and_after_are_not_there) {
  for (const PageChoice choice : {PageChoice::small, PageChoice::automatic}) {
    Arena arena(4096, kAnyNode, choice);
    // MADV_DONTFORK takes the arena from a child, so the edges are asked from this process.
    unsigned char present;
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    std::byte* const after = arena.base() + arena.bytes();
    int pipe_fds[2];
    CHECK_EQ(pipe(pipe_fds), 0);
    CHECK_EQ(write(pipe_fds[1], arena.base(), 1), 1);
    CHECK_EQ(write(pipe_fds[1], after - 1, 1), 1);
    CHECK_EQ(write(pipe_fds[1], after, 1), -1);
    CHECK_EQ(errno, EFAULT);
    CHECK_EQ(write(pipe_fds[1], arena.base() - 1, 1), -1);
    CHECK_EQ(errno, EFAULT);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    // The guards are mapped without rights, so that nothing else can move in.
    CHECK_EQ(mincore(after, page, &present), 0);
    CHECK_EQ(mincore(arena.base() - page, page, &present), 0);
  }
}

TEST(one_byte_past_the_end_is_a_fault) {
  CHECK_EQ(dies([] {
             Arena arena(4096, kAnyNode, PageChoice::small);
             const_cast<volatile std::byte*>(arena.base())[arena.bytes()] = std::byte{1};
           }),
           SIGSEGV);
  CHECK_EQ(dies([] {
             Arena arena(4096, kAnyNode, PageChoice::small);
             const_cast<volatile std::byte*>(arena.base())[-1] = std::byte{1};
           }),
           SIGSEGV);
  CHECK_EQ(dies([] {
             Arena arena(4096, kAnyNode, PageChoice::small);
             const_cast<volatile std::byte*>(arena.base())[arena.bytes() - 1] = std::byte{1};
           }),
           0);
}

TEST(allocations_are_aligned_zeroed_and_end_with_a_clear_error) {
  Arena arena(4096, kAnyNode, PageChoice::small);
  const auto* one = static_cast<std::byte*>(arena.allocate(1));
  const auto* two = static_cast<std::byte*>(arena.allocate(100, 128));
  CHECK_EQ(reinterpret_cast<uintptr_t>(one) % 64, 0u);
  CHECK_EQ(reinterpret_cast<uintptr_t>(two) % 128, 0u);
  CHECK(two >= one + 1);
  for (int i = 0; i < 100; ++i) CHECK(two[i] == std::byte{0});
  arena.allocate(4096 - arena.used(), 1);
  CHECK_EQ(arena.used(), 4096u);
  bool full = false;
  try {
    arena.allocate(1, 1);
  } catch (const Error& error) {
    full = error.code() == std::string("VANITY_E_MEMORY");
  }
  CHECK(full);
  CHECK_THROWS(arena.allocate(SIZE_MAX, 64), Error);
}

TEST(huge_pages_are_used_when_the_host_has_them) {
  const HugePages pages(4);
  if (!pages.free(4)) {
    std::printf("  no 2 MiB pages to be had here\n");
    return;
  }
  const long before = read_number(kFree);
  {
    Arena arena(3 * k2m - 7);
    CHECK(arena.kind() == PageKind::huge_2m);
    CHECK_EQ(arena.bytes(), 3 * k2m);
    CHECK_EQ(reinterpret_cast<uintptr_t>(arena.base()) % k2m, 0u);
    CHECK(arena.fd() >= 0);
    arena.base()[arena.bytes() - 1] = std::byte{1};
    CHECK_EQ(read_number(kFree), before - 3);
  }
  CHECK_EQ(read_number(kFree), before);
}

TEST(too_few_huge_pages_fall_to_the_next_kind_and_take_none) {
  const HugePages pages(2);
  const long before = read_number(kFree);
  Arena arena(64 * k2m);
  if (before >= 64) return;  // a host with plenty
  CHECK(arena.kind() != PageKind::huge_2m);
  CHECK(arena.why().find("2 MiB pages") != std::string::npos);
  CHECK_EQ(read_number(kFree), before);
}

TEST(a_forced_kind_that_is_not_there_is_an_error_with_the_command) {
  const long free = read_number(kFree);
  if (free >= 512) return;
  bool refused = false;
  try {
    Arena arena(512 * k2m, kAnyNode, PageChoice::huge_2m);
  } catch (const Error& error) {
    refused = error.code() == std::string("VANITY_E_HUGE_PAGES") &&
              error.hint().find("nr_hugepages") != std::string::npos;
  }
  CHECK(refused);
}

TEST(an_impossible_size_is_an_error) {
  CHECK_THROWS(Arena(SIZE_MAX, kAnyNode, PageChoice::small), Error);
  CHECK_THROWS(Arena(size_t{1} << 50, kAnyNode, PageChoice::small), Error);
}

TEST(binding_to_a_node_works_and_a_missing_node_is_said) {
  Arena here(4096, 0, PageChoice::small);
  CHECK(here.why().find("not bound") == std::string::npos);
  Arena nowhere(4096, 1000, PageChoice::small);
  CHECK(nowhere.why().find("not bound to node 1000") != std::string::npos);
}

TEST(nothing_stays_open_or_mapped) {
  const int before = open("/dev/null", O_RDONLY);
  close(before);
  for (int i = 0; i < 50; ++i) Arena arena(k2m);
  const int after = open("/dev/null", O_RDONLY);
  close(after);
  CHECK_EQ(after, before);
}
