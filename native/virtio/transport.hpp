// What a driver of a virtio device needs of the way to it (VIRTIO 1.2 §4): PCI is one, a vhost-user
// socket another. Control path, one thread at a time, but for Notifier.
//
// Everything that is read here is what a device says, and nobody vouches for it. A device that is
// gone reads as all ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "virtio/layout.hpp"

namespace vanity::virtio {

inline constexpr uint32_t kMemoryAlign = 128;
inline constexpr uint16_t kNoVector = 0xffff;  // §4.1.5.1.2

// Tells the device that a queue has new buffers: once a burst, by the queue's thread.
class Notifier {
 public:
  using Tell = void (*)(void* context, uint32_t data) noexcept;

  Notifier() = default;
  Notifier(Tell tell, void* context) noexcept : tell_(tell), context_(context) {}
  // `data`: notification() of the ring. A transport takes as much of it as was negotiated.
  void operator()(uint32_t data) const noexcept { tell_(context_, data); }

 private:
  Tell tell_ = nullptr;
  void* context_ = nullptr;
};

// The state of a level line, for a transport that has one; reading it lets the line go (§4.1.4.5).
// By the thread of the queue whose interrupt it is.
class LevelState {
 public:
  using Read = uint8_t (*)(void* context) noexcept;

  LevelState() = default;
  LevelState(Read read, void* context) noexcept : read_(read), context_(context) {}
  uint8_t operator()() const noexcept { return read_(context_); }

 private:
  Read read_ = nullptr;
  void* context_ = nullptr;
};

// Memory that the device reads and writes, zeroed, in one piece; stays as long as the transport.
struct SharedMemory {
  std::byte* data = nullptr;
  uint64_t address = 0;  // the device's
};

// Where a queue is, in addresses of the device.
struct QueuePlace {
  uint64_t descriptors;
  uint64_t driver;
  uint64_t device;
  uint16_t size;
};

class Transport {
 public:
  virtual ~Transport() = default;

  // Is there a device? One behind a socket may come later, go, and be another when it comes back;
  // while there is none, nothing below means anything: its status reads 0.
  virtual bool present() const { return true; }
  // Why there is none, for people; empty: it is there.
  virtual std::string absence() const { return {}; }
  // May what is there after a reset be another device, of other features?
  virtual bool may_change() const { return false; }
  // Readable when attend() has something to hear or somebody to greet; -1: never.
  virtual int control_fd() const { return -1; }
  // Hears what came, looks for a device that is not there.
  virtual void attend() {}
  // The device said what cannot be. A transport that can part from it does so.
  virtual void distrust() {}

  // Bits 0..63 (§6).
  virtual uint64_t offered() = 0;
  virtual void accept(uint64_t features) = 0;

  virtual uint8_t status() = 0;
  virtual void set_status(uint8_t status) = 0;  // 0 begins a reset, which status() == 0 ends

  // The device's own configuration, in pieces of 1, 2 or 4 bytes (§2.5). Beyond its end: ones.
  virtual uint32_t config(uint32_t offset, uint32_t bytes) = 0;

  // 0: there is no such queue.
  virtual uint16_t queue_size_max(uint16_t queue) = 0;
  // False: the device does not take it. `vector`: kNoVector, or one of a number that is armed.
  virtual bool set_up(uint16_t queue, const QueuePlace& place, uint16_t vector) = 0;
  virtual void enable(uint16_t queue) = 0;
  // Is a pair of queues in use when it is enabled, and no command needed that says so?
  virtual bool enables_pairs() const { return false; }
  virtual bool set_config_vector(uint16_t vector) = 0;
  // VIRTIO_F_RING_RESET (§2.6.1): begins with the call, ends when reset_done().
  virtual void reset_queue(uint16_t queue) = 0;
  virtual bool reset_done(uint16_t queue) = 0;

  // Valid between set_up() and the end of the transport.
  virtual Notifier notifier(uint16_t queue) = 0;

  // How many vectors there are for set_up() and set_config_vector().
  virtual uint32_t vectors() = 0;
  // The eventfd of one of them, when the transport makes it; -1: it is the device's.
  virtual int vector_fd(uint32_t /*vector*/) const { return -1; }
  // Is there a level line instead?
  virtual bool has_level() = 0;
  virtual LevelState level_state() = 0;

  // Aligned to kMemoryAlign. Throws when there is none.
  virtual SharedMemory memory(uint32_t bytes) = 0;

  // Are the device's addresses others than its bus's own, so that one that passes by the IOMMU
  // would write where it must not? Then VIRTIO_F_ACCESS_PLATFORM is a must (§6.1).
  virtual bool translates() = 0;

  // May the device read, write and interrupt at all? Off when a transport is made.
  virtual void let_loose(bool on) = 0;
};

}  // namespace vanity::virtio
