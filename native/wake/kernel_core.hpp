// A thread in the place of the kernel's core: finds by epoll that an eventfd was written, and rings
// the doorbell of the shard whose it is.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>

#include "kernel/interrupts.hpp"
#include "platform/fd.hpp"
#include "shard/shard.hpp"
#include "vanity/segment.hpp"

namespace vanity::wake {

// Where it runs: on a processor that is neither, where there is one, else on the signaller's, which
// then sleeps between its signals.
uint32_t kernel_cpu(uint32_t from, uint32_t to);

// Throws VANITY_E_MEMORY.
Fd make_eventfd();

class KernelCore {
 public:
  // `raised` stays the caller's, and outlives this.
  KernelCore(uint32_t cpu, int raised);
  ~KernelCore();
  KernelCore(const KernelCore&) = delete;
  KernelCore& operator=(const KernelCore&) = delete;

  ShardLine& shard() noexcept { return *shard_; }
  IrqLine& line() noexcept { return *line_; }

 private:
  Fd stop_;
  std::unique_ptr<VectorRecord> record_;
  std::unique_ptr<ShardLine> shard_;
  Interrupts interrupts_;
  IrqLine* line_;
  std::thread thread_;
};

}  // namespace vanity::wake
