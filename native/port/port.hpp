// The interface that shards use to take packets in and send them out, the same for every family.
//
// Threads. A queue belongs to one shard: receive(), transmit(), flush() and sleep_ns_max() are
// called on that shard's thread only, and never throw, block or allocate. A port belongs to the
// control path: open() before the shards start, service() about ten times a second on the kernel's
// thread while they run, close() after they are joined. What the two sides share inside a port is
// said in its own header.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "memory/pool.hpp"
#include "vanity/packet.h"
#include "vanity/segment.hpp"

namespace vanity {

inline constexpr uint64_t kSleepForever = std::numeric_limits<uint64_t>::max();

class RxQueue {
 public:
  explicit RxQueue(QueueRecord* record) : record_(record) {}
  virtual ~RxQueue() = default;

  // Up to n packets, each in a buffer of `pool` that the caller now owns. Counts packets, bytes,
  // bursts and everything that was lost on the way in.
  virtual uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept = 0;

  // After a receive() that gave nothing: how long the shard may sleep before it looks again, since
  // no doorbell rings for a port. 0: look again at once. kSleepForever: nothing will come.
  virtual uint64_t sleep_ns_max() const noexcept = 0;

  // A descriptor that polls readable when packets wait, for a shard without channels; -1: none now.
  virtual int poll_fd() const noexcept { return -1; }

  // The source has ended, well or badly: nothing will ever come again.
  virtual bool finished() const noexcept { return false; }

 protected:
  QueueRecord* record_;
};

class TxQueue {
 public:
  explicit TxQueue(QueueRecord* record) : record_(record) {}
  virtual ~TxQueue() = default;

  // Copies the first packets out and says how many went (or could never go, and were counted as
  // oversize or dropped); all buffers stay the caller's to free. Fewer than n: no room now, the
  // rest may be tried again, or given up and counted by drop().
  virtual uint32_t transmit(const PoolTable& pools, const vanity_packet* packets,
                            uint32_t n) noexcept = 0;
  void drop(uint32_t n) noexcept { record_->dropped.add(n); }

  // Pushes out what is held back for a fuller burst. Shards call it when they turn idle.
  virtual void flush() noexcept {}

 protected:
  QueueRecord* record_;
};

// In the order of the manifest's words "as-fast", "loop", "timed".
enum class ReplayMode : uint8_t { as_fast, loop, timed };

struct PortOptions {
  std::string name = {};
  std::string driver = {};  // "capture", "af_packet"
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
