// Programs that take one another's place under load: what is handed on, what is refused, and that
// the old one comes back with its state, and without a packet missing or out of order.
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <thread>

#include "check.hpp"
#include "kernel/command.hpp"
#include "kernel/mailbox.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "runtime_folder.hpp"
#include "sanitized.hpp"
#include "shard/state.hpp"
#include "soon.hpp"

using namespace vanity;

namespace {

std::string file(const std::string& name) {
  return std::string(VANITY_MODULES) + "/" + name + ".so";
}

ShardPlan module(const std::string& name, const std::string& program,
                 std::map<std::string, std::string> options = {}) {
  ShardPlan plan;
  plan.name = name;
  plan.kind = ProgramKind::native;
  plan.program = file(program);
  plan.options = std::move(options);
  plan.arena_bytes = 4096;
  return plan;
}

using Options = std::map<std::string, std::string>;

// Whoever is loaded while it stands does that.
class How {
 public:
  explicit How(const char* what) { setenv("VANITY_TEST_PASSER", what, 1); }
  ~How() { unsetenv("VANITY_TEST_PASSER"); }
  How(const How&) = delete;
  How& operator=(const How&) = delete;
};

// numberer > passer > checker, each with a channel that blocks.
Plan line(const std::string& name, const std::string& rate = "200000",
          const std::string& middle = "passer_1") {
  static const bool prepared = [] {
    runtime_folder();
    // Each reload leaves a copy of its module, and its descriptor.
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &files) == 0;
  }();
  CHECK(prepared);
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;
  plan.shards = {
      module("source", "numberer", {{"buffers", "4096"}, {"flows", "4"}, {"rate", rate}}),
      module("middle", middle), module("end", "checker")};
  for (uint32_t s = 1; s < 3; ++s) {
    ChannelPlan channel;
    channel.name = "to-" + plan.shards[s].name;
    channel.from = s - 1;
    channel.to = s;
    channel.overflow = Overflow::block;
    plan.channels.push_back(channel);
  }
  return plan;
}

uint64_t user(System& system, uint32_t shard, const std::string& name) {
  for (const DynamicCounter& counter : system.segment().shard(shard).user) {
    if (name == counter.name) return counter.value.get();
  }
  return UINT64_MAX;
}

const ReloadRecord& ask(System& system, const ReloadRequest& request,
                        const NewManifest* manifest = nullptr) {
  // The request goes by another mapping, whose order TSan does not see: what this thread has read
  // of the last answer, and written for the program, comes before it.
  system.segment().reload().state.fetch_add(0, std::memory_order_acq_rel);
  const uint64_t number = ask_reload(system.segment().path(), request, manifest);
  const ReloadRecord& record = system.segment().reload();
  if (!soon([&] {
        return record.answered.get() == number && record.state.load(std::memory_order_acquire) ==
                                                      static_cast<uint32_t>(MailState::idle);
      })) {
    check::fail(__FILE__, __LINE__, "no answer about " + request.path);
  }
  return record;
}

const ReloadRecord& reload(System& system, const std::string& program, bool drain = false,
                           bool dry_run = false, uint32_t bursts = 32, uint32_t shard = 1) {
  return ask(system, {shard, file(program), drain, dry_run, bursts});
}

// The manifest in force, and its generation.
std::string in_force(System& system) {
  const bool second =
      system.segment().manifest(1).edition.get() > system.segment().manifest(0).edition.get();
  const ManifestRecord& record = system.segment().manifest(second ? 1 : 0);
  return std::to_string(record.generation.get()) + " " +
         std::string(reinterpret_cast<const char*>(&record + 1), record.text_bytes.get());
}

void expect(const ReloadRecord& record, ReloadOutcome outcome, const std::string& code = "",
            const std::string& text = "") {
  const std::string said = std::string(record.code) + " " + record.message;
  if (record.outcome.load() == static_cast<uint32_t>(outcome) && code == record.code &&
      said.find(text) != std::string::npos) {
    return;
  }
  check::fail(__FILE__, __LINE__,
              "outcome " + std::to_string(record.outcome.load()) + ", " + said + "; expected " +
                  std::to_string(static_cast<uint32_t>(outcome)) + " " + code + " " + text);
}

void flows(System& system) {
  const uint64_t before = user(system, 2, "seq_checked");
  if (!soon([&] { return user(system, 2, "seq_checked") > before + 2000; })) {
    check::fail(__FILE__, __LINE__, "nothing flows");
  }
}

