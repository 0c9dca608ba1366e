// Interrupts of a device as eventfds: one descriptor a vector, readable when it fired.
//
// A level line (INTx) stays high until the device is told; VFIO masks it when it delivers it, so
// each event must be followed by unmask(), the EOI. Unmasking while the device still holds the line
// delivers again at once. MSI and MSI-X are messages (edges): nothing to mask, nothing to end.
#pragma once

#include <cstdint>
#include <vector>

#include "platform/fd.hpp"

namespace vanity {

enum class IrqKind : uint8_t { intx, msi, msix, error, request };  // the order of VFIO's indexes
enum class Trigger : uint8_t { level, edge };

const char* irq_kind_name(IrqKind kind) noexcept;
constexpr Trigger trigger_of(IrqKind kind) noexcept {
  return kind == IrqKind::intx ? Trigger::level : Trigger::edge;
}

struct IrqInfo {
  uint32_t count = 0;  // vectors that the device has; 0: none of this kind
  bool maskable = false;
  bool automasked = false;
};

// Throws VANITY_E_VFIO_KERNEL.
IrqInfo irq_info(int device_fd, IrqKind kind);

// The first `count` vectors of one kind, armed from here to the end. VFIO allows one of INTx, MSI
// and MSI-X at a time, beside `error` and `request`.
class Irq {
 public:
  // Throws VANITY_E_VECTOR when the device has fewer, VANITY_E_VFIO_KERNEL when refused.
  Irq(int device_fd, IrqKind kind, uint32_t count);
  ~Irq();
  Irq(const Irq&) = delete;
  Irq& operator=(const Irq&) = delete;

  IrqKind kind() const noexcept { return kind_; }
  uint32_t count() const noexcept { return static_cast<uint32_t>(fds_.size()); }
  // For epoll; non-blocking, and this object's to close.
  int fd(uint32_t vector) const { return fds_.at(vector).get(); }
  // How often it fired since the last look; never blocks.
  uint64_t take(uint32_t vector) const;

  // Only where irq_info() says maskable; else VANITY_E_VECTOR.
  void mask(uint32_t vector) const;
  void unmask(uint32_t vector) const;
  // A descriptor into which any thread writes eight bytes (an eventfd's count) to unmask the
  // vector, with no further call: the EOI of a shard. Made when first asked for.
  int unmask_fd(uint32_t vector);

  void disarm() noexcept;
  // For a while: nothing comes, and what had come and was not read is forgotten; then what comes
  // anew, by the same descriptors, a level line unmasked. Throws VANITY_E_VFIO_KERNEL.
  void silence() noexcept;
  void arm_again() const;

 private:
  void arm() const;
  void switch_off() const noexcept;
  void act(uint32_t action, uint32_t vector, const char* what) const;

  int device_fd_;
  IrqKind kind_;
  IrqInfo info_;
  std::vector<Fd> fds_;
  std::vector<Fd> unmask_fds_;
};

}  // namespace vanity
