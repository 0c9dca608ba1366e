// What the tests of native/device on real VFIO share: the guest's devices, the backend that is to
// be tested, processes for what can't be taken back, and a driver of QEMU's edu.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../native/check.hpp"
#include "device/vfio.hpp"
#include "platform/error.hpp"

namespace vanity {

inline PciAddress device_of(const char* variable) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) throw std::runtime_error(std::string("no device in $") + variable);
  return PciAddress::parse(text);
}
inline PciAddress edu_address() {
  return device_of("VANITY_EDU");
}
inline PciAddress e1000e_address() {
  return device_of("VANITY_E1000E");
}

// The backend that this run is about, from $VANITY_BACKEND: "group", "cdev", "noiommu", or what
// the host offers.
inline std::string wanted_backend() {
  const char* const text = std::getenv("VANITY_BACKEND");
  return text == nullptr ? "" : text;
}
inline bool without_iommu() {
  return wanted_backend() == "noiommu";
}
inline std::shared_ptr<DmaSpace> open_space(PciAddress address, VfioDescriptors given = {}) {
  const std::string wanted = wanted_backend();
  const BackendChoice choice = wanted == "group"  ? BackendChoice::group
                               : wanted == "cdev" ? BackendChoice::cdev
                                                  : BackendChoice::automatic;
  auto space = DmaSpace::open(address, choice, without_iommu(), std::move(given));
  if (!wanted.empty()) CHECK_EQ(space->backend(), wanted);
  return space;
}
// The nodes that a process must be able to open for a device; the first is the device's alone.
inline std::vector<std::string> nodes_of(PciAddress address) {
  if (wanted_backend() == "cdev") return {Sysfs().vfio_node(address), "/dev/iommu"};
  return {"/dev/vfio/" + std::to_string(Sysfs().iommu_group(address))};
}
struct Opened : VfioDevice {
  explicit Opened(PciAddress address) : VfioDevice(address, open_space(address)) {}
};

// The hardware's own view, past VFIO and this process.
inline uint16_t command_of(PciAddress address) {
  return Sysfs().config_read16(address, PCI_COMMAND);
}
inline bool masters_bus(PciAddress address) {
  return (command_of(address) & PCI_COMMAND_MASTER) != 0;
}

inline bool fired(const Irq& irq, uint32_t vector, int ms, uint64_t* count = nullptr) {
  pollfd wait = {irq.fd(vector), POLLIN, 0};
  if (poll(&wait, 1, ms) != 1) return false;
  const uint64_t events = irq.take(vector);
  if (count != nullptr) *count = events;
  return events > 0;
}
inline constexpr int kSoonMs = 3000;  // for what must come
inline constexpr int kQuietMs = 150;  // for what must not

struct Caught {
  std::string code;
  std::string message;
  std::string hint = {};
};
inline Caught caught(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return {error.code(), error.what(), error.hint()};
  }
  return {"none", ""};
}
inline bool holds(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  std::printf("  \"%s\" does not hold \"%s\"\n", text.c_str(), part.c_str());
  return false;
}

inline bool all_are(const DmaRegion& region, unsigned char value) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(region.data());
  return bytes[0] == value && std::memcmp(bytes, bytes + 1, region.bytes() - 1) == 0;
}

// In a process of its own, since limits, users and death can't be taken back. The child's error, or
// "" when it ended well.
inline std::string in_child(const std::function<void()>& run) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("pipe");
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    std::string text;
    try {
      run();
    } catch (const Error& error) {
      text = std::string(error.code()) + ": " + error.what();
    } catch (const std::exception& error) {
      text = error.what();
    }
    if (write(ends[1], text.data(), text.size()) < 0) _exit(2);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[512];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) text += " (the child died)";
  return text;
}

inline constexpr uid_t kNobody = 65534;
inline void become_nobody(uint64_t memlock_bytes) {
  const rlimit limit = {memlock_bytes, memlock_bytes};
  if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || setgroups(0, nullptr) != 0 ||
      setresgid(kNobody, kNobody, kNobody) != 0 || setresuid(kNobody, kNobody, kNobody) != 0)
    throw std::runtime_error("cannot become nobody");
}

// QEMU's edu (docs/specs/edu.txt): a DMA takes about 100 ms, addresses have 28 bits unless QEMU is
// told otherwise (as it must be without an IOMMU), and one of 4096 bytes aborts QEMU 7.2.
inline unsigned edu_bits() {
  return without_iommu() ? 64 : 28;
}
struct Edu {
  static constexpr uint64_t kBuffer = 0x40000;  // the device's own memory, as its DMA sees it

  VfioDevice device;
  MmioView view;

  explicit Edu(std::shared_ptr<DmaSpace> space = open_space(edu_address()))
      : device(edu_address(), std::move(space)), view(device.mmio(0, 0, 0x100)) {
    acknowledge(~0u);  // it can't be reset, so what the last owner raised may still be up
  }

  void raise(uint32_t cause) { view.write32(0x60, cause); }
  void acknowledge(uint32_t cause) { view.write32(0x64, cause); }
  uint32_t cause() { return view.read32(0x24); }
  // Waits for the end by polling: the busy bit, or an interrupt if `irq` is there.
  bool transfer(uint64_t from, uint64_t to, uint64_t bytes, bool to_ram, const Irq* irq = nullptr) {
    CHECK(bytes < 4096);
    view.write64(0x80, from);
    view.write64(0x88, to);
    view.write64(0x90, bytes);
    view.write64(0x98, 1u | (to_ram ? 2u : 0u) | (irq != nullptr ? 4u : 0u));
    if (irq != nullptr) {
      const bool done = fired(*irq, 0, kSoonMs);
      acknowledge(cause());
      return done;
    }
    for (int ms = 0; ms < kSoonMs; ms += 10) {
      if ((view.read64(0x98) & 1) == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  bool to_device(uint64_t iova, uint64_t bytes, const Irq* irq = nullptr) {
    return transfer(iova, kBuffer, bytes, false, irq);
  }
  bool to_ram(uint64_t iova, uint64_t bytes, const Irq* irq = nullptr) {
    return transfer(kBuffer, iova, bytes, true, irq);
  }
};

// 82574L registers (Intel 82574 datasheet, section 10).
namespace e1000e {
constexpr uint64_t kStatus = 0x8, kIcs = 0xc8, kIms = 0xd0, kEiac = 0xdc, kIvar = 0xe4;
constexpr uint64_t kRdbal = 0x2800;  // a ring's address
constexpr uint64_t kRal0 = 0x5400;   // the MAC address
constexpr uint32_t kLinkUp = 2;      // of kStatus
constexpr unsigned kVectors = 5;
}  // namespace e1000e

}  // namespace vanity