void start(System& system) {
  system.start();
  CHECK(soon([&] { return system.shard(2).state() == ShardState::running; }));
  flows(system);
}

// Stops in order; everything that was made arrived, in order, and what the programs know adds up.
// `apart`: packets that a program has seen whose state went with it.
void ends_whole(System& system, uint64_t apart = 0) {
  flows(system);
  system.stop(false);
  CHECK(soon([&] {
    return system.state() == SystemState::stopped || system.state() == SystemState::failed;
  }));
  for (const Failure& failure : system.failures()) check::fail(__FILE__, __LINE__, failure.message);
  const ShardRecord& middle = system.segment().shard(1);
  CHECK_EQ(user(system, 2, "seq_missing"), 0u);
  CHECK_EQ(user(system, 2, "seq_reordered"), 0u);
  CHECK_EQ(system.segment().shard(0).sent.get(), middle.received.get());
  CHECK_EQ(middle.received.get(), middle.sent.get());
  CHECK_EQ(middle.sent.get(), user(system, 2, "seq_checked"));
  CHECK_EQ(middle.dropped.get(), 0u);
  CHECK_EQ(user(system, 1, "total") + apart, middle.received.get());
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

}  // namespace

TEST(a_program_takes_over_with_what_the_old_one_knew) {
  System system(line("kept"), {});
  start(system);
  for (uint32_t i = 0; i < 4; ++i) {
    const ReloadRecord& record = reload(system, i % 2 == 0 ? "passer_1b" : "passer_1");
    expect(record, ReloadOutcome::kept);
    CHECK_EQ(record.handed.load(), static_cast<uint32_t>(Handed::restored));
    CHECK_EQ(record.old_hash.get(), record.new_hash.get());
    CHECK_EQ(record.state_bytes.get(), 88u);
    CHECK_EQ(record.generation.get(), i + 2u);
    CHECK_EQ(std::string(record.new_version), i % 2 == 0 ? "1.1" : "1.0");
    CHECK_EQ(record.trial_bursts.get(), 32u);
    CHECK(record.warm_bursts.get() > 0);
    CHECK(record.pause_ns.get() > 0);
    CHECK(record.began_received.get() <= record.switch_received.get());
    CHECK(record.switch_received.get() < record.end_received.get());
    CHECK_EQ(record.balanced, 1u);
    CHECK_EQ(record.unaccounted.get(), 0u);
    CHECK_EQ(record.dropped_full.get() + record.dropped_fault.get() + record.held.get(), 0u);
    flows(system);
  }
  CHECK_EQ(std::string(system.segment().shard(1).program), "passer_1.so");
  CHECK_EQ(system.segment().shard(1).reloads.get(), 4u);
  ends_whole(system);
}

TEST(another_state_is_refused_field_by_field) {
  System system(line("refused"), {});
  start(system);
  const ReloadRecord& record = reload(system, "passer_2");
  expect(record, ReloadOutcome::refused, "VANITY_E_RELOAD_STATE", "cannot take over the state");
  CHECK_EQ(std::string(record.difference),
           "! version: 1 -> 2; ! bursts: u64 at 8 -> u64 at 16; - largest: u32 at 16; ! lengths: "
           "u64[8] at 24 -> u32[8] at 24; + bytes: u64 at 8; ! bytes: 88 -> 56");
  CHECK(record.old_hash.get() != record.new_hash.get());
  CHECK_EQ(record.generation.get(), 1u);
  CHECK_EQ(system.segment().shard(1).reloads.get(), 0u);
  ends_whole(system);
}

TEST(another_state_goes_through_migrate) {
  System system(line("migrated"), {});
  start(system);
  {
    const How how("restore-number");
    expect(reload(system, "passer_2m"), ReloadOutcome::refused, "VANITY_E_RELOAD_STATE",
           "migrate() of the new program returned 7");
  }
  flows(system);
  const ReloadRecord& record = reload(system, "passer_2m");
  expect(record, ReloadOutcome::kept);
  CHECK_EQ(record.handed.load(), static_cast<uint32_t>(Handed::migrated));
  // And the way on, with the same state again.
  expect(reload(system, "passer_2"), ReloadOutcome::kept);
  // Back there is no way.
  expect(reload(system, "passer_1"), ReloadOutcome::refused, "VANITY_E_RELOAD_STATE");
  ends_whole(system);
}

