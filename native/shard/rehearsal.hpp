// A stage behind the stage: a new program is initialised and tried on copies of real bursts, on
// another thread, while the old one goes on. It finds the shard's channels, options and counters by
// their names; what it sends, frees or counts goes nowhere, what it receives are the copies.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shard/guard.hpp"
#include "shard/handover.hpp"
#include "shard/keyed.hpp"
#include "shard/shard.hpp"

namespace vanity {

class Rehearsal {
 public:
  // All of it on the thread that makes it, which the guard is for. `handover` has the program and
  // the copies, and gets the place.
  Rehearsal(Shard& shard, Handover& handover, Guard& guard,
            const std::map<std::string, std::string>& options, uint64_t arena_bytes,
            PageChoice pages);
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;

  // Its init: 1. Throws Error when it refuses, or faults.
  void init();
  // Lets it poll until it has had all copies, takes it down again, and leaves it as before init.
  // Returns the bursts it took. Throws when it faults.
  uint32_t warm();
  // A program that has left the stage, or never came on it: its fini. False: it faulted.
  bool farewell(Module& program) noexcept;

  // ---- what the program calls
  uint32_t receive(vanity_packet* packets, uint32_t n) noexcept;
  uint32_t allocate(vanity_packet* packets, uint32_t n) noexcept;
  uint8_t* data(const vanity_packet& packet) noexcept;
  uint32_t room(const vanity_packet& packet) const noexcept;
  void* arena_allocate(size_t bytes, size_t align);
  vanity_counter* counter(const char* name);
  Shard& shard() noexcept { return shard_; }
  const std::vector<vanity_channel*>& inputs() const noexcept;
  const std::vector<vanity_channel*>& outputs() const noexcept;
  uint32_t output_count() const noexcept;

 private:
  void confine();
  bool attempt(Module& program, const std::function<void()>& act);
  [[noreturn]] void refuse(const char* when) const;
  uint8_t* buffer(uint32_t index) noexcept;

  Shard& shard_;
  Handover& handover_;
  Guard& guard_;
  const Guard::Thread guarded_;
  const WholePages fresh_;  // buffers that it allocates
  std::optional<ConfinedThread> confined_;
  uint32_t made_ = 0;
  size_t taken_ = 0;  // copies
  size_t burst_ = 0;
};

}  // namespace vanity
