// Shards whose programs are confined by protection keys: a write to memory of others is a fault
// that names both, under load, and changes nothing of theirs. Where the processor has no keys, that
// such a system is refused; the guest of test/guest (jobs/pkey.sh) has them.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "check.hpp"
#include "kernel/command.hpp"
#include "kernel/mailbox.hpp"
#include "kernel/system.hpp"
#include "lines.hpp"
#include "platform/error.hpp"
#include "platform/pkey.hpp"

using namespace vanity;

namespace {

std::atomic<uint64_t> g_targets[3];  // where each strayer.so writes, by its shard

// Nowhere from here on.
void stay() {
  for (auto& target : g_targets) target = 0;
}

// What a test needs that is not there; said once a test. VANITY_PKEY=1: there must be some.
bool no_keys() {
  if (key_support().usable) return false;
  if (std::getenv("VANITY_PKEY") != nullptr) {
    check::fail(__FILE__, __LINE__, "no protection keys: " + key_support().reason);
  }
  std::printf("  skipped: %s\n", key_support().reason.c_str());
  return true;
}

ShardPlan module(const std::string& name, const std::string& file,
                 std::map<std::string, std::string> options = {}) {
  ShardPlan plan = stage(name, std::string(VANITY_MODULES) + "/" + file, std::move(options));
  plan.kind = ProgramKind::native;
  plan.keyed = true;
  plan.watch.backoff_ns = 1'000'000;
  plan.watch.max_restarts = 1'000'000;
  return plan;
}

ShardPlan strayer(const std::string& name, const std::string& how = "store", uint32_t shard = 1) {
  char where[32];
  std::snprintf(where, sizeof(where), "%llx",
                static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(&g_targets[shard])));
  return module(name, "strayer.so", {{"where", where}, {"how", how}});
}

