// What a shard that is a process of its own is given when it starts: its part of the plan, and
// where in the memory of both each thing lies. No address is in it, for each has its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shard/guard.hpp"
#include "shard/plan.hpp"

namespace vanity {

// In a block: a descriptor that was passed, mapped whole.
struct Spot {
  uint32_t block = kNone;
  uint64_t offset = 0;

  explicit operator bool() const noexcept { return block != kNone; }
};

struct OutfitChannel {
  ChannelPlan plan;
  uint32_t index = 0;  // in the plan
  bool input = false;
  Spot record;
  Spot ring;
  // Of an output: the consumer's line, and its bell.
  Spot line;
  bool rings = false;
  uint32_t byte = 0;
  uint32_t inputs = 0;
};

struct OutfitPool {
  uint32_t index = 0;
  uint32_t buffers = 0;
  uint32_t buffer_bytes = 0;
  uint32_t stride = 0;
  Spot memory;
  Spot references;
  Spot home;
  Spot entries;  // of the ledger
};

// Of a file: a descriptor that was passed behind the blocks.
struct OutfitRegisters {
  uint32_t bar = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t at = 0;  // in the file
};

struct OutfitMemory {
  std::string name;
  Spot data;
  uint64_t bytes = 0;
  std::vector<uint64_t> pages;  // as the device sees them
  uint32_t shift = 0;
};

struct OutfitVector {
  uint32_t number = 0;
  Spot record;
  Spot words;
  uint32_t unmask = kNone;  // a file
};

struct OutfitDevice {
  std::string name;
  uint32_t file = kNone;
  Spot record;
  Spot words;
  std::vector<OutfitRegisters> registers;
  std::vector<OutfitMemory> memory;
  std::vector<OutfitVector> vectors;
};

struct Outfit {
  ShardPlan plan;
  uint32_t index = 0;
  uint32_t parent = 0;  // the process that starts it
  uint32_t node = kAnyNode;
  PageChoice pages = PageChoice::automatic;
  bool oversubscribed = false;
  std::vector<uint64_t> blocks;  // their bytes, in the order of the descriptors
  uint32_t files = 0;            // descriptors behind those
  Spot record;
  Spot events;
  Spot line;
  Spot report;   // ProcessReport
  Spot journal;  // of the ledger
  std::vector<OutfitChannel> channels;
  std::vector<OutfitPool> pools;
  std::vector<OutfitDevice> devices;
};

// As bytes for the same build of the same source: who reads them checks the version first.
std::string outfit_to_bytes(const Outfit& outfit);
// Throws VANITY_E_PROCESS for what is not of this build.
Outfit outfit_from_bytes(const std::string& bytes);

// What the process says of itself; in the memory of both.
struct ProcessReport {
  enum class Said : uint32_t {
    nothing,
    left,    // its program, with evidence
    failed,  // with code, text and hint
    ended    // in order
  };
  Hardware::Atomic<uint32_t> began;  // 1: its program is through with init, and it is ready
  Hardware::Atomic<uint32_t> said;   // Said, its last word
  Evidence evidence;
  char code[48];
  char text[sizeof(Evidence::what)];  // of the evidence, with names; or of the failure
  char hint[240];
};

}  // namespace vanity
