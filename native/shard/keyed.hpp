// Threads that run a program which protection keys confine: the shard's own, and the one on which
// another program is rehearsed for it.
#pragma once

#include "platform/pkey.hpp"
#include "vanity/program.h"

namespace vanity {

class Guard;
class Shard;

// The calling thread to the end of the scope: its stack is the program's too, signals of others do
// not come to it, and what the guard calls the program has the rights of the shard's. Calls of the
// program end up in `api`, and are refused for another shard than `handle` (null: the shard's own).
// Throws Error.
class ConfinedThread {
 public:
  ConfinedThread(Shard& shard, Guard& guard, const vanity_shard* handle, const vanity_api& api);
  ~ConfinedThread();
  ConfinedThread(const ConfinedThread&) = delete;
  ConfinedThread& operator=(const ConfinedThread&) = delete;

 private:
  const KeyedStack stack_;
};

// The same calls, behind gates. On stage: keyed_api().
vanity_api keyed(vanity_api api) noexcept;
const vanity_api& keyed_api() noexcept;

}  // namespace vanity