void expect_balance(System& system) {
  uint64_t ended = 0;
  for (uint32_t s = 0; s < system.shard_count(); ++s) {
    ended += system.segment().shard(s).dropped.get() + system.segment().shard(s).consumed.get();
  }
  CHECK_EQ(ended, system.segment().shard(0).received.get());
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

std::string refusal_of(const Plan& plan) {
  try {
    System system(plan, {});
  } catch (const Error& error) {
    return std::string(error.code()) + " " + error.what();
  }
  return "none";
}

bool has(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

// Writes to `target` while packets flow, three times; what lies there stays as it is.
void stopped_by_its_key(System& system, uint32_t shard, void* target, const std::string& owner) {
  const ShardRecord& record = system.segment().shard(shard);
  const ShardRecord& last = system.segment().shard(system.shard_count() - 1);
  const uint64_t faults = record.faults.get();
  const uint64_t restarts = record.restarts.get();
  const uint64_t ended = last.consumed.get();
  const auto before = *static_cast<volatile uint8_t*>(target);
  g_targets[shard] = reinterpret_cast<uintptr_t>(target);
  const bool stopped = soon([&] { return record.faults.get() >= faults + 3; });
  stay();
  if (!stopped) check::fail(__FILE__, __LINE__, "wrote to " + owner + ": " + said(system));
  const auto after = *static_cast<volatile uint8_t*>(target);
  CHECK(before == 0xee || after != 0xee);
  CHECK(soon([&] { return record.restarts.get() >= restarts + 3; }));
  CHECK(soon([&] { return last.consumed.get() > ended + 10'000; }));  // all go on
  const std::string text = said(system);
  const std::string who =
      std::string("shard ") + record.name + ": its program was left: it wrote where it may not";
  if (!has(text, who) || !has(text, owner)) {
    check::fail(__FILE__, __LINE__, "not said: " + who + " ... " + owner + "\n" + text);
  }
  std::printf("  %llu faults, %llu restarts, then %llu packets more: %s\n",
              static_cast<unsigned long long>(record.faults.get() - faults),
              static_cast<unsigned long long>(record.restarts.get() - restarts),
              static_cast<unsigned long long>(last.consumed.get() - ended), owner.c_str());
}

}  // namespace

TEST(what_is_said_of_the_keys_is_what_the_processor_says) {
  std::ifstream file("/proc/cpuinfo");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::printf("  %s\n", key_support().reason.c_str());
  if (!has(text, " ospke")) CHECK(!key_support().usable);
  CHECK(!key_support().reason.empty());
}

TEST(without_keys_a_system_that_needs_them_is_refused) {
  if (key_support().usable) {
    std::printf("  skipped: there are some\n");
    return;
  }
  const std::string text =
      refusal_of(line("none", {stage("gen", "generate"), strayer("apart"), stage("end", "sink")}));
  CHECK(has(text, "VANITY_E_PROTECTION_KEYS shard apart: " + key_support().reason));
}

TEST(what_a_key_cannot_confine_is_refused) {
  Plan plan = line("refused", {stage("gen", "generate"), stage("end", "sink")});
  plan.shards[1].keyed = true;
  CHECK(has(refusal_of(plan), "its program is not a native module"));
  plan = line("refused", {stage("gen", "generate"), strayer("apart"), stage("end", "sink")});
  plan.shards[1].watch.on_fault = Policy::report;
  CHECK(has(refusal_of(plan), "nothing contains its faults"));
  plan.shards[1].watch.on_fault = Policy::restart;
  plan.threads = 1;
  CHECK(has(refusal_of(plan), "its thread carries other shards too"));
}

TEST(write_through_a_stray_pointer) {
  if (no_keys()) return;
  stay();
  System system(line("stray", {stage("gen", "generate"), strayer("stray"),
                               strayer("other", "store", 2), stage("end", "sink")}),
                {});
  system.start();
  CHECK(soon([&] { return system.segment().shard(3).consumed.get() > 10'000; }));
  std::vector<uint8_t> heap(100'000, 7);
  static uint8_t statics = 7;
  const auto each = [&](uint32_t shard, void* target, const std::string& owner) {
    stopped_by_its_key(system, shard, target, owner);
  };
  each(1, system.shard(0).arena().base() + 64, "to the arena of shard gen");
  each(1, system.shard(3).arena().base() + 64, "to the arena of shard end");
  each(1, &system.segment().shard(3).consumed, "to the segment, which has the counters");
  each(1, system.channel(2).memory(),
       "to the ring of channel to-end from shard other to shard end");
  each(1, system.channel(0).memory(),
       "to the ring of channel to-stray from shard gen to shard stray");
  each(1, system.pools()[0]->references(), "to the arena of shard gen");
  each(1, heap.data() + 50'000, "to memory of the process ([heap])");
  each(1, &statics, "to memory of the process (pkey_test)");
  each(1, &system.shard(1), "to memory of the process");
  each(1, system.shard(2).desk().base() + 128, "to the arena of the program of shard other");
  each(2, system.shard(1).desk().base() + 128, "to the arena of the program of shard stray");
  CHECK_EQ(system.segment().shard(0).faults.get() + system.segment().shard(3).faults.get(), 0u);
  stop(system);
  expect_balance(system);
}

// The runtime has all rights, and lends none of them.
TEST(a_stray_pointer_that_is_given_to_the_runtime) {
  if (no_keys()) return;
  for (const auto& [how, text] : std::vector<std::pair<const char*, const char*>>{
           {"receive", "it wrote where it may not (SIGSEGV at address"},
           {"count", "it counted in a counter that is not its own"},
           {"shard", "it wrote where it may not (SIGSEGV at address"},
           {"malloc", "to memory of the process"}}) {
    stay();
    System system(
        line("deputy", {stage("gen", "generate"), strayer("stray", how), stage("end", "sink")}),
        {});
    system.start();
    const ShardRecord& record = system.segment().shard(1);
    Counter& victim = system.segment().shard(2).slow;
    CHECK(soon([&] { return record.sent.get() > 1000; }));
    g_targets[1] = std::string(how) == "shard"
                       ? reinterpret_cast<uintptr_t>(system.shard(2).handle())
                       : reinterpret_cast<uintptr_t>(&victim);
    if (!soon([&] { return record.faults.get() >= 3; })) {
      check::fail(__FILE__, __LINE__, std::string(how) + ": " + said(system));
    }
    stay();
    CHECK_EQ(victim.get(), 0u);
    if (!has(said(system), text)) {
      check::fail(__FILE__, __LINE__,
                  std::string(how) + " not said: " + text + "\n" + said(system));
    }
    const uint64_t sent = record.sent.get();
    CHECK(soon([&] { return record.sent.get() > sent + 1000; }));
    stop(system);
    expect_balance(system);
  }
}

TEST(messages_are_written_where_they_lie) {
  if (no_keys()) return;
  Plan plan = line("messages", {module("writer", "writer.so", {{"count", "100000"}}),
                                module("reader", "reader.so")});
  plan.channels[0].name = "records";
  plan.channels[0].packets = false;
  plan.channels[0].element_bytes = 64;
  System system(plan, {});
  system.start();
  if (!soon([&] { return system.segment().channel(0).received.get() == 100'000; })) {
    check::fail(__FILE__, __LINE__, said(system));
  }
  CHECK_EQ(system.segment().shard(0).faults.get() + system.segment().shard(1).faults.get(), 0u);
  stop(system);
}

// A frame of a handler is written in the middle of the program, many times.
TEST(a_confined_shard_answers_signals) {
  if (no_keys()) return;
  stay();
  System system(line("sampled", {stage("gen", "generate"), strayer("stray"), stage("end", "sink")}),
                {});
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  CHECK(soon([&] { return record.sent.get() > 1000; }));
  uint32_t answered = 0;
  uintptr_t frames[Evidence::kFrames];
  for (int i = 0; i < 200; ++i) {
    answered += system.shard(1).guard().sample(static_cast<int>(record.tid), frames,
                                               Evidence::kFrames, 1'000'000'000) != 0
                    ? 1
                    : 0;
  }
  CHECK_EQ(answered, 200u);
  command_shard(system.segment().path(), 1, Command::restart, 0);
  CHECK(soon([&] { return record.restarts.get() == 1; }));
  CHECK_EQ(record.faults.get(), 0u);
  const uint64_t sent = record.sent.get();
  CHECK(soon([&] { return record.sent.get() > sent + 1000; }));
  stop(system);
  expect_balance(system);
}

volatile sig_atomic_t g_signals = 0;

// Linux gives a signal for the process to any thread that takes it, and such a handler knows of no
// keys.
TEST(signals_for_the_process_do_not_come_to_a_confined_shard) {
  if (no_keys()) return;
  stay();
  struct sigaction action {};
  action.sa_handler = [](int) { g_signals = g_signals + 1; };
  sigaction(SIGUSR1, &action, nullptr);
  System system(line("signals", {stage("gen", "generate"), strayer("stray"), stage("end", "sink")}),
                {});
  system.start();
  sigset_t none;
  sigemptyset(&none);
  sigaddset(&none, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &none, nullptr);  // so it is another thread's
  for (int i = 1; i <= 50; ++i) {
    kill(getpid(), SIGUSR1);
    if (!soon([&] { return g_signals == i; })) break;
  }
  pthread_sigmask(SIG_UNBLOCK, &none, nullptr);
  CHECK_EQ(g_signals, 50);
  CHECK_EQ(system.segment().shard(1).faults.get(), 0u);
  stop(system);
  expect_balance(system);
}

// The way into the program, and the way back from each of its two calls: as many for a burst of one
// as for a large one.
TEST(rights_change_as_often_for_a_burst_whatever_its_size) {
  if (no_keys()) return;
  stay();
  for (const uint32_t capacity : {2u, 32u, 1024u}) {
    Plan plan = line("gates", {stage("gen", "generate", {{"count", "20000"}}), strayer("stray"),
                               stage("end", "sink")});
    plan.channels[0].capacity = capacity;
    System system(plan, {});
    system.start();
    CHECK(soon([&] { return system.state() == SystemState::stopped; }));
    const ShardRecord& record = system.segment().shard(1);
    CHECK_EQ(record.sent.get(), 20'000u);
    const uint64_t crossings = system.shard(1).guard().crossings();
    const uint64_t idle = record.polls.get() - record.polls_busy.get();
    // Each turn: in, and back from receive; each busy one: back from send, too. One for init.
    std::printf(
        "  %.1f packets a burst: %.2f changes of rights a burst, %.2f an idle turn\n",
        static_cast<double>(record.sent.get()) / static_cast<double>(record.polls_busy.get()),
        2.0 * static_cast<double>(crossings - 2 * idle) /
            static_cast<double>(record.polls_busy.get()),
        4.0);
    CHECK_EQ(crossings, 2 * record.polls.get() + record.polls_busy.get());
  }
}

// Of the shard `stray`, to a program that writes where `target` says.
const ReloadRecord& reload(System& system, uint32_t target, std::map<std::string, std::string> also,
                           uint32_t trial_bursts = 64) {
  std::map<std::string, std::string> options = strayer("", "store", target).options;
  also.merge(options);
  ReloadRequest request{1, std::string(VANITY_MODULES) + "/strayer.so", false, false, trial_bursts};
  request.options = std::move(also);
  const uint64_t number = ask_reload(system.segment().path(), request);
  const ReloadRecord& record = system.segment().reload();
  CHECK(soon([&] { return record.answered.get() == number; }));
  return record;
}

void expect(const ReloadRecord& record, ReloadOutcome outcome, const std::string& what) {
  const std::string text = std::string(record.code) + " " + record.message;
  if (record.outcome.load() == static_cast<uint32_t>(outcome) && has(text, what)) return;
  check::fail(
      __FILE__, __LINE__,
      "outcome " + std::to_string(record.outcome.load()) + ", " + text + "; expected: " + what);
}

uint64_t known(System& system) {
  for (const DynamicCounter& counter : system.segment().shard(1).user) {
    if (std::string(counter.name) == "known") return counter.value.get();
  }
  return 0;
}

TEST(a_confined_program_is_replaced_and_its_successor_confined) {
  if (no_keys()) return;
  stay();
  System system(line("reload", {stage("gen", "generate"), strayer("stray"), stage("end", "sink")}),
                {});
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  CHECK(soon([&] { return record.sent.get() > 1000; }));
  for (int i = 0; i < 3; ++i) expect(reload(system, 1, {}), ReloadOutcome::kept, "");
  CHECK(known(system) > 1000);
  CHECK_EQ(record.faults.get(), 0u);
  stopped_by_its_key(system, 1, &system.segment().shard(2).consumed, "to the segment");
  stopped_by_its_key(system, 1, system.shard(1).arena().base() + 64, "to the arena of shard stray");
  stop(system);
  expect_balance(system);
}

// It strays in the rehearsal, on another thread, and on trial: it is not kept, what it wrote to is
// as it was, and the old one goes on.
TEST(a_successor_that_strays_is_not_kept) {
  if (no_keys()) return;
  stay();
  System system(line("reload", {stage("gen", "generate"), strayer("stray"), stage("end", "sink")}),
                {});
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  const auto flows = [&] {
    const uint64_t sent = record.sent.get();
    CHECK(soon([&] { return record.sent.get() > sent + 1000; }));
  };
  flows();
  Counter& victim = system.segment().shard(2).slow;
  std::vector<uint8_t> heap(100'000, 7);
  g_targets[2] = reinterpret_cast<uintptr_t>(&victim);
  expect(reload(system, 2, {}), ReloadOutcome::refused,
         "VANITY_E_RELOAD_FAULT shard stray: the new program faulted in a rehearsal on packets of "
         "this shard: it wrote where it may not");
  CHECK(has(system.segment().reload().message, "to the segment, which has the counters"));
  CHECK_EQ(victim.get(), 0u);
  g_targets[2] = reinterpret_cast<uintptr_t>(heap.data() + 50'000);
  expect(reload(system, 2, {}), ReloadOutcome::refused, "to memory of the process");
  CHECK_EQ(heap[50'000], 7u);
  expect(reload(system, 2, {{"how", "receive"}}), ReloadOutcome::refused, "in a rehearsal");
  flows();
  CHECK_EQ(record.faults.get(), 0u);
  expect(reload(system, 0, {{"where", "0"}, {"after", "300"}}, 1024), ReloadOutcome::undone,
         "VANITY_E_RELOAD_UNDONE shard stray: the new program faulted: it wrote where it may not");
  flows();
  expect(reload(system, 1, {}), ReloadOutcome::kept, "");
  CHECK_EQ(record.faults.get(), 1u);  // on trial
  stop(system);
  expect_balance(system);
}

TEST(a_confined_shard_without_a_program_gets_another_one) {
  if (no_keys()) return;
  stay();
  Plan plan = line("reload", {stage("gen", "generate"), strayer("stray"), stage("end", "sink")});
  plan.shards[1].watch.on_fault = Policy::hold;
  System system(plan, {});
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  CHECK(soon([&] { return record.sent.get() > 1000; }));
  g_targets[1] = reinterpret_cast<uintptr_t>(&system.segment().shard(2).slow);
  CHECK(soon([&] { return record.faults.get() == 1; }));
  CHECK(soon([&] { return system.shard(1).state() == ShardState::faulted; }));
  expect(reload(system, 0, {}), ReloadOutcome::kept, "");
  const uint64_t sent = record.sent.get();
  CHECK(soon([&] { return record.sent.get() > sent + 1000; }));
  CHECK_EQ(record.faults.get(), 1u);
  g_targets[0] = reinterpret_cast<uintptr_t>(&system.segment().shard(2).slow);
  CHECK(soon([&] { return record.faults.get() == 2; }));  // confined like the one before
  CHECK_EQ(system.segment().shard(2).slow.get(), 0u);
  stop(system, SystemState::failed);  // the last one was given up
}

TEST(as_many_as_there_are_keys_and_no_more) {
  const auto many = [](uint32_t count) {
    std::vector<ShardPlan> shards;
    for (uint32_t i = 0; i < count; ++i) shards.push_back(strayer("own-" + std::to_string(i)));
    Plan plan = line("many", {});
    plan.shards = std::move(shards);
    return plan;
  };
  CHECK(has(refusal_of(many(limits::kProtectionKeys + 1)),
            "VANITY_E_LIMIT shard own-0: 16 protection keys are needed: at most 15"));
  if (no_keys()) return;
  for (int i = 0; i < 2; ++i) CHECK_EQ(refusal_of(many(limits::kProtectionKeys)), "none");
  {
    const ProtectionKey taken;
    CHECK(has(refusal_of(many(limits::kProtectionKeys)),
              "VANITY_E_PROTECTION_KEYS shard own-0: no protection key is left"));
  }
  CHECK_EQ(refusal_of(many(limits::kProtectionKeys)), "none");
}
