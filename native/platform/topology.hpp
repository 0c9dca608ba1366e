// Which processors there are, how they are related, and how to own one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace vanity {

struct Cpu {
  uint32_t id = 0;
  bool usable = false;    // online and in this process's affinity mask
  bool isolated = false;  // isolcpus= or an isolated cpuset partition
  bool nohz_full = false;
  uint32_t node = 0;  // NUMA node
  uint32_t package = 0;
  uint32_t core = 0;               // core id within the package
  uint32_t l3 = 0;                 // equal for processors that share a last-level cache
  std::vector<uint32_t> siblings;  // SMT siblings, itself included
};

struct Topology {
  std::vector<Cpu> cpus;  // online ones, by id
  uint32_t nodes = 1;

  const Cpu* find(uint32_t id) const noexcept;
};

// `root` stands before /sys, so that a test can give a tree of its own. With the default root,
// `usable` also asks sched_getaffinity.
Topology read_topology(const std::string& root = "");

// "0-3,8" as in /sys; throws std::invalid_argument on anything else.
std::vector<uint32_t> parse_cpu_list(const std::string& text);

// Another thread of this process, to one core or to all that its first thread may run on. Errors:
// VANITY_E_CORE_PIN.
void pin_other_thread(pid_t thread, uint32_t cpu);
void unpin_other_thread(pid_t thread);

// All of the calling thread. Errors: VANITY_E_CORE_PIN, VANITY_E_FIFO.
void pin_thread(uint32_t cpu);
void set_thread_name(const std::string& name) noexcept;  // cut to the kernel's 15 bytes
void set_fifo(uint32_t priority);                        // 0: leaves the policy as it is

struct Switches {
  uint64_t voluntary;
  uint64_t involuntary;
};
Switches thread_switches() noexcept;
pid_t thread_id() noexcept;

}  // namespace vanity
