#include "sim/system/modules.hpp"

#include <link.h>
#include <signal.h>
#include <sys/time.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "platform/error.hpp"
#include "shard/program.hpp"
#include "sim/world.hpp"

namespace vanity::sim {
namespace {

// Of processor time. A step takes less than a microsecond.
constexpr suseconds_t kLookUs = 250'000;
constexpr uint32_t kLooksMax = 4;  // that find it at the same step

uint32_t last_step = 0;
uint32_t looks = 0;

std::string who() {
  const World& world = World::current();
  return std::string("the program of ") + world.scenario().threads[world.self()];
}

// On the stack for handlers, which is left like any other.
void look(int) {
  if (!World::running()) return;
  World& world = World::current();
  looks = world.steps() == last_step ? looks + 1 : 0;
  last_step = world.steps();
  if (looks < kLooksMax) return;
  world.fail(Verdict::endless, (who() + " does not come back").c_str());
}

void on_exit() {
  if (World::running()) World::current().fail(Verdict::broken, (who() + " calls exit").c_str());
}

struct Found {
  uintptr_t address;
  bool thread_locals;
};

int find(dl_phdr_info* info, size_t, void* data) {
  auto& found = *static_cast<Found*>(data);
  bool here = false;
  bool locals = false;
  for (uint32_t i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    locals |= part.p_type == PT_TLS;
    here |= part.p_type == PT_LOAD && found.address - begin < part.p_memsz;
  }
  found.thread_locals = here && locals;
  return here ? 1 : 0;
}

bool has_thread_locals(const Program& program) {
  uintptr_t begin;
  uintptr_t end;
  program.text(&begin, &end);
  Found found{begin, false};
  dl_iterate_phdr(find, &found);
  return found.thread_locals;
}

}  // namespace

bool load_modules(const Plan& plan) {
  std::map<std::string, uint32_t> shards;
  for (const ShardPlan& shard : plan.shards) {
    if (shard.kind != ProgramKind::native) continue;
    // It stays when its object goes.
    const std::unique_ptr<Program> program = load_module(shard.program, shard.options);
    if (++shards[shard.program] == 1 || !has_thread_locals(*program)) continue;
    throw Error("VANITY_E_SIM_MODULE",
                shard.program +
                    ": it has thread-locals, and several shards run it, which are one "
                    "thread here",
                "keep what is a shard's own in its state");
  }
  if (shards.empty()) return false;
  std::atexit(on_exit);
  struct sigaction action {};
  action.sa_handler = look;
  action.sa_flags = SA_ONSTACK | SA_RESTART | SA_NODEFER;
  sigaction(SIGPROF, &action, nullptr);
  return true;
}

void watch_modules() {
  last_step = looks = 0;
  const itimerval every{{0, kLookUs}, {0, kLookUs}};
  setitimer(ITIMER_PROF, &every, nullptr);
}

}  // namespace vanity::sim
