// Everything the kernel's thread waits for, in one epoll: its own wakes, requests of Linux, and the
// vectors of devices, which it hands to their shards.
//
// For each interrupt: one read of the eventfd, the line (irq_line.hpp), a byte of the shard's
// doorbell, a signal to whoever sleeps. A level line is masked by Linux when it is delivered, and
// somebody has to end that:
//
//   delayed     the shard, when it has served the device (IrqLine::done)
//   immediate   this thread, at once; right where the device takes its line down by itself
//
// A device that nobody acknowledges holds its line, which then fires again as soon as it is
// unmasked: a storm. Where the shard takes none of what is handed to it, the line is held back: for
// a millisecond, and twice as long each time it goes on, up to a hundred. And no line is handed on
// more often than 50,000 times a second. So a mistake in one driver costs that device, and not the
// kernel's thread.
//
// One thread, or the control path before it starts and after it is joined.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device/irq_line.hpp"
#include "platform/event_set.hpp"
#include "shard/shard.hpp"

namespace vanity {

struct StormLimits {
  uint32_t untaken = 64;      // in a row, and the shard took none (immediate)
  uint32_t in_window = 5000;  // 50,000 a second
  uint64_t window_ns = 100'000'000;
  uint64_t pause_ns_min = 1'000'000;
  uint64_t pause_ns_max = 100'000'000;
};

struct VectorSpec {
  int fd = -1;         // stays the caller's, until remove()
  int unmask_fd = -1;  // of a level line; copied
  VectorRecord* record = nullptr;
  ShardLine* shard = nullptr;
  std::string shard_name = {};
  uint32_t owner = 0;         // for remove()
  IrqWords* words = nullptr;  // of a shard that is a process of its own
};

class Interrupts {
 public:
  // `warn`: a storm has begun; on the thread that waits. Throws VANITY_E_SYSTEM.
  explicit Interrupts(std::function<void(const std::string&)> warn, StormLimits limits = {});

  // The line stays valid, and calls of it harmless, as long as this lives. Throws VANITY_E_SYSTEM.
  IrqLine& add(const VectorSpec& spec);
  // Another descriptor with an eventfd's count; `call` gets it.
  void add(int fd, uint32_t owner, std::function<void(uint64_t)> call);
  // A descriptor that polls readable as long as `call` has something to do about it.
  void add_readable(int fd, uint32_t owner, std::function<void()> call);
  // Nothing of this owner is looked at any more. Before its descriptors are closed.
  void remove(uint32_t owner) noexcept;
  // What its vectors were about is over: nothing of it is held back, or waits to be taken.
  void settle(uint32_t owner) noexcept;

  // Until something came, or the time is over. True: something other than a vector did.
  bool wait(uint64_t ns) noexcept;

 private:
  struct Source {
    int fd;
    uint32_t owner;
    bool live = true;
    bool counts = true;                  // an eventfd, to be read
    std::function<void(uint64_t)> call;  // empty: a vector
    // Of a vector:
    VectorRecord* record = nullptr;
    ShardLine* shard = nullptr;
    std::string shard_name;
    Fd unmask;
    std::unique_ptr<IrqLine> line;
    bool level = false;
    bool ends_here = false;  // immediate
    // Its storm:
    uint64_t window_ns = 0;  // began
    uint32_t in_window = 0;
    bool fast = false;  // the window before was full
    uint32_t untaken = 0;
    uint64_t pause_ns = 0;    // while nobody takes it
    uint64_t held_until = 0;  // 0: nothing is held back
    uint64_t held = 0;        // interrupts
    uint64_t masked_ticks = 0;
  };

  void fired(Source& source, uint64_t times, uint64_t now_ns) noexcept;
  bool storms(Source& source, uint64_t now_ns) noexcept;
  void begin_storm(Source& source, uint64_t now_ns) noexcept;
  void report(const Source& source, uint64_t began_ns, uint64_t now_ns) noexcept;
  void deliver(Source& source, uint64_t times) noexcept;
  void unmask(Source& source) noexcept;
  void end_pauses(uint64_t now_ns) noexcept;

  const std::function<void(const std::string&)> warn_;
  const StormLimits limits_;
  EventSet events_;
  std::vector<std::unique_ptr<Source>> sources_;
  uint32_t holding_ = 0;  // sources that hold something back
};

}  // namespace vanity
