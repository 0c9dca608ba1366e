// The interface that shards use to take packets in and send them out, the same for every family.
//
// Threads. A queue belongs to one shard: receive(), transmit(), flush() and sleep_ns_max() are
// called on that shard's thread only, and never throw, block or allocate. A port belongs to the
// control path: open() before the shards start, service() about ten times a second on the kernel's
// thread while they run, close() after they are joined. What the two sides share inside a port is
// said in its own header.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "device/irq.hpp"
#include "memory/pool.hpp"
#include "vanity/packet.h"
#include "vanity/segment.hpp"

namespace vanity {

inline constexpr uint64_t kSleepForever = std::numeric_limits<uint64_t>::max();

struct IrqLine;
struct NicHost;
struct UserHost;

class RxQueue {
 public:
  explicit RxQueue(QueueRecord* record) : record_(record) {}
  virtual ~RxQueue() = default;

  // Up to n packets, each in a buffer of `pool` that the caller now owns. Counts packets, bytes,
  // bursts and everything that was lost on the way in.
  virtual uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept = 0;

  // After a receive() that gave nothing: how long the shard may sleep before it looks again. 0:
  // look again at once. kSleepForever: nothing will come, or its vector rings. A queue with an
  // interrupt says 0 while it was busy a moment ago. After that it arms its vector, looks once
  // more, since a packet may have come in between, and says 0 if one has; the next receive() that
  // finds packets disarms it.
  virtual uint64_t sleep_ns_max() noexcept = 0;

  // While armed, its vector rings the shard's doorbell.
  virtual bool rings() const noexcept { return false; }
  // Its vector, before start(); stays the kernel's. Null: it has none, and must be polled.
  virtual void set_line(IrqLine* /*line*/) {}

  // A descriptor that polls readable when packets wait, for a shard without channels; -1: none now.
  virtual int poll_fd() const noexcept { return -1; }

  // The source has ended, well or badly: nothing will ever come again.
  virtual bool finished() const noexcept { return false; }

  // After Port::close(): up to n of the buffers that the queue still holds (`buffer` is set,
  // nothing else). On the kernel's thread, when the shards are joined.
  virtual uint32_t take_back(vanity_packet* /*packets*/, uint32_t /*n*/) noexcept { return 0; }

 protected:
  QueueRecord* record_;
};

class TxQueue {
 public:
  explicit TxQueue(QueueRecord* record) : record_(record) {}
  virtual ~TxQueue() = default;

  // Takes the first packets and says how many went (or could never go, and were counted as
  // oversize or dropped). Fewer than n: no room now, the rest may be tried again, or given up and
  // counted by drop(). Buffers stay the caller's to free, unless the queue keeps() them.
  virtual uint32_t transmit(const PoolTable& pools, const vanity_packet* packets,
                            uint32_t n) noexcept = 0;
  void drop(uint32_t n) noexcept { record_->dropped.add(n); }

  // Packets that transmit() took are the queue's until completed() hands them back: the device
  // reads them where they are.
  virtual bool keeps() const noexcept { return false; }
  // Up to n packets, as they were taken in, that the device is done with.
  virtual uint32_t completed(vanity_packet* /*packets*/, uint32_t /*n*/) noexcept { return 0; }
  // Does it keep some? Then the shard that sleeps looks again before long: no doorbell rings for
  // what a device has read, and a pool may be waiting for it.
  virtual bool holding() const noexcept { return false; }
  // After Port::close(), as RxQueue's: packets as they were taken in.
  virtual uint32_t take_back(vanity_packet* packets, uint32_t n) noexcept {
    return completed(packets, n);
  }

  // Pushes out what is held back for a fuller burst. Shards call it when they turn idle.
  virtual void flush() noexcept {}

