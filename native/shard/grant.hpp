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
// What crosses between cores: nothing until the kernel asks. Interrupts: see irq_line.hpp. A shard
// that is a process of its own has one of these there and one here, and what crosses lies in the
// memory of both (GrantWords); between two such processes the device is stopped (relay.hpp).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/irq_line.hpp"
#include "device/mmio.hpp"
#include "memory/guarded_mapping.hpp"
#include "shard/relay.hpp"
#include "vanity/program.h"
#include "vanity/segment.hpp"

namespace vanity {

struct GrantWords {
  std::atomic<uint32_t> asked{VANITY_DEVICE_GRANTED};
  std::atomic<bool> let_go{false};
  std::atomic<bool> gone{false};  // the process found nothing where its registers were
  RelayWords relay;
};

}  // namespace vanity

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

  // `words`: in the memory of another process, which works it; null: here.
  vanity_device(std::string name, vanity::DeviceRecord* record, vanity::GrantWords* words = nullptr)
      : name_(std::move(name)), record_(record), words_(words == nullptr ? &own_ : words) {}
  vanity_device(const vanity_device&) = delete;
  vanity_device& operator=(const vanity_device&) = delete;

  // ---- wiring, by the kernel, before the shard starts
  void add(Registers registers) { registers_.push_back(registers); }
  void add(Memory memory) { memory_.push_back(std::move(memory)); }
  void add(Vector vector) { vectors_.push_back(vector); }
  // No other shard has any of the device.
  void take_alone() noexcept { alone_ = true; }
  // Of a process of its own: what it has mapped itself, and lets go of by itself.
  void keep(std::unique_ptr<vanity::GuardedMapping> mapping) {
    mappings_.push_back(std::move(mapping));
  }

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
    return static_cast<vanity_device_state>(words_->asked.load(std::memory_order_acquire));
  }
  // The program has been told.
  void follow(vanity_device_state state) noexcept {
    state_ = state;
    if (state == VANITY_DEVICE_GRANTED) return;
    // Linux has the device back when nobody maps it.
    for (const auto& mapping : mappings_) mapping->detach();
    // Pairs with let_go(): everything done to the device comes before.
    words_->let_go.store(true, std::memory_order_release);
  }
  // Of a process of its own, once a turn: says so when its registers are gone.
  void look_for_it() noexcept {
    for (const auto& mapping : mappings_) {
      if (mapping->gone()) words_->gone.store(true, std::memory_order_relaxed);  // carries nothing
    }
  }

  // ---- the kernel's thread
  void want_back(bool lost) noexcept {
    // Carries nothing with it.
    words_->asked.store(lost ? VANITY_DEVICE_LOST : VANITY_DEVICE_WANTED,
                        std::memory_order_relaxed);
  }
  // The shard touches the device no more. Pairs with follow().
  bool let_go() const noexcept { return words_->let_go.load(std::memory_order_acquire); }
  // As a process of its own found it.
  bool gone() const noexcept { return words_->gone.load(std::memory_order_relaxed); }
  void give_back() noexcept {
    words_->asked.store(VANITY_DEVICE_RETURNED, std::memory_order_release);  // pairs with news()
  }

  // ---- when its program has ended: who works it next
  bool alone() const noexcept { return alone_; }
  vanity::Relay relay() const noexcept { return vanity::Relay(&words_->relay); }
  vanity::GrantWords* words() const noexcept { return words_; }
  vanity::DeviceRecord* record() const noexcept { return record_; }

 private:
  const Registers* find(uint32_t bar, uint64_t offset, uint64_t bytes) noexcept;

  const std::string name_;
  vanity::DeviceRecord* const record_;
  std::vector<Registers> registers_;
  std::vector<Memory> memory_;
  std::vector<Vector> vectors_;
  vanity_device_state state_ = VANITY_DEVICE_GRANTED;
  bool alone_ = false;
  std::vector<std::unique_ptr<vanity::GuardedMapping>> mappings_;
  vanity::GrantWords own_;
  vanity::GrantWords* const words_;
};
