// A validated system, ready to boot: what the manifest says with every default filled in and every
// name turned into an index. lib/manifest/plan.ts declares the same shape; the addon copies it
// over.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "memory/arena.hpp"
#include "port/port.hpp"
#include "vanity/channel.hpp"
#include "vanity/doorbell.hpp"

namespace vanity {

inline constexpr uint32_t kNone = 0xffffffffu;

enum class ProgramKind : uint8_t { builtin, native, typescript };
enum class Overflow : uint8_t { drop, block, program };

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
  std::string driver;        // "capture", "af_packet"
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
};

struct Plan {
  std::string name;
  bool oversubscribe = false;
  PageChoice pages = PageChoice::automatic;
  uint32_t kernel_core = kNone;
  uint64_t stall_ns = 1'000'000'000;
  uint64_t drain_ns = 2'000'000'000;
  std::vector<ShardPlan> shards;
  std::vector<ChannelPlan> channels;
  std::vector<PortPlan> ports;
};

}  // namespace vanity