 protected:
  QueueRecord* record_;
};

// In the order of the manifest's words "as-fast", "loop", "timed".
enum class ReplayMode : uint8_t { as_fast, loop, timed };

// In the order of the manifest's words "auto", "yes", "no".
enum class PackedRings : uint8_t { automatic, yes, no };

struct PortOptions {
  std::string name = {};
  std::string driver = {};  // "capture", "af_packet", "virtio-net", "e1000e"
  uint16_t index = 0;       // stands in vanity_packet.port
  uint32_t rx_queues = 0;
  uint32_t tx_queues = 0;
  std::string file = {};   // capture: read from
  std::string write = {};  // capture: write to
  ReplayMode replay = ReplayMode::as_fast;
  std::string interface = {};  // af_packet
  std::string fanout = "hash";
  bool promiscuous = true;
  uint32_t buffer_bytes = 2048;
  // Ports on a device:
  NicHost* nic = nullptr;
  uint32_t ring = 256;            // descriptors of each ring, a power of two
  uint64_t poll_ns_max = 50'000;  // an empty queue is polled this long before it is armed
  bool interrupts = true;
  PackedRings packed = PackedRings::automatic;
  std::array<uint8_t, 6> mac{};  // the station's address; all 0: the device's own
  // Ports on a vhost-user socket:
  UserHost* user = nullptr;
  std::string socket = {};          // its path
  bool server = false;              // listens on it
  uint32_t peer_uid = 0xffffffffu;  // may be at the other end, besides root and our own user
};

// What a port on a device wants armed: vectors 0 .. n-1 of one kind, and whose each is.
struct PortIrqs {
  static constexpr uint32_t kPortVector = 0xffffffffu;  // the port's own: interrupt()

  IrqKind kind = IrqKind::msix;
  std::vector<uint32_t> queue_of_vector;  // receive queue, or kPortVector; empty: none
  // Eventfds of the port itself, one a vector; empty: the device's are armed.
  std::vector<int> fds;
};

// Where the counters go: the port's record, and one a queue. The vectors' sizes are the queues'.
struct PortRecords {
  PortRecord* port = nullptr;
  std::vector<QueueRecord*> rx;
  std::vector<QueueRecord*> tx;
};

class Port {
 public:
  explicit Port(PortRecord* record) : record_(record) {}
  virtual ~Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  virtual RxQueue& rx(uint32_t queue) = 0;
  virtual TxQueue& tx(uint32_t queue) = 0;

  // From here packets may come. Throws; the state is then `failed`.
  virtual void start() = 0;
  // Asked once, before start(): the kernel arms them, hands each queue its line, and rings the
  // shard's doorbell. A level line (INTx) ends delayed: its queue acknowledges the device and calls
  // IrqLine::done().
  virtual PortIrqs irqs() const { return {}; }
  // A descriptor of the port's own, the same from start() to close(), that polls readable when
  // interrupt() has something to do; -1: none.
  virtual int control_fd() const { return -1; }
  // The port's own vector fired, or control_fd() is readable; on the kernel's thread.
  virtual void interrupt() noexcept {}
  // The device is wanted back, or gone: stops the tenure of every queue. The kernel stops the
  // device once retired() says that no shard touches it any more, and then lets what the queues
  // hold go home by release().
  virtual void retire() noexcept {}
  virtual bool retired() const noexcept { return true; }
  virtual void release() noexcept {}

  // Looks after the port while it runs: link state, the kernel's drop counters, files to flush.
  virtual void service() noexcept {}
  // The last bytes reach the file or the wire. The shards are gone.
  virtual void close() noexcept {}

  // Why the state is `failed` or `down`; empty otherwise. Control path.
  virtual std::string error() const { return {}; }

  PortState state() const noexcept {
    // A word for readers; nothing else is published with it.
    return static_cast<PortState>(record_->state.load(std::memory_order_relaxed));
  }

 protected:
  void set_state(PortState state) noexcept {
    record_->state.store(static_cast<uint32_t>(state), std::memory_order_relaxed);
  }
  PortRecord* record_;
};

// Opens what the options name: files and interfaces exist and can be used, or it throws.
std::unique_ptr<Port> create_port(const PortOptions& options, const PortRecords& records);

}  // namespace vanity
