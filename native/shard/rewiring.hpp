// What a running shard takes up between two turns: another built-in stage, other channels, and ways
// home for buffers that may come by from then on, or do no more. The control path prepares it, with
// room for all of it; the shard exchanges it for what it had, so that the same brings that back.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "memory/pool.hpp"
#include "shard/held.hpp"
#include "shard/program.hpp"
#include "vanity/channel.hpp"

struct vanity_channel;

namespace vanity {

// Buffers that come home to the owner of their pool.
struct Returns {
  Pool* pool;
  const void* ring;
  Consumer consumer;
};

struct Rewiring {
  // One input that comes, or goes: then `end` is null, and `consumer` finds nothing.
  struct Slot {
    uint32_t at;
    vanity_channel* end;
    Consumer consumer;
  };
  struct Home {
    uint32_t pool;
    Producer ring;  // none: such buffers come by no more
    HeldBook::Page page;
  };

  std::unique_ptr<Program> stage;  // its init is over; null: the same goes on

  bool ends = false;                    // the four below
  std::vector<vanity_channel*> inputs;  // all, as its program sees them
  std::vector<vanity_channel*> outputs;
  std::vector<Slot> slots;
  Consumer nothing;  // for slots in between
  std::vector<Home> homes;
  std::vector<Returns> comes;     // rings that buffers come home by
  std::vector<const void*> goes;  // memory of those that none comes by any more
};

}  // namespace vanity
