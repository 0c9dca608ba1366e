// What one shard may use of one device: ranges of registers, memory that the device reaches, and
// interrupts. The kernel fills it in before the shard starts. Everything here but take_back() and
// its kin is called on the shard's thread.
//
// Going down. Linux may want the device back while the shard works on it, and neither side may wait
// for the other:
//
//   granted        the shard works
//   wanted, lost   the kernel asks. At its next turn the shard tells its program, which stops what
//                  it has under way, and then lets go
//   returned       the device is stopped and closed; its memory is ordinary memory again
//
// What crosses between cores: nothing until the kernel asks. Interrupts: see irq_line.hpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "device/irq_line.hpp"
#include "device/mmio.hpp"
#include "vanity/program.h"
#include "vanity/segment.hpp"

struct vanity_device {
 public:
  struct Registers {
    uint32_t bar;
    uint64_t offset;  // in the BAR
    vanity::MmioView view;
  };
  struct Memory {
    std::string name;
    vanity_dma where;
  };
  struct Vector {
    uint32_t number;
    vanity::IrqLine* line;
  };

  vanity_device(std::string name, vanity::DeviceRecord* record)
      : name_(std::move(name)), record_(record) {}
  vanity_device(const vanity_device&) = delete;
  vanity_device& operator=(const vanity_device&) = delete;

  // ---- wiring, by the kernel, before the shard starts
  void add(Registers registers) { registers_.push_back(registers); }
  void add(Memory memory) { memory_.push_back(std::move(memory)); }
  void add(Vector vector) { vectors_.push_back(vector); }

  // ---- the shard's thread
  const std::string& name() const noexcept { return name_; }
  const std::vector<Registers>& registers() const noexcept { return registers_; }
  const std::vector<Memory>& memory() const noexcept { return memory_; }
  const std::vector<Vector>& vectors() const noexcept { return vectors_; }
  vanity_device_state state() const noexcept { return state_; }

  // `width` is 1, 2, 4 or 8 bytes. False: not aligned, not within one grant (and counted), or the
  // device is not the shard's any more; nothing was touched.
  bool read(uint32_t bar, uint64_t offset, uint32_t width, uint64_t* value) noexcept;
  bool write(uint32_t bar, uint64_t offset, uint32_t width, uint64_t value) noexcept;
  // The range itself. Null: not within one grant.
  volatile void* range(uint32_t bar, uint64_t offset, uint64_t bytes) noexcept;
  const vanity_dma* memory(const std::string& name) const noexcept;
  // Counts an access beyond the grants, for callers that check by themselves.
  void refuse() noexcept { record_->refused.add_shared(1); }  // shards may share a device
  // How often the vector fired since the last look; 0 for one that is not granted.
  uint64_t take(uint32_t vector) noexcept;
  void done(uint32_t vector) noexcept;
  // Once a turn: what the kernel asks since the last look, or `state()`.
  vanity_device_state news() const noexcept {
    // Pairs with give_back(): what the device wrote is there.
    return static_cast<vanity_device_state>(asked_.load(std::memory_order_acquire));
  }
  // The program has been told.
  void follow(vanity_device_state state) noexcept {
    state_ = state;
    // Pairs with let_go(): everything done to the device comes before.
    if (state != VANITY_DEVICE_GRANTED) let_go_.store(true, std::memory_order_release);
  }

  // ---- the kernel's thread
  void want_back(bool lost) noexcept {
    // Carries nothing with it.
    asked_.store(lost ? VANITY_DEVICE_LOST : VANITY_DEVICE_WANTED, std::memory_order_relaxed);
  }
  // The shard touches the device no more. Pairs with follow().
  bool let_go() const noexcept { return let_go_.load(std::memory_order_acquire); }
  void give_back() noexcept {
    asked_.store(VANITY_DEVICE_RETURNED, std::memory_order_release);  // pairs with news()
  }

 private:
  const Registers* find(uint32_t bar, uint64_t offset, uint64_t bytes) noexcept;

  const std::string name_;
  vanity::DeviceRecord* const record_;
  std::vector<Registers> registers_;
  std::vector<Memory> memory_;
  std::vector<Vector> vectors_;
  vanity_device_state state_ = VANITY_DEVICE_GRANTED;
  std::atomic<uint32_t> asked_{VANITY_DEVICE_GRANTED};
  std::atomic<bool> let_go_{false};
};
