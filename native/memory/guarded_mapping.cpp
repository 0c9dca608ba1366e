#include "memory/guarded_mapping.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <vector>

#include "platform/error.hpp"
#include "platform/fd.hpp"
#include "platform/pkey.hpp"

namespace vanity {
namespace {

// The number of the first page and how many there are, in one word, so that the handler never sees
// half of a change; 0: free. 47 bits of address and 1 TiB of memory fit. All of it is relaxed: a
// thread that touches a mapping was told of it by somebody, and that already orders the slot's
// store before the handler's load on that thread.
constexpr unsigned kCountBits = 28;
struct Slot {
  std::atomic<uint64_t> range{0};
  std::atomic<uint64_t> huge_bytes{0};  // of its pages; 0: they are ordinary. Written before range
  std::atomic<bool> tripped{false};
};
std::array<Slot, GuardedMapping::kMax> g_slots;

std::mutex g_mutex;  // of the control path; the handler takes none
uintptr_t g_page_bytes = 0;
int g_ones = -1;     // a page of ones
int g_nothing = -1;  // a file without a byte: every access to it is answered by SIGBUS
struct sigaction g_previous {};

bool contain(uintptr_t address) noexcept {
  const uint64_t page = address / g_page_bytes;
  for (Slot& slot : g_slots) {
    const uint64_t range = slot.range.load(std::memory_order_relaxed);
    const uint64_t first = range >> kCountBits;
    const uint64_t count = range & ((uint64_t{1} << kCountBits) - 1);
    if (page < first || page - first >= count) continue;
    slot.tripped.store(true, std::memory_order_relaxed);
    // Not mmap(): of the library's functions only few may be called here (signal-safety(7)).
    const uint64_t huge = slot.huge_bytes.load(std::memory_order_relaxed);
    if (huge != 0) {
      // Linux does not take a part of a huge page away, and has no file of ones that large.
      // NOLINTNEXTLINE(performance-no-int-to-ptr)
      return syscall(SYS_mmap, address / huge * huge, huge, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) >= 0;
    }
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    return syscall(SYS_mmap, page * g_page_bytes, g_page_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_FIXED, g_ones, 0) >= 0;
  }
  return false;
}

[[gnu::noinline]] void bus_error(int number, siginfo_t* info, void* context) {
  const int saved = errno;
  const bool contained = GuardedMapping::contain_fault(number, info);
  errno = saved;
  if (contained) return;
  if ((g_previous.sa_flags & SA_SIGINFO) != 0) {
    g_previous.sa_sigaction(number, info, context);
  } else if (g_previous.sa_handler != SIG_DFL && g_previous.sa_handler != SIG_IGN) {
    g_previous.sa_handler(number);
  } else {
    // The access is repeated and ends the process as it would have without us. What was sent by
    // kill() has no access to repeat.
    signal(SIGBUS, SIG_DFL);
    if (info->si_code <= 0) raise(SIGBUS);
  }
}

// On a thread with protection keys not even errno is there before that (shard/guard.cpp).
[[gnu::no_stack_protector]] void on_bus_error(int number, siginfo_t* info, void* context) {
  Rights::take_all();
  bus_error(number, info, context);
}

// Once a process: a handler that others may have chained to cannot be taken out again.
void install() {
  if (g_ones >= 0) return;
  g_page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  Fd ones(memfd_create("vanity-gone", MFD_CLOEXEC));
  Fd nothing(memfd_create("vanity-nothing", MFD_CLOEXEC));
  const std::vector<unsigned char> page(g_page_bytes, 0xff);
  if (!ones || !nothing ||
      write(ones.get(), page.data(), page.size()) != static_cast<ssize_t>(page.size()))
    throw system_error("VANITY_E_SYSTEM", "a page for memory that is gone", errno);
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  g_ones = ones.release();
  g_nothing = nothing.release();
  sigaction(SIGBUS, nullptr, &g_previous);  // the handler may run as soon as it is there
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

GuardedMapping::GuardedMapping(int fd, uint64_t offset, size_t bytes, size_t page_bytes)
    : bytes_(bytes) {
  const std::lock_guard<std::mutex> lock(g_mutex);
  install();
  const auto in_use = [](const Slot& slot) {
    return slot.range.load(std::memory_order_relaxed) != 0;
  };
  while (slot_ < kMax && in_use(g_slots[slot_])) ++slot_;
  const uint64_t pages = bytes / g_page_bytes;
  if (slot_ == kMax || pages >> kCountBits != 0) {
    throw Error("VANITY_E_SYSTEM",
                "more than " + std::to_string(kMax) +
                    " ranges of devices and of other processes would be mapped at a time, or one "
                    "of 1 TiB",
                "Fewer and larger ranges.");
  }
  base_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (base_ == MAP_FAILED)
    throw system_error("VANITY_E_SYSTEM", "mapping what is another's", errno);
  Slot& slot = g_slots[slot_];
  slot.tripped.store(false, std::memory_order_relaxed);
  slot.huge_bytes.store(page_bytes > g_page_bytes ? page_bytes : 0, std::memory_order_relaxed);
  const uint64_t first = reinterpret_cast<uintptr_t>(base_) / g_page_bytes;
  slot.range.store(first << kCountBits | pages, std::memory_order_relaxed);
}

GuardedMapping::~GuardedMapping() {
  {
    const std::lock_guard<std::mutex> lock(g_mutex);
    g_slots[slot_].range.store(0, std::memory_order_relaxed);
  }
  munmap(base_, bytes_);  // last: what is mapped here next is not ours to contain
}

bool GuardedMapping::contain_fault(int number, siginfo_t* info) noexcept {
  return number == SIGBUS && info->si_code == BUS_ADRERR && g_ones >= 0 &&
         contain(reinterpret_cast<uintptr_t>(info->si_addr));
}

void GuardedMapping::detach() noexcept {
  // Without memory for it the registers stay mapped, and Linux waits for the device until the end.
  static_cast<void>(
      mmap(base_, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, g_nothing, 0));
}

bool GuardedMapping::gone() const noexcept {
  return g_slots[slot_].tripped.load(std::memory_order_relaxed);
}

}  // namespace vanity