TEST(what_cannot_be_replaced_is_refused_before_anything_stops) {
  Plan plan = line("no");
  ShardPlan sink;
  sink.name = "builtin";
  sink.program = "sink";
  plan.shards.push_back(sink);
  ChannelPlan channel;
  channel.name = "aside";
  channel.from = 0;
  channel.to = 3;
  plan.channels.push_back(channel);
  System system(plan, {});
  start(system);
  const auto refused = [&](const char* program, const char* code, const char* text) {
    expect(reload(system, program), ReloadOutcome::refused, code, text);
  };
  refused("not-there", "VANITY_E_PROGRAM_LOAD", "not-there.so");
  refused("nothing", "VANITY_E_PROGRAM_LOAD", "");
  refused("future", "VANITY_E_PROGRAM_ABI", "ABI 2");
  refused("ancient", "VANITY_E_PROGRAM_ABI", "before programs could be replaced");
  refused("decider", "VANITY_E_RELOAD_STATE", "- packets: u64 at 0");  // it takes over nothing
  expect(reload(system, "passer_1", false, false, 32, 3), ReloadOutcome::refused, "VANITY_E_RELOAD",
         "a built-in stage");
  expect(reload(system, "passer_1", false, false, 32, 4), ReloadOutcome::refused, "VANITY_E_RELOAD",
         "no shard 4");
  {
    const How how("init-number");
    refused("passer_1b", "VANITY_E_PROGRAM_INIT", "init returned 3");
  }
  if (!kThreadSanitized) {
    const How how("init-fault");
    refused("passer_1b", "VANITY_E_RELOAD_FAULT",
            "faulted in init: SIGSEGV at address 0x0, in init");
  }
  if (!kThreadSanitized) {
    const How how("rehearsal-fault");
    refused("passer_1b", "VANITY_E_RELOAD_FAULT", "faulted in a rehearsal");
  }
  CHECK_EQ(system.segment().shard(1).generation.get(), 1u);
  CHECK_EQ(system.segment().shard(1).faults.get(), 0u);
  CHECK_THROWS(ask_reload(system.segment().path(), {1, file("passer_1"), false, false, 0}), Error);
  CHECK_THROWS(ask_reload(system.segment().path(),
                          {1, file("passer_1"), false, false, limits::kReloadBursts + 1}),
               Error);
  CHECK_THROWS(ask_reload(system.segment().path(), {1, std::string(1024, 'x'), false, false, 1}),
               Error);
  expect(reload(system, "passer_1b", false, false, limits::kReloadBursts), ReloadOutcome::kept);
  ends_whole(system);
}

TEST(options_come_with_a_program_and_go_with_it) {
  System system(line("options"), {});
  start(system);
  ReloadRequest request{1, file("passer_1b"), false, false, 32};
  request.options = Options{{"how", "init-number"}, {"odd", ":3:\n"}, {"", ""}};
  expect(ask(system, request), ReloadOutcome::refused, "VANITY_E_PROGRAM_INIT", "init returned 3");
  // What was refused has left nothing behind.
  expect(reload(system, "passer_1b"), ReloadOutcome::kept);
  if (!kThreadSanitized) {
    request.options = Options{{"how", "late-fault"}, {"after", "12"}};
    const ReloadRecord& record = ask(system, request);
    expect(record, ReloadOutcome::undone, "VANITY_E_RELOAD_UNDONE", "SIGSEGV");
    CHECK_EQ(record.trial_bursts.get(), 12u);
  }
  flows(system);
  request.options = Options{{"odd", ":3:\n"}};
  expect(ask(system, request), ReloadOutcome::kept);
  CHECK_EQ(system.shard(1).options().at("odd"), ":3:\n");
  // Who brings none has those of the one before; none at all are brought, too.
  expect(reload(system, "passer_1"), ReloadOutcome::kept);
  CHECK_EQ(system.shard(1).options().size(), 1u);
  request.options = Options();
  expect(ask(system, request), ReloadOutcome::kept);
  CHECK(system.shard(1).options().empty());
  // 4 texts: "1:k", "4086:vv..", and the byte that ends them.
  request.options = Options{{"k", std::string(limits::kOptionsBytes - 9, 'v')}};
  expect(ask(system, request), ReloadOutcome::kept);
  CHECK_EQ(system.shard(1).options().at("k").size(), limits::kOptionsBytes - 9);
  request.options->at("k") += 'v';
  CHECK_THROWS(ask_reload(system.segment().path(), request), Error);
  expect(reload(system, "passer_1"), ReloadOutcome::kept);
  system.stop(false);
  CHECK(soon([&] { return system.state() == SystemState::stopped; }));
  CHECK_EQ(user(system, 2, "seq_missing") + user(system, 2, "seq_reordered"), 0u);
  CHECK_EQ(system.segment().shard(0).sent.get(), user(system, 2, "seq_checked"));
}

