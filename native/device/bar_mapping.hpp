// Registers mapped into the process, also when their device goes away. Linux answers an access to a
// BAR that is no longer there by SIGBUS, which would end the process for one device's sake. A
// handler puts a page of ones in place of the one that was touched, which is what a PCI bus reads
// where nobody answers, and the access is repeated. No write reaches a device; a register that was
// written reads what was written from then on. SIGBUS for any other
// reason goes where it went before.
//
// The page stays, also if the device comes back: a driver must not go on as if nothing had been.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>

namespace vanity {

class BarMapping {
 public:
  static constexpr size_t kMax = 1024;  // at a time, in the process

  // Whole pages of the device's descriptor. Control path.
  // Throws VANITY_E_SYSTEM, or VANITY_E_BAR for one mapping too many.
  BarMapping(int device_fd, uint64_t offset, size_t bytes);
  ~BarMapping();
  BarMapping(const BarMapping&) = delete;
  BarMapping& operator=(const BarMapping&) = delete;

  void* base() const noexcept { return base_; }
  // The device is let go: what still points here reads ones from now on.
  void detach() noexcept;
  // An access found nothing there. From any thread.
  bool gone() const noexcept;
  // For other handlers of the process, which may stand before this one: true when the fault was an
  // access to registers that are gone, which is then repeated. Safe in a handler.
  static bool contain_fault(int number, siginfo_t* info) noexcept;

 private:
  size_t slot_ = 0;
  void* base_;
  size_t bytes_;
};

}  // namespace vanity
