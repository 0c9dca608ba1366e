#include "platform/topology.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <stdexcept>

#include "platform/error.hpp"
#include "vanity/limits.hpp"

namespace vanity {
namespace {

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Files that a kernel may lack or leave empty; what can't be read is as good as absent.
std::vector<uint32_t> read_list(const std::string& path) {
  try {
    return parse_cpu_list(read_line(path));
  } catch (const std::invalid_argument&) {
    return {};
  }
}

uint32_t read_number(const std::string& path, uint32_t otherwise) {
  const std::string line = read_line(path);
  uint32_t number = 0;
  const auto result = std::from_chars(line.data(), line.data() + line.size(), number);
  return result.ec == std::errc() ? number : otherwise;
}

bool holds(const std::vector<uint32_t>& list, uint32_t id) {
  return std::find(list.begin(), list.end(), id) != list.end();
}

std::vector<uint32_t> affinity() {
  cpu_set_t set;
  std::vector<uint32_t> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// The lowest processor of the last-level cache: equal for all that share it.
uint32_t l3_of(const std::string& cpu_path, uint32_t id) {
  for (int index = 0; index < 10; ++index) {
    const std::string cache = cpu_path + "/cache/index" + std::to_string(index);
    if (read_line(cache + "/level") != "3") continue;
    const auto shared = read_list(cache + "/shared_cpu_list");
    if (!shared.empty()) return shared.front();
  }
  return id;
}

}  // namespace

std::vector<uint32_t> parse_cpu_list(const std::string& text) {
  std::vector<uint32_t> cpus;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&] {
    uint32_t value = 0;
    const auto result = std::from_chars(at, end, value);
    if (result.ec != std::errc() || value > 65535) {
      throw std::invalid_argument("not a list of processors: \"" + text + "\"");
    }
    at = result.ptr;
    return value;
  };
  while (at != end) {
    const uint32_t first = number();
    uint32_t last = first;
    if (at != end && *at == '-') {
      ++at;
      last = number();
    }
    const bool more = at != end;
    if (last < first || (more && (*at++ != ',' || at == end))) {
      throw std::invalid_argument("not a list of processors: \"" + text + "\"");
    }
    for (uint32_t cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

const Cpu* Topology::find(uint32_t id) const noexcept {
  for (const Cpu& cpu : cpus) {
    if (cpu.id == id) return &cpu;
  }
  return nullptr;
}

Topology read_topology(const std::string& root) {
  const std::string base = root + "/sys/devices/system/cpu";
  std::vector<uint32_t> online = read_list(base + "/online");
  if (online.empty() && root.empty()) online = affinity();  // a container without /sys
  const std::vector<uint32_t> usable = root.empty() ? affinity() : online;
  const std::vector<uint32_t> isolated = read_list(base + "/isolated");
  const std::vector<uint32_t> nohz_full = read_list(base + "/nohz_full");

  Topology topology;
  for (const uint32_t id : online) {
    const std::string path = base + "/cpu" + std::to_string(id);
    Cpu cpu;
    cpu.id = id;
    cpu.usable = holds(usable, id);
    cpu.isolated = holds(isolated, id);
    cpu.nohz_full = holds(nohz_full, id);
    cpu.package = read_number(path + "/topology/physical_package_id", 0);
    cpu.core = read_number(path + "/topology/core_id", id);
    cpu.l3 = l3_of(path, id);
    cpu.siblings = read_list(path + "/topology/thread_siblings_list");
    if (cpu.siblings.empty()) cpu.siblings = {id};
    topology.cpus.push_back(cpu);
  }

  const std::string nodes = root + "/sys/devices/system/node";
  const std::vector<uint32_t> online_nodes = read_list(nodes + "/online");
  for (const uint32_t node : online_nodes) {
    for (const uint32_t id : read_list(nodes + "/node" + std::to_string(node) + "/cpulist")) {
      for (Cpu& cpu : topology.cpus) {
        if (cpu.id == id) cpu.node = node;
      }
    }
  }
  topology.nodes = std::max<uint32_t>(1, static_cast<uint32_t>(online_nodes.size()));
  return topology;
}

void pin_thread(uint32_t cpu) {
  pin_other_thread(0, cpu);
}

void unpin_other_thread(pid_t thread) {
  cpu_set_t set;
  if (sched_getaffinity(getpid(), sizeof set, &set) != 0 ||
      sched_setaffinity(thread, sizeof set, &set) != 0) {
    throw system_error("VANITY_E_CORE_PIN", "let a thread go from its core", errno);
  }
}

void pin_other_thread(pid_t thread, uint32_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  // An empty set and one outside the cpuset both give EINVAL.
  if (sched_setaffinity(thread, sizeof set, &set) != 0) {
    throw system_error("VANITY_E_CORE_PIN", "pin a thread to core " + std::to_string(cpu), errno,
                       "list the cores that this process may use: taskset -cp $$");
  }
}

void set_thread_name(const std::string& name) noexcept {
  char text[16] = {};
  name.copy(text, sizeof text - 1);
  pthread_setname_np(pthread_self(), text);
}

void set_fifo(uint32_t priority) {
  if (priority == 0) return;
  sched_param param{};
  param.sched_priority = static_cast<int>(priority);
  const int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
  if (error != 0) {
    throw system_error("VANITY_E_FIFO", "SCHED_FIFO at priority " + std::to_string(priority), error,
                       "run as root, or: ulimit -r " + std::to_string(priority) +
                           ", or set fifo = 0 for this shard");
  }
}

Switches thread_switches() noexcept {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return {static_cast<uint64_t>(usage.ru_nvcsw), static_cast<uint64_t>(usage.ru_nivcsw)};
}

pid_t thread_id() noexcept {
  return static_cast<pid_t>(syscall(SYS_gettid));
}

}  // namespace vanity
