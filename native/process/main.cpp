// vanity-shard: one shard, in a process of its own. The kernel starts it with its part of the plan
// as descriptor 3, and behind that the memory that they share; nobody else has a reason to.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>

#include "kernel/evidence.hpp"
#include "memory/guarded_mapping.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "shard/ledger.hpp"
#include "shard/outfit.hpp"
#include "shard/shard.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace vanity {
namespace {

constexpr int kOutfit = 3;
constexpr int kLeft = 10;    // its program was left: the report says why
constexpr int kFailed = 11;  // it could not begin: the report says why
constexpr int kAlone = 12;   // nobody has started it who would read a report

std::string read_outfit() {
  struct stat status {};
  if (fstat(kOutfit, &status) != 0) return {};
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  // From the beginning, whoever of its predecessors has read it.
  const ssize_t got = pread(kOutfit, bytes.data(), bytes.size(), 0);
  close(kOutfit);
  return got == status.st_size ? bytes : std::string();
}

// Maps every block, and keeps none of their descriptors.
class Blocks {
 public:
  explicit Blocks(const Outfit& outfit) {
    for (const uint64_t each : outfit.blocks) {
      const int fd = kOutfit + 1 + static_cast<int>(bases_.size());
      void* const base = mmap(nullptr, each, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (base == MAP_FAILED) throw system_error("VANITY_E_PROCESS", "cannot map memory", errno);
      close(fd);
      // No fault in the data path. Where Linux is too old for it, the first packets are slower.
      madvise(base, each, MADV_POPULATE_WRITE);
      madvise(base, each, MADV_DONTDUMP);
      bases_.push_back(static_cast<std::byte*>(base));
    }
    // Whatever else was open where it was started is none of its business. Linux 5.9.
    syscall(SYS_close_range, static_cast<unsigned>(file_of(outfit, outfit.files)), ~0u, 0);
  }
  // The number of a file that was passed.
  static int file_of(const Outfit& outfit, uint32_t file) {
    return kOutfit + 1 + static_cast<int>(outfit.blocks.size() + file);
  }
  template <class T>
  T* at(Spot place) const {
    return reinterpret_cast<T*>(bases_.at(place.block) + place.offset);
  }

 private:
  std::vector<std::byte*> bases_;
};

std::unique_ptr<Program> make_program(const ShardPlan& plan) {
  return plan.kind == ProgramKind::builtin ? make_stage(plan)
                                           : load_module(plan.program, plan.options);
}

void join_channels(const Outfit& outfit, const Blocks& blocks, Shard& shard) {
  for (const OutfitChannel& channel : outfit.channels) {
    const Channel ring = Channel::attach(blocks.at<void>(channel.ring));
    auto* const record = blocks.at<ChannelRecord>(channel.record);
    if (channel.input) {
      shard.add_input(channel.plan, channel.index, record, ring);
      continue;
    }
    auto* const line = blocks.at<ShardLine>(channel.line);
    Bell bell;
    if (channel.rings) bell = Bell(&line->doorbell, channel.byte, channel.inputs);
    shard.add_output(channel.plan, channel.index, record, ring, bell, &line->sleeper);
  }
}

std::unique_ptr<Ledger> join_pools(const Outfit& outfit, const Blocks& blocks, Shard& shard,
                                   PoolTable& table) {
  auto ledger = std::make_unique<Ledger>(blocks.at<Journal>(outfit.journal));
  for (const OutfitPool& pool : outfit.pools) {
    table.add(pool.index, blocks.at<uint8_t>(pool.memory), blocks.at<uint32_t>(pool.references),
              pool.stride, pool.buffer_bytes);
    shard.add_home(pool.index, Channel::attach(blocks.at<void>(pool.home)));
    ledger->expect(pool.index, pool.buffers, blocks.at<uint16_t>(pool.entries));
  }
  return ledger;
}

// Its pages of registers, and no others; of the descriptor by which the whole device could be had
// nothing is left when the program begins.
void map_registers(const Outfit& outfit, const OutfitDevice& device, vanity_device& grant) {
  const int fd = Blocks::file_of(outfit, device.file);
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for (const OutfitRegisters& each : device.registers) {
    const uint64_t first = each.at / page * page;
    const uint64_t end = (each.at + each.bytes + page - 1) / page * page;
    auto mapping = std::make_unique<GuardedMapping>(fd, first, end - first);
    auto* const base = static_cast<std::byte*>(mapping->base()) + (each.at - first);
    grant.add(vanity_device::Registers{each.bar, each.offset, MmioView(base, each.bytes)});
    grant.keep(std::move(mapping));
  }
  close(fd);
}

void join_devices(const Outfit& outfit, const Blocks& blocks, Shard& shard,
                  std::vector<std::unique_ptr<IrqLine>>& lines) {
  for (const OutfitDevice& device : outfit.devices) {
    vanity_device& grant = shard.add_device(device.name, blocks.at<DeviceRecord>(device.record),
                                            blocks.at<GrantWords>(device.words));
    map_registers(outfit, device, grant);
    for (const OutfitMemory& memory : device.memory) {
      grant.add(
          vanity_device::Memory{memory.name,
                                {blocks.at<void>(memory.data), memory.bytes, memory.pages.front(),
                                 memory.pages.data(), memory.shift, 0}});
    }
    for (const OutfitVector& vector : device.vectors) {
      const int unmask = vector.unmask == kNone ? -1 : Blocks::file_of(outfit, vector.unmask);
      lines.push_back(std::make_unique<IrqLine>(blocks.at<VectorRecord>(vector.record), unmask,
                                                blocks.at<IrqWords>(vector.words)));
      grant.add(vanity_device::Vector{vector.number, lines.back().get()});
      shard.expect_interrupts();
    }
    // Since the last process it may have been given back.
    grant.follow(grant.news());
  }
}

void copy_text(char* to, size_t bytes, const std::string& from) {
  std::memset(to, 0, bytes);
  std::strncpy(to, from.c_str(), bytes - 1);
}

void say(ProcessReport& report, ProcessReport::Said said) {
  report.said.store(static_cast<uint32_t>(said), std::memory_order_relaxed);  // see said()
}

int run(Outfit& outfit, const Blocks& blocks, ProcessReport& report) {
  platform_share();
  auto* const record = blocks.at<ShardRecord>(outfit.record);
  outfit.plan.core = record->core;  // it may have been moved since
  std::vector<std::unique_ptr<IrqLine>> lines;
  Shard shard(outfit.plan, outfit.index, record, outfit.oversubscribed);
  join_devices(outfit, blocks, shard, lines);
  Guard::install(GuardedMapping::contain_fault);  // whose own handler is there by now
  PoolTable table;
  shard.set_program(make_program(outfit.plan));
  shard.log_to(*blocks.at<EventsRecord>(outfit.events));
  shard.attach(std::make_unique<Arena>(outfit.plan.arena_bytes, outfit.node, outfit.pages),
               blocks.at<ShardLine>(outfit.line));
  join_channels(outfit, blocks, shard);
  shard.keep(join_pools(outfit, blocks, shard, table));
  shard.wire(&table);
  if (shard.serve(report)) {
    say(report, ProcessReport::Said::ended);
    return 0;
  }
  // What it was is safe before it is told with names, for which a spoilt heap may be too much.
  report.evidence = shard.guard().evidence();
  copy_text(report.text, sizeof(report.text), "its program faulted, and could not be asked where");
  say(report, ProcessReport::Said::left);
  copy_text(report.text, sizeof(report.text), evidence_text(report.evidence));
  return kLeft;
}

int start(Outfit& outfit) {
  const Blocks blocks(outfit);
  auto& report = *blocks.at<ProcessReport>(outfit.report);
  try {
    return run(outfit, blocks, report);
  } catch (const Error& error) {
    copy_text(report.code, sizeof(report.code), error.code());
    copy_text(report.text, sizeof(report.text), error.what());
    copy_text(report.hint, sizeof(report.hint), error.hint());
  } catch (const std::exception& error) {
    copy_text(report.code, sizeof(report.code), "VANITY_E_PROGRAM_INIT");
    copy_text(report.text, sizeof(report.text), error.what());
    copy_text(report.hint, sizeof(report.hint), "");
  }
  say(report, ProcessReport::Said::failed);
  return kFailed;
}

}  // namespace
}  // namespace vanity

int main() {
  using namespace vanity;
  // Before anything else: when the thread that started it ends, so does this.
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    const std::string bytes = read_outfit();
    if (bytes.empty()) {
      std::fputs("vanity-shard is started by a system, for a shard with isolation = \"process\".\n",
                 stderr);
      return kAlone;
    }
    Outfit outfit = outfit_from_bytes(bytes);
    if (getppid() != parent || outfit.parent != static_cast<uint32_t>(parent)) return kAlone;
    // Static objects of a module that was left are nobody's to take down.
    _exit(start(outfit));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "vanity-shard: %s\n", error.what());
    return kAlone;
  }
}