TEST(a_manifest_is_in_force_with_the_program_that_it_came_with) {
  Plan plan = line("manifests");
  plan.manifest = "the first";
  System system(plan, {});
  start(system);
  CHECK_EQ(in_force(system), "1 the first");
  const NewManifest second{2, "the second"};
  ReloadRequest request{1, file("passer_2"), false, false, 32};
  expect(ask(system, request, &second), ReloadOutcome::refused, "VANITY_E_RELOAD_STATE");
  CHECK_EQ(in_force(system), "1 the first");
  request.path = file("passer_1b");
  request.dry_run = true;
  expect(ask(system, request, &second), ReloadOutcome::rehearsed);
  CHECK_EQ(in_force(system), "1 the first");
  request.dry_run = false;
  expect(ask(system, request, &second), ReloadOutcome::kept);
  CHECK_EQ(in_force(system), "2 the second");
  expect(reload(system, "passer_1"), ReloadOutcome::kept);
  CHECK_EQ(in_force(system), "2 the second");
  const NewManifest third{3, "the third"};
  expect(ask(system, {}, &third), ReloadOutcome::kept);
  CHECK_EQ(in_force(system), "3 the third");
  // As long as there is room, and one more.
  const uint64_t room = system.segment().header().tables[11].stride - sizeof(ManifestRecord);
  NewManifest longest{4, std::string(room / kTextUnit * kTextUnit, 'm')};
  expect(ask(system, {}, &longest), ReloadOutcome::kept);
  CHECK_EQ(in_force(system), "4 " + longest.text);
  longest.text += 'm';
  CHECK_THROWS(ask_reload(system.segment().path(), {}, &longest), Error);
  expect(reload(system, "passer_1b"), ReloadOutcome::kept);
  ends_whole(system);
}

