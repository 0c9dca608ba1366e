#include "sim/system/standins.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "packet/flow.hpp"
#include "shard/handover.hpp"
#include "shard/module.hpp"
#include "shard/shard.hpp"
#include "sim/system/port.hpp"
#include "sim/world.hpp"

namespace vanity::sim {
namespace {

constexpr uint32_t kStaysOneIn = 4;        // stages
constexpr uint32_t kFaultsMost = 2;        // of a shard, on stage
constexpr uint32_t kFaultsOneIn = 3;       // programs
constexpr uint32_t kKeepsOneIn = 3;        // programs
constexpr uint32_t kRefusesOneIn = 16;     // of what may be refused by a number
constexpr uint32_t kUnwellOneIn = 6;       // programs
constexpr uint32_t kTurnsBetweenMost = 8;  // that do something
constexpr uint64_t kArenaBytes = 8192;
constexpr uint32_t kNever = ~0u;

// What one hands on to the next.
struct Passed {
  uint64_t given;
  uint64_t twice;  // of the first generation only
};

// Of a shard, whoever stands in there.
struct Part {
  std::map<uint64_t, uint32_t> last;  // number that was given away, of each flow of each queue
  uint64_t handed = 0;                // by the last save
  uint32_t faults = kFaultsMost;
};
std::vector<Part> parts;
bool ordered = false;  // each flow has one way

struct Standin {
  Passed passed;
  bool rehearsed;  // so it begins with the state of the one before
  bool took_over;
  bool keeps;
  uint32_t fault_in;   // turns that do something
  uint32_t takes;      // packets, in the turn in which it faults
  uint32_t unwell_in;  // looks
  uint32_t kept_count;
  vanity_packet kept[limits::kBurstMax];
};

uint32_t draw(uint32_t options) {
  return World::current().draw(options);
}
bool one_in(uint32_t n) {
  return draw(n) == 0;
}

Shard& shard_of(vanity_shard* handle) {
  return *Shard::of(handle);
}
bool on_stage(const vanity_shard* handle) {
  return reinterpret_cast<const ShardHandle*>(handle)->rehearsal == nullptr;
}
Part& part_of(vanity_shard* handle) {
  return parts[shard_of(handle).index()];
}

void say(vanity_shard* handle, const char* what) {
  World::current().say(shard_of(handle).plan().name + what);
}

[[noreturn]] void fail(vanity_shard* handle, const std::string& what) {
  World::current().fail(Verdict::order, ("shard " + shard_of(handle).plan().name + what).c_str());
  __builtin_unreachable();
}

// In the order in which it came, and none of them twice.
void check_order(vanity_shard* handle, const vanity_packet& packet) {
  if (!ordered || !on_stage(handle)) return;
  if (packet.length < kFrameBytes) return;  // of a device that lies
  const FrameMark mark = mark_of(vanity_data(handle, &packet));
  if (mark.magic != FrameMark::kMagic) return;
  const auto [last, first] =
      part_of(handle).last.try_emplace(uint64_t{mark.queue} << 32 | mark.flow, mark.number);
  if (!first && mark.number <= last->second) {
    fail(handle, " gives packet " + std::to_string(mark.number) + " of a flow away after its " +
                     std::to_string(last->second));
  }
  last->second = mark.number;
}

void give(vanity_shard* handle, Standin& self, vanity_packet* packets, uint32_t n) {
  const uint64_t outputs = vanity_api_of(handle)->output_count(handle);
  for (uint32_t i = 0; i < n; ++i) {
    check_order(handle, packets[i]);
    if (packets[i].hash == 0)
      packets[i].hash = flow_hash(vanity_data(handle, &packets[i]), packets[i].length);
  }
  if (outputs == 0) vanity_free(handle, packets, n);
  for (uint64_t output = 0; output < outputs; ++output) {
    vanity_packet lane[limits::kBurstMax];
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; ++i) {
      if (packets[i].hash * outputs >> 32 == output) lane[count++] = packets[i];
    }
    if (count != 0) vanity_send(handle, static_cast<uint32_t>(output), lane, count);
  }
  self.passed.given += n;
}

uint32_t give_kept(vanity_shard* handle, Standin& self) {
  const uint32_t kept = self.kept_count;
  self.kept_count = 0;
  if (kept != 0) give(handle, self, self.kept, kept);
  return kept;
}

int init(vanity_shard* handle, void** state) {
  const bool rehearsed = !on_stage(handle);
  if (rehearsed && one_in(kRefusesOneIn)) return 1;
  auto* const self =
      static_cast<Standin*>(vanity_api_of(handle)->arena_allocate(handle, sizeof(Standin), 64));
  if (self == nullptr) return 2;
  *self = Standin{};
  self->rehearsed = rehearsed;
  self->keeps = one_in(kKeepsOneIn);
  const bool faults = part_of(handle).faults != 0 && one_in(kFaultsOneIn);
  self->fault_in = faults ? draw(kTurnsBetweenMost) : kNever;
  self->takes = faults ? draw(3) : 0;
  self->unwell_in = rehearsed && one_in(kUnwellOneIn) ? 1 + draw(4) : kNever;
  if (rehearsed) say(handle, ": the new program rehearses");
  *state = self;
  return 0;
}

// As a module in C++ may: out of its poll, and caught by nobody of its own.
[[noreturn]] void fault(vanity_shard* handle, Standin& self) {
  self.fault_in = kNever;
  if (on_stage(handle)) --part_of(handle).faults;
  say(handle, ": its program faults, as drawn");
  throw std::runtime_error("as drawn");
}

uint32_t poll(vanity_shard* handle, void* state) {
  Standin& self = *static_cast<Standin*>(state);
  if (self.rehearsed && on_stage(handle) && !self.took_over)
    fail(handle, ": the new program is polled before the state of the old one has arrived");
  const uint32_t kept = give_kept(handle, self);
  vanity_packet packets[limits::kBurstMax];
  const uint32_t got = vanity_receive(handle, packets, shard_of(handle).burst());
  if (self.fault_in != kNever && (got != 0 || self.takes == 0)) {
    if (self.fault_in == 0) {
      // What is left of the burst goes with it.
      if (got > self.takes) give(handle, self, packets, got - self.takes);
      fault(handle, self);
    }
    if (got != 0) --self.fault_in;
  }
  if (got == 0) return kept;
  uint32_t goes = got;
  if (self.keeps) {
    goes = draw(got + 1);
    std::copy(packets + goes, packets + got, self.kept);
    self.kept_count = got - goes;
  }
  if (goes != 0) give(handle, self, packets, goes);
  return got + kept;
}

void fini(vanity_shard* handle, void* state) {
  give_kept(handle, *static_cast<Standin*>(state));
}

int healthy(vanity_shard* handle, void* state) {
  Standin& self = *static_cast<Standin*>(state);
  if (self.unwell_in == kNever || --self.unwell_in != 0) return 0;
  say(handle, ": the new program is not well, as drawn");
  return 1;
}

// All but the last member of the first generation's state are the second's.
template <size_t kBytes>
int save(vanity_shard* handle, void* state, void* into) {
  if (one_in(kRefusesOneIn)) return 1;
  Passed& passed = static_cast<Standin*>(state)->passed;
  passed.twice = 2 * passed.given;
  part_of(handle).handed = passed.given;
  std::memcpy(into, &passed, kBytes);
  say(handle, ": its program hands on its state");
  return 0;
}

int take_over(vanity_shard* handle, void* state, const void* from) {
  if (one_in(kRefusesOneIn)) return 1;
  Standin& self = *static_cast<Standin*>(state);
  std::memcpy(&self.passed.given, from, sizeof(self.passed.given));
  if (self.passed.given != part_of(handle).handed)
    fail(handle, ": what the new program takes over is not what the old one handed on");
  self.took_over = true;
  say(handle, ": the new program takes over, on trial");
  return 0;
}

int migrate(vanity_shard* handle, void* state, const vanity_state*, const void* from) {
  return take_over(handle, state, from);
}

constexpr vanity_field kFields[] = {
    VANITY_STATE_FIELD(Passed, given, VANITY_TYPE_U64),
    VANITY_STATE_FIELD(Passed, twice, VANITY_TYPE_U64),
};
constexpr vanity_state kStates[] = {{"stand-in", 1, 2, kFields, sizeof(Passed)},
                                    {"stand-in", 2, 1, kFields, sizeof(uint64_t)}};
constexpr vanity_reload kReloads[] = {
    {sizeof(vanity_reload), 0, &kStates[0], save<sizeof(Passed)>, take_over, migrate, healthy},
    {sizeof(vanity_reload), 0, &kStates[1], save<sizeof(uint64_t)>, take_over, migrate, healthy}};
constexpr vanity_program program_of(uint32_t generation) {
  vanity_program program{};
  program.abi_version = VANITY_ABI_VERSION;
  program.struct_bytes = sizeof(vanity_program);
  program.name = "stand-in";
  program.version = generation == 0 ? "1" : "2";
  program.init = init;
  program.poll = poll;
  program.fini = fini;
  program.reload = &kReloads[generation];
  return program;
}
constexpr vanity_program kPrograms[] = {program_of(0), program_of(1)};

const vanity_program* find(const std::string& path) {
  for (uint32_t i = 0; i < std::size(kStandins); ++i) {
    if (path == kStandins[i]) return &kPrograms[i];
  }
  return nullptr;
}

// Does what it does to packets come to the same, whoever of the two does it?
bool passes_by_flow(const ShardPlan& shard) {
  static constexpr const char* kNames[] = {"forward", "flow-split", "port-rx",
                                           "port-tx", "count",      "sink"};
  return shard.kind == ProgramKind::builtin &&
         std::find(std::begin(kNames), std::end(kNames), shard.program) != std::end(kNames);
}

// With several outputs.
bool takes_turns(const Plan& plan, uint32_t s) {
  return plan.shards[s].program != "flow-split" &&
         std::count_if(plan.channels.begin(), plan.channels.end(),
                       [&](const ChannelPlan& channel) { return channel.from == s; }) > 1;
}

bool goes_round(const Plan& plan) {
  std::vector<bool> ends(plan.shards.size(), false);
  for (size_t round = 0; round < plan.shards.size(); ++round) {
    for (uint32_t s = 0; s < plan.shards.size(); ++s) {
      ends[s] = std::all_of(
          plan.channels.begin(), plan.channels.end(),
          [&](const ChannelPlan& channel) { return channel.from != s || ends[channel.to]; });
    }
  }
  return !std::all_of(ends.begin(), ends.end(), [](bool each) { return each; });
}

}  // namespace

bool let_programs_stand_in(Plan& plan) {
  Module::linked_in = find;
  bool any = false;
  bool all = true;
  for (uint32_t s = 0; s < plan.shards.size(); ++s) {
    ShardPlan& shard = plan.shards[s];
    const bool packets_only =
        std::all_of(plan.channels.begin(), plan.channels.end(), [&](const ChannelPlan& channel) {
          return (channel.from != s && channel.to != s) ||
                 (channel.packets && channel.overflow != Overflow::program);
        });
    if (!passes_by_flow(shard) || !packets_only || one_in(kStaysOneIn)) {
      all = all && (passes_by_flow(shard) || shard.program == "filter") && !takes_turns(plan, s);
      continue;
    }
    shard.kind = ProgramKind::native;
    shard.program = kStandins[0];
    shard.arena_bytes += kArenaBytes;
    any = true;
  }
  ordered = all && !goes_round(plan);
  parts.resize(plan.shards.size());
  return any;
}

void forget_standins() {
  parts.clear();
}

}  // namespace vanity::sim
