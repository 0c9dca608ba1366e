#include "sim/system/reloads.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kernel/mail.hpp"
#include "shard/module.hpp"
#include "sim/system/port.hpp"
#include "sim/system/standins.hpp"
#include "sim/world.hpp"

namespace vanity::sim {
namespace {

constexpr uint32_t kReloadsOneIn = 8;  // executions
constexpr uint32_t kReloadsMost = 3;
constexpr uint32_t kTrialBurstsMost = 8;
constexpr uint32_t kDrainsOneIn = 4;
constexpr uint32_t kRehearsesOneIn = 8;  // and no more
constexpr uint32_t kGoesAwayOneIn = 4;   // who asked, without the answer
constexpr uint64_t kGapNs = 500;         // between bursts, as else
// Slower, so that some are left for a trial.
constexpr uint64_t kSlowGapsNs[] = {100'000, 2'000'000, 8'000'000};

uint32_t wanted = 0;  // reloads, in this execution
bool stands_in = false;

uint32_t draw(uint32_t options) {
  return World::current().draw(options);
}

bool over(System& system) {
  const SystemState state = system.state();
  return state == SystemState::stopped || state == SystemState::failed;
}

void require(bool holds, const std::string& what) {
  if (!holds) World::current().fail(Verdict::order, what.c_str());
}

bool is_module(Shard& shard) {
  return shard.plan().kind == ProgramKind::native;
}

// Shards whose programs hand on what they know, or are stages, which know nothing.
std::vector<uint32_t> candidates(System& system) {
  std::vector<uint32_t> all;
  for (uint32_t s = 0; s < system.shard_count(); ++s) {
    Shard& shard = system.shard(s);
    const bool stage = shard.plan().kind == ProgramKind::builtin && !shard.is_source();
    if (stage || (is_module(shard) && shard.program()->module()->reload() != nullptr)) {
      all.push_back(s);
    }
  }
  return all;
}

const char* outcome_name(uint32_t outcome) {
  static constexpr const char* kNames[] = {"none", "kept", "undone", "refused", "rehearsed"};
  return outcome < std::size(kNames) ? kNames[outcome] : "?";
}

// `generation` is to poll where it was kept.
void check(const ReloadRecord& record, const std::string& shard, uint64_t before,
           uint64_t generation) {
  const uint32_t outcome = record.outcome.load(std::memory_order_relaxed);
  std::string text = "the reload of " + shard + " is answered: " + outcome_name(outcome);
  if (record.message[0] != '\0') text += std::string(", ") + record.message;
  World::current().say(text);
  require(record.unaccounted.get() == 0, "the certificate of the reload of " + shard + " leaves " +
                                             std::to_string(record.unaccounted.get()) +
                                             " packets unaccounted for");
  // Each turn here comes back soon, so that a program waits for nothing but its inputs.
  require(record.drain != 0 || generation == before ||
              std::strcmp(record.code, "VANITY_E_RELOAD_LATE") != 0,
          "the reload of " + shard + " is said to be late, and is not");
  const bool kept = outcome == static_cast<uint32_t>(ReloadOutcome::kept);
  require(record.generation.get() == (kept ? generation : before),
          "the reload of " + shard + " was not kept, or was, and another program polls");
  const auto undone = static_cast<uint32_t>(ReloadOutcome::undone);
  require(outcome != undone || record.dropped_fault.get() == 0,
          "the reload of " + shard + " was undone, and " +
              std::to_string(record.dropped_fault.get()) +
              " packets that the new program had taken are lost");
}

void reload(System& system, uint32_t s) {
  ReloadRecord& record = system.segment().reload();
  if (!Mail::begin(record.state)) return;  // one before is still under way
  const std::string& shard = system.shard(s).plan().name;
  const std::string& now = system.shard(s).plan().program;
  const std::string path = now == kStandins[0] ? kStandins[draw(2)] : now;
  const uint64_t generation = system.segment().shard(s).generation.get();
  record.shard = s;
  record.drain = draw(kDrainsOneIn) == 0;
  record.dry_run = draw(kRehearsesOneIn) == 0;
  record.bursts_asked = 1 + draw(kTrialBurstsMost);
  record.brings = 0;
  record.job = static_cast<uint32_t>(Job::shard);
  std::fill(std::copy(path.begin(), path.end(), record.path), std::end(record.path), '\0');
  record.asked.add(1);
  World::current().say("a reload of " + shard + " is asked for" +
                       (record.drain != 0 ? ", with its inputs drained" : "") +
                       (record.dry_run != 0 ? ", a rehearsal only" : ""));
  Mail::post(record.state);
  if (draw(kGoesAwayOneIn) == 0) return;
  const auto idle = static_cast<uint32_t>(MailState::idle);
  while (record.state.load(std::memory_order_acquire) != idle) {  // pairs with settle()
    if (over(system)) return;
    World::current().nap_for_a_while();
  }
  check(record, shard, generation, generation + (is_module(system.shard(s)) ? 1 : 0));
}

}  // namespace

bool stood_in() {
  return stands_in;
}

void draw_reloads(Plan& plan) {
  arrivals_gap_ns = kGapNs;
  stands_in = false;
  wanted = draw(kReloadsOneIn) == 0 ? 1 + draw(kReloadsMost) : 0;
  if (wanted == 0) return;
  stands_in = let_programs_stand_in(plan);
  arrivals_gap_ns = kSlowGapsNs[draw(std::size(kSlowGapsNs))];
}

void reload_as_drawn(System& system) {
  if (wanted == 0) return;
  const std::vector<uint32_t> shards = candidates(system);
  for (uint32_t i = 0; i < wanted && !shards.empty(); ++i) {
    World::current().nap_for_a_while();
    if (over(system)) return;
    reload(system, shards[draw(static_cast<uint32_t>(shards.size()))]);
  }
}

void check_orders(System& system) {
  const ReloadRecord& record = system.segment().reload();
  const uint32_t state = record.state.peek();
  require(state == static_cast<uint32_t>(MailState::idle) ||
              state == static_cast<uint32_t>(MailState::posted),
          "a reload was taken up, and nobody answers it");
  if (state != static_cast<uint32_t>(MailState::idle)) return;
  require(record.answered.get() == record.asked.get(), "an answer is about another reload");
}

}  // namespace vanity::sim
