// Memory that somebody else can take away: registers of a device that goes, a file that the process
// which sent it cuts short. Linux answers an access to what is no longer there by SIGBUS, which
// would end this process for another's sake. A handler puts a page of ones in place of the one that
// was touched, which is what a PCI bus reads where nobody answers, and the access is repeated. No
// write reaches the other side; what was written reads as written from then on. SIGBUS for any
// other reason goes where it went before.
//
// The page stays, also if what was there comes back: nobody must go on as if nothing had been.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>

namespace vanity {

class GuardedMapping {
 public:
  static constexpr size_t kMax = 1024;  // at a time, in the process

  // Whole pages of a descriptor, shared, to read and write. `page_bytes`: of its pages, where those
  // are huge; they are replaced whole, and read as zeros then. Control path.
  // Throws VANITY_E_SYSTEM, also for one mapping too many.
  GuardedMapping(int fd, uint64_t offset, size_t bytes, size_t page_bytes = 0);
  ~GuardedMapping();
  GuardedMapping(const GuardedMapping&) = delete;
  GuardedMapping& operator=(const GuardedMapping&) = delete;

  void* base() const noexcept { return base_; }
  size_t bytes() const noexcept { return bytes_; }
  // What is mapped is let go: whoever still points here reads ones from now on. Not for huge pages.
  void detach() noexcept;
  // An access found nothing there. From any thread.
  bool gone() const noexcept;
  // For other handlers of the process, which may stand before this one: true when the fault was an
  // access to what is gone, which is then repeated. Safe in a handler.
  static bool contain_fault(int number, siginfo_t* info) noexcept;

 private:
  size_t slot_ = 0;
  void* base_;
  size_t bytes_;
};

}  // namespace vanity
