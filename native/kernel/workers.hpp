// Shards whose threads are JavaScript's, as the owner of the system sees them from its own thread:
// who of those that come needs a worker, and whose worker has to end. The kernel's thread waits for
// none of them.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "shard/shard.hpp"

namespace vanity {

class Workers {
 public:
  struct Wanted {
    uint32_t shard;
    std::string name;
    std::string program;
  };

  // ---- the system, and tasks of it
  // The owner starts one of his own accord.
  void add(Shard& shard) { put({&shard, false, false}); }
  // The owner is to start one for a shard that comes.
  void want(Shard& shard) { put({&shard, true, false}); }
  // Nobody becomes its thread from here on, and a worker that has ends with its shard.
  void dismiss(const Shard& shard) noexcept;
  // Before the shard is destroyed.
  void forget(const Shard& shard) noexcept;

  // ---- the owner
  // Each once.
  std::vector<Wanted> wanted();
  // Those that were told to stop at once and run on, or have nothing to do any more.
  std::vector<uint32_t> overdue();
  // The worker that was wanted has not come so far.
  void fail(uint32_t shard, const std::string& code, const std::string& message,
            const std::string& hint);

  // ---- a worker
  // The shard that it is to be, which is exposed from here on; null: no such shard waits for one.
  Shard* take(uint32_t shard);

 private:
  struct Entry {
    Shard* shard;
    bool asks;  // its owner has not been told
    bool dismissed;
  };
  void put(Entry entry);
  Entry* waiting(uint32_t shard) noexcept;

  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace vanity
