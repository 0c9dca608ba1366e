// One program taking another's place on a shard, as the two threads see it that work on it: the
// control path prepares it, posts it to the shard by one word, and settles it afterwards; the shard
// does, between two turns, what nobody else can: copy bursts, switch, try out, and go back.
//
// The words between the two are wishes.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "memory/arena.hpp"
#include "platform/whole_pages.hpp"
#include "shard/module.hpp"
#include "shard/rewiring.hpp"
#include "shard/wishes.hpp"
#include "vanity/packet.h"
#include "vanity/program.h"

namespace vanity {

class Rehearsal;
class Shard;

// First member of a standard-layout struct, so that program.h finds the table.
struct ShardHandle {
  vanity_shard_head head;
  Shard* shard;
  Rehearsal* rehearsal;  // null: on stage
  const std::map<std::string, std::string>* options;
};

// What a program that was loaded into a running shard sees of it. The table is its own copy, so
// that what it noted down before it took its place is right afterwards.
struct Place {
  ShardHandle handle{};
  vanity_api api{};
  std::unique_ptr<Arena> arena;
  std::map<std::string, std::string> options;
};

// What the counters of a shard said between two turns.
struct Cut {
  uint64_t ticks = 0;
  uint64_t received = 0;
  uint64_t sent = 0;
  uint64_t consumed = 0;
  uint64_t filtered = 0;
  uint64_t dropped = 0;
  uint64_t dropped_fault = 0;
  uint64_t unsent = 0;     // that its ports had no room for
  uint64_t allocated = 0;  // of its own pool
  uint64_t held = 0;
};

// Of two programs in JavaScript: where the new one is, and what is said of it there.
struct ScriptSide {
  std::string path;       // the control path's
  bool prepared = false;  // the shard's, as all that follows
  std::string old_name;
  std::string new_name;
  std::string difference;
  uint64_t old_hash = 0;
  uint64_t new_hash = 0;
  uint64_t state_bytes = 0;
  uint64_t stood_ns = 0;  // the longest time without a turn, while it was loaded and began
  std::string code;       // why not
  std::string message;
  std::string hint;
};

// Bursts as the program of a shard received them, to be looked at by another thread.
struct BurstCopies {
  static constexpr uint32_t kPackets = 512;
  static constexpr uint32_t kStride = 2304;  // what a buffer of 2,048 bytes holds, and more

  void reserve() {
    memory = WholePages(size_t{kPackets} * kStride);
    packets.reserve(kPackets);
    ends.reserve(kPackets);
  }
  uint8_t* buffer(uint32_t index) noexcept {
    return reinterpret_cast<uint8_t*>(memory.data()) + size_t{index} * kStride;
  }

  WholePages memory;
  std::vector<vanity_packet> packets;  // `buffer` is the index here
  std::vector<uint32_t> ends;          // of each burst, in packets
};

struct Handover {
  // ---- the control path's, until it is posted
  // The new one; once it has taken its place, the old one. Null: only the rewiring.
  std::unique_ptr<Module> program;
  std::unique_ptr<Place> place;  // the same
  // Taken up with it, and exchanged for what was there; null: none.
  std::unique_ptr<Rewiring> rewiring;
  bool drain = false;  // not before the inputs are empty
  bool migrates = false;
  ScriptSide script;
  const vanity_state* was = nullptr;  // what is handed on; null: nothing
  std::vector<std::byte> saved;
  uint32_t copy_bursts = 0;
  uint32_t trial_bursts = 0;
  BurstCopies copies;
  std::vector<vanity_packet> received;  // by the new one while it is on trial; room is reserved
  std::vector<bool> above;              // outputs that were above their watermark at the switch

  // Is there a program to it, which a shard that is down cannot try out?
  bool program_follows() const noexcept { return program != nullptr || rewiring == nullptr; }

  // ---- the shard's
  BasicStep<> step;
  bool switched = false;
  Unkept why = Unkept::none;
  uint64_t number = 0;  // what it returned, or how many it holds
  uint64_t pause_ticks = 0;
  uint64_t back_ticks = 0;  // of the way back
  uint64_t first_turn_ticks = 0;
  uint64_t busy_before = 0;
  uint64_t bursts = 0;  // that the new one has had
  uint32_t again = 0;   // packets that the old one gets once more
  Cut begin;            // when the shard heard of it
  Cut cut;              // at the switch
  Cut end;              // when it was kept or undone
  Evidence evidence;    // of a fault of the new one
};

// Who is started in place of a program that was left, instead of the same one anew. Between the
// control path and a shard that has no program, so a lock is as good as any.
struct Understudy {
  enum class Turn : uint8_t { none, waits, begins, plays, failed };
  Turn turn = Turn::none;
  std::unique_ptr<Module> program;  // once it plays, the one before
  std::unique_ptr<Place> place;     // the same
};

using Wishes = BasicWishes<Handover>;
using Attendant = BasicAttendant<Handover>;

}  // namespace vanity