TEST(figures_change_in_place) {
  Plan plan = line("figures");
  plan.shards[1].watch.progress_ns = 20'000'000'000;
  System system(plan, {});
  start(system);
  ReloadRequest request{1, "", false, false, 1};
  request.watch = plan.shards[1].watch;
  request.watch->progress_ns = 60'000'000;
  request.watch->on_progress = Policy::hold;
  request.watch->service_ns = 10'000'000'000;  // what was fast enough before
  request.figures = KernelFigures{5'000'000'000, 7'000'000'000};
  const ReloadRecord& record = ask(system, request);
  expect(record, ReloadOutcome::kept);
  CHECK_EQ(system.plan().stall_ns, 5'000'000'000u);
  CHECK_EQ(system.plan().drain_ns, 7'000'000'000u);
  CHECK_EQ(system.segment().shard(1).generation.get(), 1u);
  CHECK_EQ(system.segment().shard(1).slow.get(), 0u);
  if (!kThreadSanitized) {
    // Its turn does not end: by the first figure it would not be noticed here.
    const How how("sleep");
    expect(reload(system, "passer_1b", false, false, 4), ReloadOutcome::kept);
    CHECK(soon([&] { return system.segment().shard(1).stalls.get() == 1; }));
    CHECK_EQ(system.segment().shard(1).command.load(), static_cast<uint32_t>(Command::hold));
  }
  command_shard(system.segment().path(), 1, Command::run, 0);
  ends_whole(system);
}

TEST(on_a_thread_of_several_shards_a_program_is_replaced_and_none_moves) {
  Plan plan = line("carried");
  plan.threads = 1;
  System system(plan, {});
  start(system);
  expect(reload(system, "passer_1b"), ReloadOutcome::kept);
  flows(system);
  ReloadRequest request{1, "", false, false, 1};
  request.core = 0;
  expect(ask(system, request), ReloadOutcome::refused, "VANITY_E_CORE_PIN");
  CHECK_EQ(system.segment().shard(1).core, UINT32_MAX);
  flows(system);
  ends_whole(system);
}

TEST(a_shard_moves_to_another_core) {
  cpu_set_t allowed;
  CHECK_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  std::vector<uint32_t> cores;
  for (uint32_t c = 0; c < CPU_SETSIZE; ++c) {
    if (CPU_ISSET(c, &allowed)) cores.push_back(c);
  }
  if (cores.size() < 2) return;
  System system(line("moved"), {});
  start(system);
  ShardRecord& middle = system.segment().shard(1);
  const auto runs_on = [&] {
    cpu_set_t set;
    CHECK_EQ(sched_getaffinity(static_cast<pid_t>(middle.tid), sizeof(set), &set), 0);
    std::vector<uint32_t> found;
    for (const uint32_t c : cores) {
      if (CPU_ISSET(c, &set)) found.push_back(c);
    }
    return found;
  };
  const auto free = [](uint32_t core) {
    try {
      const CoreLock lock(core);
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  CHECK_EQ(middle.core, UINT32_MAX);
  ReloadRequest request{1, "", false, false, 1};
  for (const uint32_t core : {cores[0], cores[1], cores[0]}) {
    // Another process may have it just now.
    const bool was_free = middle.core == core || free(core);
    request.core = core;
    const ReloadRecord& record = ask(system, request);
    if (!was_free) continue;
    expect(record, ReloadOutcome::kept);
    CHECK_EQ(middle.core, core);
    CHECK_EQ(runs_on().size(), 1u);
    CHECK_EQ(runs_on()[0], core);
    CHECK(!free(core));
    flows(system);
  }
  const std::string code = [&] {
    const CoreLock lock(1023);  // as if another process had it
    request.core = 1023;
    return std::string(ask(system, request).code);
  }();
  CHECK_EQ(code, "VANITY_E_CORE_IN_USE");
  request.core = 1022;  // no such core
  expect(ask(system, request), ReloadOutcome::refused, "VANITY_E_CORE_PIN");
  CHECK(free(1022));
  request.core = kNone;
  const uint32_t last = middle.core;
  expect(ask(system, request), ReloadOutcome::kept);
  CHECK_EQ(runs_on().size(), cores.size());
  if (last != UINT32_MAX) CHECK(free(last));
  ends_whole(system);
}

TEST(one_process_at_a_time_changes_a_system) {
  System system(line("claimed"), {});
  start(system);
  const int first = claim_system(system.segment().path());
  CHECK(first >= 0);
  CHECK_EQ(claim_system(system.segment().path()), -1);
  close(first);
  const int second = claim_system(system.segment().path());
  CHECK(second >= 0);
  close(second);
  CHECK_THROWS(claim_system(system.segment().path() + "-none"), Error);
  ends_whole(system);
}

TEST(a_dry_run_changes_nothing) {
  System system(line("dry"), {});
  start(system);
  const ReloadRecord& record = reload(system, "passer_1b", false, true);
  expect(record, ReloadOutcome::rehearsed);
  CHECK(record.warm_bursts.get() > 0);
  CHECK_EQ(record.generation.get(), 1u);
  CHECK_EQ(std::string(system.segment().shard(1).program), "passer_1.so");
  ends_whole(system);
}

TEST(the_old_one_comes_back_when_the_new_one_faults_or_is_not_well) {
  const std::vector<std::pair<const char*, const char*>> kinds = {
      {"fault", "the new program faulted: SIGSEGV at address 0x0, in"},
      {"late-fault", "the new program faulted: SIGSEGV at address 0x0, in"},
      {"unhealthy", "healthy() of the new program returned 6 after 8 bursts"},
      {"nothing", "it took nothing for 200 ms while its input waited"},
      {"loop", "a turn of it took longer than 100 ms"},
      {"calls", "a turn of it took longer than 100 ms"},
  };
  Plan plan = line("undone");
  plan.shards[1].watch.progress_ns = 100'000'000;
  plan.drain_ns = 20'000'000'000;
  System system(plan, {});
  start(system);
  uint64_t apart = 0;
  uint64_t undone = 0;
  for (const auto& [how, text] : kinds) {
    const std::string kind = how;
    const uint64_t faults = system.segment().shard(1).faults.get();
    if (kThreadSanitized && kind != "unhealthy" && kind != "nothing") continue;
    const How does(how);
    const ReloadRecord& record = reload(system, "passer_1b");
    expect(record, ReloadOutcome::undone, "VANITY_E_RELOAD_UNDONE", text);
    CHECK_EQ(record.generation.get(), 1u);
    CHECK_EQ(record.unaccounted.get(), 0u);
    CHECK_EQ(record.held.get(), record.again.get());
    CHECK_EQ(system.segment().shard(1).reloads_undone.get(), ++undone);
    if (kind == "late-fault") {
      CHECK(record.again.get() > 0);
      CHECK(record.end_sent.get() > record.switch_sent.get());
    }
    if (kind == "fault") CHECK(record.again.get() > 0);
    const bool faulted = kind == "fault" || kind == "late-fault";
    CHECK_EQ(system.segment().shard(1).faults.get() - faults, faulted ? 1u : 0u);
    // What the new one has given away the old one never sees.
    apart += record.end_received.get() - record.switch_received.get() - record.again.get();
    flows(system);
  }
  CHECK_EQ(system.segment().shard(1).restarts.get(), 0u);
  CHECK_EQ(system.segment().shard(1).dropped_fault.get(), 0u);
  bool warned = false;
  for (const Failure& each : system.warnings()) warned |= each.code == "VANITY_W_RELOAD_UNDONE";
  CHECK(warned);
  expect(reload(system, "passer_1b"), ReloadOutcome::kept);
  ends_whole(system, apart);
}

TEST(a_state_that_cannot_be_saved_or_restored_leaves_all_as_it_was) {
  {
    const How how("save-number");
    System system(line("save"), {});
    start(system);
    expect(reload(system, "passer_1b"), ReloadOutcome::refused, "VANITY_E_RELOAD_STATE",
           "save() of the old program returned 4");
    ends_whole(system);
  }
  System system(line("restore"), {});
  start(system);
  {
    const How how("restore-number");
    expect(reload(system, "passer_1b"), ReloadOutcome::refused, "VANITY_E_RELOAD_STATE",
           "restore() of the new program returned 5");
  }
  if (!kThreadSanitized) {
    const How how("restore-fault");
    expect(reload(system, "passer_1b"), ReloadOutcome::refused, "VANITY_E_RELOAD_FAULT",
           "SIGSEGV at address 0x0, in restore");
  }
  CHECK_EQ(system.segment().shard(1).generation.get(), 1u);
  ends_whole(system);
}

TEST(an_old_program_that_faults_in_save_is_started_anew) {
  if (kThreadSanitized) return;
  Plan plan = line("save-fault");
  plan.shards[1].watch.backoff_ns = 1'000'000;
  std::unique_ptr<System> system;
  {
    const How how("save-fault");
    system = std::make_unique<System>(plan, BootOptions{});
    start(*system);
  }
  expect(reload(*system, "passer_1b"), ReloadOutcome::refused, "VANITY_E_RELOAD",
         "the old program faulted before it was replaced");
  CHECK(soon([&] { return system->segment().shard(1).restarts.get() == 1; }));
  flows(*system);
  expect(reload(*system, "passer_1b"), ReloadOutcome::kept);
  system->stop(false);
  CHECK(soon([&] { return system->state() == SystemState::stopped; }));
  CHECK_EQ(user(*system, 2, "seq_missing"), 0u);
}

TEST(a_new_one_that_faults_later_is_started_anew_itself) {
  if (kThreadSanitized) return;
  Plan plan = line("anew");
  plan.shards[1].watch.backoff_ns = 1'000'000;
  System system(plan, {});
  start(system);
  {
    const How how("late-fault");  // which nothing is handed on to does not
    expect(reload(system, "passer_1b", false, false, 4), ReloadOutcome::kept);
    CHECK(soon([&] { return system.segment().shard(1).restarts.get() == 1; }));
  }
  CHECK_EQ(system.segment().shard(1).generation.get(), 2u);
  flows(system);
  expect(reload(system, "passer_1"), ReloadOutcome::kept);
  system.stop(false);
  CHECK(soon([&] { return system.state() == SystemState::stopped; }));
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

TEST(a_shard_without_a_program_gets_another_one) {
  if (kThreadSanitized) return;
  Plan plan = line("fallen");
  plan.shards[1].watch.on_fault = Policy::hold;
  System system(plan, {});
  start(system);
  {
    const How how("late-fault");
    expect(reload(system, "passer_1b", false, false, 4), ReloadOutcome::kept);
  }
  const auto fallen = [&] { return system.shard(1).state() == ShardState::faulted; };
  CHECK(soon(fallen));
  const ShardRecord& middle = system.segment().shard(1);
  {
    const How how("init-fault");
    expect(reload(system, "passer_1b"), ReloadOutcome::refused, "VANITY_E_RELOAD_FAULT", "init");
  }
  expect(reload(system, "passer_2", false, true), ReloadOutcome::rehearsed);
  {
    // Well in the rehearsal, and not on stage.
    const How how("init-fault-again");
    expect(reload(system, "passer_1b"), ReloadOutcome::refused, "VANITY_E_RELOAD_FAULT",
           "faulted in its init");
  }
  CHECK(soon(fallen));
  CHECK_EQ(middle.restarts.get(), 0u);
  CHECK_EQ(middle.generation.get(), 2u);
  // Another state is no matter: there is none any more.
  ReloadRequest request{1, file("passer_2"), false, false, 4};
  request.options = Options{{"odd", "1"}};
  const ReloadRecord& record = ask(system, request);
  expect(record, ReloadOutcome::kept);
  CHECK_EQ(record.handed.load(), static_cast<uint32_t>(Handed::nothing));
  CHECK_EQ(record.generation.get(), 3u);
  CHECK_EQ(std::string(middle.program), "passer_2.so");
  CHECK_EQ(system.shard(1).options().at("odd"), "1");
  CHECK_EQ(middle.restarts.get(), 1u);
  flows(system);
  // And goes on as any other.
  expect(reload(system, "passer_2m"), ReloadOutcome::kept);
  const uint64_t dropped = middle.dropped_fault.get();
  system.stop(false);
  CHECK(soon([&] { return system.state() == SystemState::stopped; }));
  CHECK_EQ(system.segment().shard(0).sent.get(), user(system, 2, "seq_checked") + dropped);
  CHECK_EQ(user(system, 2, "seq_reordered"), 0u);
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

TEST(who_is_asked_to_leave_its_trial_too_late_stays) {
  if (kThreadSanitized) return;
  System system(line("too-late", "0"), {});
  start(system);
  {
    const How how("busy");  // most of the time in its own code
    expect(reload(system, "passer_1b"), ReloadOutcome::kept);
  }
  Shard& middle = system.shard(1);
  uintptr_t begin;
  uintptr_t end;
  middle.program()->text(&begin, &end);
  for (uint32_t i = 0; i < 3000; ++i) {
    middle.leave_trial(begin);
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  middle.withdraw();
  CHECK_EQ(middle.verdicts().left(), 0u);
  expect(reload(system, "passer_1"), ReloadOutcome::kept);
  ends_whole(system);
}

TEST(drain_waits_until_the_inputs_are_empty) {
  {
    System system(line("drained"), {});
    start(system);
    const ReloadRecord& record = reload(system, "passer_1b", true);
    expect(record, ReloadOutcome::kept);
    ends_whole(system);
  }
  // As fast as there is room: they never are, while the end is held.
  Plan plan = line("never-drained", "0");
  plan.drain_ns = 100'000'000;
  System system(plan, {});
  start(system);
  command_shard(system.segment().path(), 2, Command::hold, 0);
  CHECK(soon([&] { return system.segment().channel(1).blocked.get() != 0; }));
  command_shard(system.segment().path(), 1, Command::hold, 0);
  command_shard(system.segment().path(), 2, Command::run, 0);
  CHECK(soon([&] { return system.shard(1).state() == ShardState::held; }));
  expect(reload(system, "passer_1b", true), ReloadOutcome::refused, "VANITY_E_RELOAD_LATE",
         "its inputs were not empty within [kernel] drain_ms");
  // Held, what waits in its inputs goes on waiting, and is the new one's.
  const ReloadRecord& record = reload(system, "passer_1b");
  expect(record, ReloadOutcome::kept);
  CHECK_EQ(record.trial_bursts.get(), 0u);
  CHECK_EQ(record.switch_received.get(), record.end_received.get());
  command_shard(system.segment().path(), 1, Command::run, 0);
  plan.drain_ns = 0;
  flows(system);
  CHECK_EQ(user(system, 2, "seq_missing") + user(system, 2, "seq_reordered"), 0u);
}

TEST(a_program_that_keeps_packets_is_not_replaced) {
  std::unique_ptr<System> system;
  {
    const How how("keep");
    system = std::make_unique<System>(line("keeps"), BootOptions{});
    start(*system);
  }
  expect(reload(*system, "passer_1b"), ReloadOutcome::refused, "VANITY_E_RELOAD_LATE",
         "always holds packets from one turn to the next (1 just now)");
  flows(*system);
}

TEST(an_idle_shard_is_reloaded_too) {
  Plan plan = line("idle");
  plan.shards[0].options["count"] = "5000";
  System system(plan, {});
  system.start();
  CHECK(soon([&] { return system.shard(2).state() == ShardState::running; }));
  CHECK(soon([&] { return user(system, 2, "seq_checked") == 5000; }));
  const ReloadRecord& record = reload(system, "passer_1b");
  expect(record, ReloadOutcome::kept);
  CHECK_EQ(record.warm_bursts.get(), 0u);
  CHECK_EQ(record.trial_bursts.get(), 0u);
  system.stop(false);
  CHECK(soon([&] { return system.state() == SystemState::stopped; }));
  CHECK_EQ(user(system, 1, "total"), 5000u);
}

TEST(one_reload_at_a_time_and_a_stop_ends_it) {
  if (kThreadSanitized) return;
  System system(line("busy"), {});
  start(system);
  {
    const How how("init-loop");
    ask_reload(system.segment().path(), {1, file("passer_1b"), false, false, 32});
    CHECK(soon([&] {
      return system.segment().reload().state.load() == static_cast<uint32_t>(MailState::working);
    }));
    try {
      ask_reload(system.segment().path(), {1, file("passer_1"), false, false, 32});
      CHECK(!"two at once");
    } catch (const Error& error) {
      CHECK_EQ(std::string(error.code()), "VANITY_E_RELOAD_BUSY");
    }
    // It is still in its loop when the system stops, and is left there.
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    ends_whole(system);
  }
  expect(system.segment().reload(), ReloadOutcome::refused, "VANITY_E_RELOAD_FAULT", "init");
}

TEST(many_reloads_lose_and_reorder_nothing) {
  const bool whole = std::getenv("VANITY_FULL") != nullptr;
  const uint32_t wanted = whole ? 1000 : kSanitized ? 20 : 60;
  System system(line("many"), {});
  start(system);
  for (uint32_t i = 0; i < wanted; ++i) {
    const ReloadRecord& record =
        reload(system, i % 2 == 0 ? "passer_1b" : "passer_1", false, false, 8);
    expect(record, ReloadOutcome::kept);
    CHECK_EQ(record.unaccounted.get(), 0u);
  }
  CHECK_EQ(system.segment().shard(1).generation.get(), wanted + 1u);
  ends_whole(system);
}

TEST(a_description_of_a_state_has_limits) {
  std::vector<std::string> names;
  std::vector<vanity_field> fields;
  for (uint32_t i = 0; i <= limits::kStateFields; ++i) names.push_back("f" + std::to_string(i));
  for (uint32_t i = 0; i <= limits::kStateFields; ++i) {
    fields.push_back({names[i].c_str(), VANITY_TYPE_U64, i * 8, 1, 0});
  }
  vanity_state state{"s", 1, limits::kStateFields, fields.data(), limits::kStateBytes};
  CHECK_EQ(state_problem(state), "");
  ++state.field_count;
  CHECK(state_problem(state).find("1025 fields") != std::string::npos);
  state.field_count = 1;
  ++state.bytes;
  CHECK(state_problem(state).find("67108865 bytes") != std::string::npos);
  state.bytes = 8;
  CHECK_EQ(state_problem(state), "");
  const auto wrong = [&](vanity_field field, const char* text) {
    vanity_field two[] = {fields[0], field};
    state.fields = two;
    state.field_count = 2;
    state.bytes = 64;
    if (state_problem(state).find(text) == std::string::npos) {
      check::fail(__FILE__, __LINE__, text + (": " + state_problem(state)));
    }
  };
  wrong({"f0", VANITY_TYPE_U8, 0, 1, 0}, "two fields are named f0");
  wrong({nullptr, VANITY_TYPE_U8, 0, 1, 0}, "no name");
  wrong({"x", 11, 0, 1, 0}, "no known type");
  wrong({"x", VANITY_TYPE_U8, 0, 0, 0}, "no elements");
  wrong({"x", VANITY_TYPE_U64, 0, 2, 4}, "overlap");
  wrong({"x", VANITY_TYPE_U32, 61, 1, 0}, "ends at 65");
  wrong({"x", VANITY_TYPE_BYTES, 0, 0xffffffff, 0xffffffff}, "ends at");
  const std::string name(limits::kNameBytes + 1, 'n');
  wrong({name.c_str(), VANITY_TYPE_U8, 0, 1, 0}, "no name");
}
