#include "device/irq.hpp"

#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "platform/error.hpp"

namespace vanity {
namespace {

constexpr size_t kHeadWords = sizeof(vfio_irq_set) / sizeof(int32_t);

// Hands `fds` over as the eventfds of an action; with none, the action takes effect at once, or,
// for a trigger of no vectors, disarms the kind.
int set_irqs(int device_fd, IrqKind kind, uint32_t action, uint32_t start, uint32_t count,
             const std::vector<int32_t>& fds) {
  std::vector<int32_t> buffer(kHeadWords + fds.size());
  auto* const set = reinterpret_cast<vfio_irq_set*>(buffer.data());
  set->argsz = static_cast<uint32_t>(buffer.size() * sizeof(int32_t));
  set->flags = action | (fds.empty() ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD);
  set->index = static_cast<uint32_t>(kind);
  set->start = start;
  set->count = count;
  for (size_t i = 0; i < fds.size(); ++i) buffer[kHeadWords + i] = fds[i];
  return ioctl(device_fd, VFIO_DEVICE_SET_IRQS, set);
}

Error refused(IrqKind kind, const std::string& what, int error_number) {
  return system_error("VANITY_E_VFIO_KERNEL", std::string(irq_kind_name(kind)) + ": " + what,
                      error_number, "Look at what the kernel says: dmesg | grep -iE 'vfio|irq'");
}

Fd make_eventfd() {
  Fd fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) throw system_error("VANITY_E_SYSTEM", "an eventfd", errno, "Raise the limit: ulimit -n");
  return fd;
}

}  // namespace

const char* irq_kind_name(IrqKind kind) noexcept {
  constexpr const char* kNames[] = {"INTx", "MSI", "MSI-X", "error", "request"};
  return kNames[static_cast<int>(kind)];
}

IrqInfo irq_info(int device_fd, IrqKind kind) {
  vfio_irq_info info = {};
  info.argsz = sizeof info;
  info.index = static_cast<uint32_t>(kind);
  if (ioctl(device_fd, VFIO_DEVICE_GET_IRQ_INFO, &info) != 0) {
    if (errno == EINVAL) return {};  // a device without this kind
    throw refused(kind, "what the device has", errno);
  }
  if ((info.flags & VFIO_IRQ_INFO_EVENTFD) == 0) return {};
  return {info.count, (info.flags & VFIO_IRQ_INFO_MASKABLE) != 0,
          (info.flags & VFIO_IRQ_INFO_AUTOMASKED) != 0};
}

Irq::Irq(int device_fd, IrqKind kind, uint32_t count)
    : device_fd_(device_fd), kind_(kind), info_(irq_info(device_fd, kind)) {
  if (count == 0 || count > info_.count) {
    throw Error("VANITY_E_VECTOR",
                std::to_string(count) + " " + irq_kind_name(kind) +
                    " vectors asked for; the device "
                    "has " +
                    std::to_string(info_.count),
                "Grant fewer vectors, or another kind.");
  }
  for (uint32_t i = 0; i < count; ++i) fds_.push_back(make_eventfd());
  unmask_fds_.resize(count);
  arm();
}

Irq::~Irq() {
  disarm();
}

void Irq::arm() const {
  std::vector<int32_t> numbers;
  for (const Fd& fd : fds_) numbers.push_back(fd.get());
  if (set_irqs(device_fd_, kind_, VFIO_IRQ_SET_ACTION_TRIGGER, 0, count(), numbers) != 0)
    throw refused(kind_, "arming " + std::to_string(count()) + " vectors", errno);
}

void Irq::switch_off() const noexcept {
  for (uint32_t i = 0; i < count(); ++i) {
    if (!unmask_fds_[i]) continue;
    set_irqs(device_fd_, kind_, VFIO_IRQ_SET_ACTION_UNMASK, i, 1, {-1});
  }
  set_irqs(device_fd_, kind_, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, {});
}

void Irq::disarm() noexcept {
  if (device_fd_ < 0) return;
  switch_off();
  device_fd_ = -1;
}

void Irq::silence() noexcept {
  if (device_fd_ < 0) return;
  switch_off();
  for (uint32_t i = 0; i < count(); ++i) {
    take(i);
    uint64_t unmasked = 0;
    if (unmask_fds_[i] && read(unmask_fds_[i].get(), &unmasked, sizeof unmasked) < 0) {
      // Nobody had written to it since.
    }
  }
}

void Irq::arm_again() const {
  if (device_fd_ < 0) return;
  arm();
  for (uint32_t i = 0; i < count(); ++i) {
    if (unmask_fds_[i] && set_irqs(device_fd_, kind_, VFIO_IRQ_SET_ACTION_UNMASK, i, 1,
                                   {unmask_fds_[i].get()}) != 0) {
      throw refused(kind_, "an eventfd that unmasks", errno);
    }
  }
}

uint64_t Irq::take(uint32_t vector) const {
  uint64_t events = 0;
  return read(fd(vector), &events, sizeof events) == sizeof events ? events : 0;
}

void Irq::act(uint32_t action, uint32_t vector, const char* what) const {
  if (!info_.maskable || vector >= count()) {
    throw Error("VANITY_E_VECTOR",
                std::string(irq_kind_name(kind_)) + " vector " + std::to_string(vector) +
                    " cannot be " + what + "ed",
                "Only granted vectors of level lines (INTx) can; messages have nothing to mask.");
  }
  if (set_irqs(device_fd_, kind_, action, vector, 1, {}) != 0)
    throw refused(kind_, std::string(what) + "ing a vector", errno);
}

void Irq::mask(uint32_t vector) const {
  act(VFIO_IRQ_SET_ACTION_MASK, vector, "mask");
}

void Irq::unmask(uint32_t vector) const {
  act(VFIO_IRQ_SET_ACTION_UNMASK, vector, "unmask");
}

int Irq::unmask_fd(uint32_t vector) {
  if (!info_.automasked) {
    throw Error("VANITY_E_VECTOR", std::string(irq_kind_name(kind_)) + " vectors need no unmasking",
                "Only level lines (INTx) do.");
  }
  Fd& fd = unmask_fds_.at(vector);
  if (!fd) {
    Fd made = make_eventfd();
    if (set_irqs(device_fd_, kind_, VFIO_IRQ_SET_ACTION_UNMASK, vector, 1, {made.get()}) != 0)
      throw refused(kind_, "an eventfd that unmasks", errno);
    fd = std::move(made);
  }
  return fd.get();
}

}  // namespace vanity
