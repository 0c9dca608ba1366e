// A validated system, ready to boot: what the manifest says with every default filled in and every
// name turned into an index. lib/manifest/plan.ts declares the same shape; the addon copies it
// over.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "memory/arena.hpp"
#include "port/port.hpp"
#include "vanity/channel.hpp"
#include "vanity/doorbell.hpp"
#include "vanity/segment.hpp"

namespace vanity {

inline constexpr uint32_t kNone = 0xffffffffu;

enum class ProgramKind : uint8_t { builtin, native, typescript };
enum class Overflow : uint8_t { drop, block, program };

// What is done about a shard that stalls, starves, is slow, or whose program faults.
enum class Policy : uint8_t { report, restart, hold, stop_system };

// 0: not watched for.
struct WatchPlan {
  uint64_t progress_ns = 0;  // no turn ended for so long; 0: [kernel] stall_ms
  uint64_t service_ns = 0;   // one turn took longer
  uint64_t starve_ns = 0;    // input waited for longer while the shard took turns
  Policy on_progress = Policy::report;
  Policy on_service = Policy::report;
  Policy on_starve = Policy::report;
  Policy on_fault = Policy::restart;  // restart, hold or stop_system
  uint64_t backoff_ns = 100'000'000;  // before the first restart, twice as long before the next
  uint32_t max_restarts = 3;          // within the window; then the shard is held
  uint64_t window_ns = 60'000'000'000;
};

struct ShardPlan {
  std::string name;
  ProgramKind kind = ProgramKind::builtin;
  std::string program;  // built-in name, or absolute path
  std::map<std::string, std::string> options;
  uint32_t core = kNone;  // kNone: not pinned
  std::string wait = "auto";
  Strategy strategy = Strategy::doorbell;
  uint32_t primary = kNone;  // channel index
  uint32_t burst = 32;
  uint32_t fifo = 0;
  uint64_t spin_ns_max = 50'000;
  uint64_t sleep_ns_max = 10'000'000;
  uint64_t arena_bytes = 0;  // beyond what channels and pools need
  bool trace = false;        // from the start
  bool isolated = false;     // a process of its own
  bool keyed = false;        // its program is confined by a protection key
  WatchPlan watch;
};

struct ChannelPlan {
  std::string name;
  uint32_t from = 0;
  uint32_t to = 0;
  uint32_t capacity = 1024;
  uint32_t element_bytes = 16;
  bool packets = true;
  Layout layout = Layout::bulk;
  Overflow overflow = Overflow::drop;
  uint32_t high_watermark = 0;  // 0: none
  uint32_t low_watermark = 0;
};

struct PortPlan {
  std::string name;
  std::string driver;        // "capture", "af_packet", "device"
  std::vector<uint32_t> rx;  // shard of each receive queue
  std::vector<uint32_t> tx;  // shard of each transmit queue
  std::string file;          // capture: read from
  std::string write;         // capture: write to
  ReplayMode replay = ReplayMode::as_fast;
  std::string interface;        // af_packet
  std::string fanout = "hash";  // af_packet: hash, lb, cpu
  bool promiscuous = true;
  uint32_t buffers = 8192;  // pool of each receive queue
  uint32_t buffer_bytes = 2048;
  Overflow overflow = Overflow::drop;  // or block: what a full transmit queue does
  // A NIC through VFIO, driver = "device"; and, but for device and mac, "virtio-user". Of
  // "vhost-user" all but the ring, which is its driver's.
  uint32_t device = kNone;        // index
  uint32_t ring = 256;            // descriptors of each ring, a power of two
  uint64_t poll_ns_max = 50'000;  // an empty queue is polled this long before it is armed
  bool interrupts = true;         // false: always polled
  PackedRings packed = PackedRings::automatic;
  std::array<uint8_t, 6> mac{};  // the station's address; all 0: the device's own
  // A vhost-user socket: "virtio-user" drives the queues, "vhost-user" is the device.
  std::string socket;
  bool server = false;
  uint32_t peer_uid = kNone;  // may be at the other end too; kNone: root and our own user only

  bool on_socket() const { return driver == "virtio-user" || driver == "vhost-user"; }
  // Does somebody who is no shard reach its packets where they lie?
  bool reached_from_outside() const { return device != kNone || driver == "virtio-user"; }
  // Do its receive queues have interrupts?
  bool interrupted() const { return device != kNone || on_socket(); }
};

struct MmioPlan {
  uint32_t bar = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint32_t shard = 0;
};

struct IrqPlan {
  uint32_t vector = 0;
  uint32_t shard = 0;
  IrqTrigger trigger = IrqTrigger::edge;
  Eoi eoi = Eoi::immediate;
};

struct DmaPlan {
  std::string name;
  uint64_t bytes = 0;
  uint32_t bits = 64;
  uint32_t shard = 0;
};

// A device with the driver of a port has no grants of its own: its driver takes what it needs.
struct DevicePlan {
  std::string name;
  std::string address;           // 0000:01:00.0, resolved
  std::string driver = "vfio";   // granted to programs; else "virtio-net", "e1000e"
  std::string backend = "auto";  // "auto", "group", "cdev"
  bool unsafe_noiommu = false;
  std::vector<MmioPlan> mmio;
  std::vector<IrqPlan> irqs;
  std::vector<DmaPlan> dma;
};

struct Plan {
  std::string name;
  std::string manifest;  // what readers see as it, and compare another with: JSON in ASCII
  std::string process;   // the program that isolated shards run in: vanity-shard
  bool oversubscribe = false;
  uint32_t threads = 0;  // that carry all shards but those of JavaScript; 0: each has its own
  PageChoice pages = PageChoice::automatic;
  uint32_t kernel_core = kNone;
  uint64_t stall_ns = 1'000'000'000;
  uint64_t drain_ns = 2'000'000'000;
  std::vector<ShardPlan> shards;
  std::vector<ChannelPlan> channels;
  std::vector<PortPlan> ports;
  std::vector<DevicePlan> devices;
};

inline bool any_isolated(const Plan& plan) {
  return std::any_of(plan.shards.begin(), plan.shards.end(),
                     [](const ShardPlan& shard) { return shard.isolated; });
}

}  // namespace vanity
