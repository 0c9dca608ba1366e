// What the kernel's side of a shard that is a process of its own keeps of it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "platform/child.hpp"
#include "platform/fd.hpp"
#include "shard/ledger.hpp"
#include "shard/outfit.hpp"

namespace vanity {

struct ShardProcess {
  std::string program;    // the file of vanity-shard
  Fd outfit;              // the bytes of Outfit
  std::mutex open_mutex;  // of `open` from the start on; no packet waits for it
  std::vector<int> open;  // `outfit`, the blocks, and the files; others close those
  Fd nothing;             // an empty file, in the place of one that was withdrawn
  ProcessReport* report = nullptr;
  Ledger ledger{nullptr};
  std::vector<OutfitPool> pools;
  std::vector<uint16_t*> entries;  // of these, in the memory here
  Child child;
  int status = 0;  // of the last one, as waitpid() has it
};

}  // namespace vanity
