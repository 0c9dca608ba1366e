// The rings of the 82574L as a shard's queues. Packets lie in pool buffers in both directions and
// are never copied; the tail register is written once a burst.
//
// Nothing the device writes is believed: which buffer a descriptor stands for is kept here and not
// read back, a length is held against the buffer, and a descriptor is looked at in ring order only,
// so that one that is done out of order waits. After a length that no buffer has, counted as
// invalid, the queue gives up, and the port resets the device.
//
// What crosses between cores: descriptors and frames, with the device; the tenure, when the device
// is taken down.
#pragma once

#include <cstdint>
#include <vector>

#include "device/irq_line.hpp"
#include "device/mmio.hpp"
#include "port/buffer_map.hpp"
#include "port/e1000e/descriptor.hpp"
#include "port/port.hpp"
#include "port/tenure.hpp"

namespace vanity::e1000e {

inline constexpr uint32_t kFrameBytesMin = 17;    // what TCTL.PSP can pad
inline constexpr uint32_t kFrameBytesMax = 9230;  // jumbo, without the FCS

// The interrupt of one receive queue: its bits of IMS, IMC and ICR, which set and clear bit by bit
// and so need no agreement between shards.
class RxInterrupt {
 public:
  RxInterrupt(const MmioView& registers, uint32_t causes);

  // When this returns, either the vector will fire or what came before is in the ring: the read at
  // the end comes back after the writes have arrived, and pushes the device's own writes before it.
  void arm() const noexcept {
    clear_.write(causes_);
    set_.write(causes_);
    set_.read();
  }
  void disarm() const noexcept { mask_.write(causes_); }
  // Of a level line: it is low when this returns, whatever else was raised.
  void acknowledge() const noexcept {
    mask_.write(causes_);
    clear_.write(~0u);
    set_.read();
  }

 private:
  Register<uint32_t> clear_;
  Register<uint32_t> set_;
  Register<uint32_t> mask_;
  uint32_t causes_;
};

struct RxSetup {
  Descriptor* ring;
  uint32_t size;  // a power of two
  Register<uint32_t> tail;
  RxInterrupt interrupt;
  bool level;             // its line is one of INTx
  uint32_t device_bytes;  // what the device puts into one buffer at most
  const BufferMap* buffers;
  uint16_t port;
  uint64_t poll_ns_max;
  bool interrupts;
};

class Rx final : public RxQueue {
 public:
  Rx(QueueRecord* record, const RxSetup& setup);

  uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept override;
  uint64_t sleep_ns_max() noexcept override;
  bool rings() const noexcept override { return armed_; }
  void set_line(IrqLine* line) override { line_ = line; }
  uint32_t take_back(vanity_packet* packets, uint32_t n) noexcept override;

  Tenure tenure;  // shared with the kernel's thread
  // The kernel's thread.
  void add_missed(uint64_t n) noexcept { record_->dropped.add(n); }

 private:
  void interrupted() noexcept;
  void refill(Pool& pool) noexcept;
  void give_back(Pool& pool) noexcept;
  bool ready() noexcept { return head_ != tail_ && RxDone(load(ring_[head_ & mask_].high)).done(); }
  uint32_t posted() const noexcept { return tail_ - head_; }

  Descriptor* ring_;
  std::vector<uint32_t> ids_;  // of the buffer in each slot
  uint32_t mask_;
  uint32_t head_ = 0;  // free-running: the next that the device fills
  uint32_t tail_ = 0;  // the first that it does not have
  uint32_t device_bytes_;
  const BufferMap* buffers_;
  IrqLine* line_ = nullptr;
  uint64_t poll_ticks_;
  uint64_t quiet_since_ = 0;
  uint16_t port_;
  bool interrupts_;
  bool level_;
  bool busy_ = true;      // found packets since it was last asked how long it may sleep
  bool armed_ = false;    // the vector will fire, or has and nobody looked
  bool cutting_ = false;  // in the middle of a frame longer than a buffer
  RxInterrupt interrupt_;
  Register<uint32_t> tail_register_;
};

struct TxSetup {
  Descriptor* ring;
  uint32_t size;
  Register<uint32_t> tail;
  const BufferMap* buffers;
};

class Tx final : public TxQueue {
 public:
  Tx(QueueRecord* record, const TxSetup& setup);

  uint32_t transmit(const PoolTable& pools, const vanity_packet* packets,
                    uint32_t n) noexcept override;
  bool keeps() const noexcept override { return true; }
  uint32_t completed(vanity_packet* packets, uint32_t n) noexcept override;
  bool holding() const noexcept override { return kept_in_ != kept_out_; }
  uint32_t take_back(vanity_packet* packets, uint32_t n) noexcept override;

  Tenure tenure;  // shared with the kernel's thread

 private:
  // A descriptor that the device marks when it and all before it are done.
  struct Report {
    uint32_t descriptor;
    uint32_t kept;  // packets up to here are then done
  };
  bool post(const vanity_packet& packet) noexcept;
  void ask_for_report() noexcept;
  void reap() noexcept;
  void let_go() noexcept;
  uint32_t hand_back(vanity_packet* packets, uint32_t n) noexcept;

  Descriptor* ring_;
  uint32_t size_;
  uint32_t mask_;
  // All indices run freely. Packets are kept in order of arrival, also those that get no descriptor
  // because they can never go.
  uint32_t head_ = 0;      // descriptors: the first that is not known to be done
  uint32_t tail_ = 0;      // the first that the device does not have
  uint32_t reported_ = 0;  // the first behind the last report
  uint64_t last_ = 0;      // what the last descriptor says, for the ring is not read back
  uint32_t kept_in_ = 0;
  uint32_t kept_done_ = 0;
  uint32_t kept_out_ = 0;
  uint32_t reports_in_ = 0;
  uint32_t reports_out_ = 0;
  std::vector<vanity_packet> kept_;
  std::vector<Report> reports_;
  const BufferMap* buffers_;
  Register<uint32_t> tail_register_;
};

}  // namespace vanity::e1000e
