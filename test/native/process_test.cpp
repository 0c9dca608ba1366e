// Shards that are processes of their own: packets flow, whoever dies takes nobody with it, and
// every packet is accounted for, wherever it was killed.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "check.hpp"
#include "kernel/command.hpp"
#include "kernel/mailbox.hpp"
#include "kernel/system.hpp"
#include "lines.hpp"
#include "platform/error.hpp"
#include "sanitized.hpp"
#include "shard/outfit.hpp"

using namespace vanity;

namespace {

ShardPlan apart(ShardPlan plan) {
  plan.isolated = true;
  plan.watch.backoff_ns = 1'000'000;
  plan.watch.max_restarts = 1'000'000;
  plan.watch.window_ns = 1;  // so that no backoff is longer than the first
  return plan;
}

ShardPlan module(const std::string& name, const std::string& file,
                 std::map<std::string, std::string> options = {}) {
  ShardPlan plan = stage(name, std::string(VANITY_MODULES) + "/" + file, std::move(options));
  plan.kind = ProgramKind::native;
  return plan;
}

Plan system_of(const std::string& name, std::vector<ShardPlan> shards) {
  runtime_folder();
  Plan plan;
  plan.name = name;
  plan.process = VANITY_PROCESS;
  plan.oversubscribe = true;
  plan.shards = std::move(shards);
  return plan;
}

void join(Plan& plan, uint32_t from, uint32_t to, Overflow overflow = Overflow::block,
          Layout layout = Layout::bulk) {
  ChannelPlan channel;
  channel.name = plan.shards[from].name + "-" + plan.shards[to].name;
  channel.from = from;
  channel.to = to;
  channel.overflow = overflow;
  channel.layout = layout;
  plan.channels.push_back(channel);
}

Plan pipeline(const std::string& name, std::vector<ShardPlan> shards,
              Overflow overflow = Overflow::block, Layout layout = Layout::bulk) {
  Plan plan = system_of(name, std::move(shards));
  for (uint32_t s = 1; s < plan.shards.size(); ++s) join(plan, s - 1, s, overflow, layout);
  return plan;
}

// Each packet is at its end or dropped with a reason, of each shard, and each buffer is at home.
void expect_balance(System& system) {
  for (uint32_t s = 0; s < system.shard_count(); ++s) {
    const ShardRecord& shard = system.segment().shard(s);
    // What a channel held at the end is counted by the channel alone.
    uint64_t in = s == 0 ? shard.received.get() : 0;
    for (uint32_t c = 0; c < system.plan().channels.size(); ++c) {
      if (system.plan().channels[c].to == s) in += system.segment().channel(c).received.get();
    }
    CHECK_EQ(in,
             shard.sent.get() + shard.consumed.get() + shard.filtered.get() + shard.dropped.get());
  }
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

pid_t process_of(System& system, uint32_t shard) {
  return static_cast<pid_t>(system.segment().shard(shard).tid);
}

uint64_t received(System& system, uint32_t shard) {
  return system.segment().shard(shard).received.get();
}

bool flows(System& system, uint32_t shard, uint64_t packets = 2000) {
  const uint64_t before = received(system, shard);
  return soon([&] { return received(system, shard) > before + packets; });
}

// Kills it at moments of its own choice, and looks each time that it comes back.
void kill_often(System& system, uint32_t shard, uint32_t times) {
  const ShardRecord& record = system.segment().shard(shard);
  for (uint32_t i = 0; i < times; ++i) {
    const uint64_t restarts = record.restarts.get();
    CHECK(flows(system, shard, 500 + i % 40 * 37));
    CHECK_EQ(kill(process_of(system, shard), SIGKILL), 0);
    if (!soon([&] { return record.restarts.get() > restarts; })) {
      check::fail(__FILE__, __LINE__, "did not come back: " + said(system));
    }
  }
}

// What the mailbox answers; empty: it was done.
std::string ask(System& system, const ReloadRequest& request) {
  system.segment().reload().state.fetch_add(0, std::memory_order_acq_rel);  // see reload_test.cpp
  const uint64_t number = ask_reload(system.segment().path(), request);
  const ReloadRecord& record = system.segment().reload();
  CHECK(soon([&] {
    return record.answered.get() == number &&
           record.state.load(std::memory_order_acquire) == static_cast<uint32_t>(MailState::idle);
  }));
  if (record.outcome.load() == static_cast<uint32_t>(ReloadOutcome::kept)) return "";
  return std::string(record.code) + " " + record.message + " (" + record.hint + ")";
}

ReloadRequest grow(std::vector<NewShard> shards, std::vector<NewChannel> channels) {
  ReloadRequest request;
  request.job = Job::grow;
  request.parts.shards = std::move(shards);
  request.parts.channels = std::move(channels);
  return request;
}

ReloadRequest goes(Job job, std::vector<std::string> shards,
                   std::vector<std::string> channels = {}) {
  ReloadRequest request;
  request.job = job;
  request.parts.shard_names = std::move(shards);
  request.parts.channel_names = std::move(channels);
  return request;
}

ReloadRequest rewire(uint32_t shard, std::vector<std::string> channels) {
  ReloadRequest request;
  request.shard = shard;
  request.ends = std::move(channels);
  return request;
}

NewChannel between(const std::string& from, const std::string& to) {
  NewChannel fresh;
  fresh.plan.name = from + "-" + to;
  fresh.plan.overflow = Overflow::block;
  fresh.from = from;
  fresh.to = to;
  return fresh;
}

}  // namespace

TEST(an_act_that_was_not_done_is_taken_back) {
  Journal journal{};
  uint16_t entries[4] = {0, 1, HeldBook::kShared | 2, 1};
  Ledger ledger(&journal);
  ledger.expect(3, 4, entries);
  const auto packet = [](uint32_t index, uint16_t flags = 0) {
    vanity_packet one{};
    one.buffer = 3u << kPoolShift | index;
    one.flags = flags;
    return one;
  };
  // The same buffer more than once, and with several owners, in one act.
  ledger.begin(Act::take, 0, 17);
  ledger.add(packet(0, VANITY_PACKET_SHARED));
  ledger.add(packet(0, VANITY_PACKET_SHARED));
  CHECK_EQ(entries[0], HeldBook::kShared | 2);
  CHECK(journal.act == Act::take && journal.at == 17 && journal.steps == 2);
  ledger.take_back();
  ledger.end();
  CHECK_EQ(entries[0], 0);
  ledger.begin(Act::give, 0, 0);
  for (const uint32_t index : {1, 2, 2, 3}) CHECK(ledger.remove(packet(index).buffer));
  CHECK(!ledger.remove(packet(2).buffer));
  CHECK(!ledger.remove(packet(4).buffer));
  CHECK(!ledger.remove(0));
  ledger.take_back();
  ledger.end();
  CHECK_EQ(entries[1], 1);
  CHECK_EQ(entries[2], HeldBook::kShared | 2);
  CHECK_EQ(entries[3], 1);
  CHECK(journal.act == Act::none);
}

TEST(a_device_stands_still_between_two_processes) {
  RelayWords words;
  const Relay relay(&words);
  uint32_t wish;
  CHECK(relay.answered() && !relay.wish(&wish));
  relay.begin();  // the first one: it runs when the system does
  CHECK(relay.answered());
  relay.leave();
  CHECK(!relay.answered());
  CHECK(relay.wish(&wish) && !Relay::to_run(wish));
  relay.answer(wish);
  CHECK(relay.answered() && !relay.wish(&wish));
  relay.begin();
  CHECK(!relay.answered());
  CHECK(relay.wish(&wish) && Relay::to_run(wish));
  // It ends while the kernel lets the device go on, which then is no answer.
  relay.leave();
  relay.answer(wish);
  CHECK(!relay.answered());
  CHECK(relay.wish(&wish) && !Relay::to_run(wish));
  relay.answer(wish);
  CHECK(relay.answered());
  // And once more before it is through with init: the device is stopped once more.
  relay.leave();
  CHECK(relay.wish(&wish) && !Relay::to_run(wish));
}

TEST(what_a_process_is_granted_arrives_as_it_was) {
  Outfit outfit;
  outfit.files = 2;
  OutfitDevice device;
  device.name = "edu";
  device.file = 0;
  device.record = {1, 64};
  device.words = {2, 128};
  device.registers = {{0, 0x40, 0x80, 0x1040}};
  device.memory = {{"area", {3, 4096}, 4 << 20, {0x1000000, 0x5000000}, 21}};
  device.vectors = {{7, {1, 256}, {2, 192}, 1}};
  outfit.devices = {device};
  const Outfit copy = outfit_from_bytes(outfit_to_bytes(outfit));
  CHECK_EQ(copy.files, 2u);
  const OutfitDevice& got = copy.devices.at(0);
  CHECK_EQ(got.name, "edu");
  CHECK(got.file == 0 && got.record.block == 1 && got.record.offset == 64);
  CHECK(got.words.block == 2 && got.words.offset == 128);
  CHECK(got.registers.at(0).offset == 0x40 && got.registers[0].bytes == 0x80);
  CHECK_EQ(got.registers[0].at, 0x1040u);
  CHECK_EQ(got.memory.at(0).name, "area");
  CHECK(got.memory[0].data.block == 3 && got.memory[0].bytes == 4u << 20);
  CHECK(got.memory[0].pages == device.memory[0].pages && got.memory[0].shift == 21);
  CHECK(got.vectors.at(0).number == 7 && got.vectors[0].words.offset == 192);
  CHECK(got.vectors[0].record.offset == 256 && got.vectors[0].unmask == 1);
}

TEST(packets_flow_through_a_process_and_none_is_lost) {
  for (const Layout layout : {Layout::bulk, Layout::latency}) {
    System system(
        pipeline("flow",
                 {stage("gen", "generate"), apart(stage("mid", "forward")), stage("end", "sink")},
                 Overflow::block, layout),
        {});
    system.start();
    CHECK(flows(system, 2, 100000));
    CHECK(process_of(system, 1) != getpid());
    const pid_t process = process_of(system, 1);
    stop(system);
    CHECK_EQ(received(system, 2), system.segment().shard(0).sent.get());
    CHECK_EQ(system.segment().shard(1).dropped.get(), 0u);
    expect_balance(system);
    CHECK(kill(process, 0) != 0);  // nothing is left behind
  }
}

TEST(each_kind_of_stage_runs_as_a_process_and_so_do_neighbours) {
  Plan plan = system_of(
      "stages", {stage("gen", "generate", {{"flows", "64"}}), apart(stage("split", "flow-split")),
                 apart(stage("left", "count")), apart(stage("right", "mirror")),
                 stage("one", "sink"), apart(stage("two", "sink"))});
  join(plan, 0, 1);
  join(plan, 1, 2);
  join(plan, 1, 3);
  join(plan, 2, 4);
  join(plan, 3, 4);
  join(plan, 3, 5);
  System system(plan, {});
  system.start();
  CHECK(flows(system, 4, 20000));
  CHECK(flows(system, 5, 5000));
  stop(system);
  CHECK_EQ(received(system, 5), received(system, 3));
  CHECK_EQ(system.segment().shard(3).sent.get(), 2 * received(system, 3));
  for (uint32_t s = 0; s < 6; ++s) CHECK_EQ(system.segment().shard(s).dropped.get(), 0u);
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

TEST(one_that_is_killed_comes_back_and_every_packet_is_accounted_for) {
  for (const Layout layout : {Layout::bulk, Layout::latency}) {
    System system(
        pipeline("killed",
                 {stage("gen", "generate"),
                  apart(module("mid", "crasher.so", {{"how", "segv"}, {"after", "1000000000000"}})),
                  stage("end", "sink")},
                 Overflow::block, layout),
        {});
    system.start();
    kill_often(system, 1, 100);
    CHECK(flows(system, 2));
    stop(system);
    CHECK_EQ(system.segment().shard(1).faults.get(), 100u);
    expect_said(system, "its process was killed by SIGKILL");
    expect_balance(system);
    CHECK_EQ(received(system, 1), system.segment().shard(0).sent.get());
    CHECK_EQ(received(system, 2), system.segment().shard(1).sent.get());
  }
}

TEST(stages_that_are_killed_lose_nothing_that_is_not_counted) {
  Plan plan =
      pipeline("killed-stages", {stage("gen", "generate"), apart(stage("mid", "forward")),
                                 apart(stage("next", "count")), apart(stage("end", "sink"))});
  System system(plan, {});
  system.start();
  for (uint32_t round = 0; round < 30; ++round) {
    for (const uint32_t shard : {1, 2, 3}) kill_often(system, shard, 1);
  }
  CHECK(flows(system, 3));
  stop(system);
  expect_balance(system);
}

TEST(a_wedged_neighbour_does_not_notice) {
  Plan plan = system_of(
      "beside", {stage("gen", "generate"), stage("split", "flow-split"),
                 apart(stage("bad", "count")), stage("good", "sink"), stage("end", "sink")});
  plan.shards[0].options = {{"flows", "64"}};
  join(plan, 0, 1);
  join(plan, 1, 2, Overflow::drop);
  join(plan, 1, 3);
  join(plan, 2, 4);
  System system(plan, {});
  system.start();
  CHECK(flows(system, 4));
  // Neither killed nor alive.
  CHECK_EQ(kill(process_of(system, 2), SIGSTOP), 0);
  CHECK(flows(system, 3, 50000));
  CHECK_EQ(kill(process_of(system, 2), SIGKILL), 0);
  CHECK(soon([&] { return system.segment().shard(2).restarts.get() == 1; }));
  CHECK(flows(system, 4));
  CHECK(flows(system, 3, 50000));
  stop(system);
  expect_balance(system);
}

TEST(every_kind_of_fault_ends_its_process_only) {
  const std::vector<std::pair<const char*, const char*>> kinds = {
      {"segv", "SIGSEGV at address 0x0, in misbehave"},
      {"fpe", "SIGFPE, in misbehave"},
      {"ill", "SIGILL, in misbehave"},
      {"throw", "it threw an exception: no such flow"},
      {"double", "it gave away a packet that it does not hold"},
      {"made-up", "it gave away a packet that it does not hold"},
      {"abort", "SIGABRT"},
      {"terminate", "SIGABRT"},
      {"stack", "its stack is full"},
  };
  for (const auto& [how, text] : kinds) {
    if (kSanitized && std::string(how) == "stack") continue;
    ShardPlan crasher = apart(module("crasher", "crasher.so", {{"how", how}, {"after", "5000"}}));
    System system(pipeline(std::string("crash-") + how,
                           {stage("gen", "generate"), crasher, stage("end", "sink")}),
                  {});
    const ShardRecord& record = system.segment().shard(1);
    system.start();
    if (!soon([&] { return record.restarts.get() >= 2; })) {
      check::fail(__FILE__, __LINE__, std::string(how) + ": did not come back: " + said(system));
    }
    stop(system);
    expect_said(system, text);
    if (std::string(how) != "throw") expect_said(system, "(crasher.so)");
    expect_balance(system);
  }
}

TEST(one_that_dies_too_often_is_given_up_and_can_be_started_by_hand) {
  Plan plan = pipeline(
      "gave-up", {stage("gen", "generate"), apart(stage("mid", "forward")), stage("end", "sink")},
      Overflow::drop);
  plan.shards[1].watch.max_restarts = 2;
  plan.shards[1].watch.window_ns = 60'000'000'000;
  System system(plan, {});
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  kill_often(system, 1, 2);
  CHECK(flows(system, 1));
  kill(process_of(system, 1), SIGKILL);
  CHECK(soon([&] { return said(system).find("it is given up") != std::string::npos; }));
  CHECK(system.shard(1).state() == ShardState::faulted);
  command_shard(system.segment().path(), 1, Command::restart, 0);
  CHECK(soon([&] { return record.restarts.get() == 3; }));
  CHECK(flows(system, 2));
  stop(system);
  expect_balance(system);
}

TEST(it_obeys_hold_release_and_restart) {
  System system(pipeline("obeys", {stage("gen", "generate"), apart(stage("mid", "forward")),
                                   stage("end", "sink")}),
                {});
  system.start();
  CHECK(flows(system, 2));
  command_shard(system.segment().path(), 1, Command::hold, 0);
  CHECK(soon([&] { return system.shard(1).state() == ShardState::held; }));
  const uint64_t held = received(system, 1);
  usleep(20000);
  CHECK_EQ(received(system, 1), held);
  command_shard(system.segment().path(), 1, Command::run, 0);
  CHECK(flows(system, 2));
  const pid_t before = process_of(system, 1);
  command_shard(system.segment().path(), 1, Command::restart, 0);
  CHECK(soon([&] { return system.segment().shard(1).restarts.get() == 1; }));
  CHECK(flows(system, 2));
  CHECK(process_of(system, 1) != before);
  CHECK_EQ(system.segment().shard(1).faults.get(), 0u);
  stop(system);
  expect_balance(system);
}

// What no thread can be: it neither comes back, nor is it at an instruction of its own.
TEST(a_process_that_does_not_come_back_is_started_anew) {
  Plan plan =
      pipeline("endless",
               {stage("gen", "generate"), apart(module("mid", "sleeper.so", {{"ms", "100000"}})),
                stage("end", "sink")},
               Overflow::drop);
  plan.shards[1].watch.progress_ns = 50'000'000;
  plan.shards[1].watch.on_progress = Policy::restart;
  System system(plan, {});
  system.start();
  CHECK(soon([&] { return system.segment().shard(1).restarts.get() >= 1; }));
  stop(system, SystemState::failed);  // each new one sleeps again
  expect_said(system, "VANITY_W_SHARD_STALLED");
  expect_balance(system);
}

// Neither of the two has an end of the other's channels, and both may hold the same packets.
TEST(others_come_and_go_beside_a_process) {
  System system(pipeline("grows", {stage("gen", "generate"), stage("copy", "mirror"),
                                   apart(stage("mid", "forward")), stage("end", "sink")}),
                {});
  system.start();
  uint64_t copies = 0;
  for (uint32_t round = 0; round < 3; ++round) {
    CHECK_EQ(ask(system, grow({{stage("tap", "sink"), ""}}, {between("copy", "tap")})), "");
    CHECK_EQ(ask(system, rewire(1, {"gen-copy", "copy-mid", "copy-tap"})), "");
    CHECK(flows(system, 4));
    kill_often(system, 2, 5);
    CHECK(flows(system, 4));
    CHECK_EQ(ask(system, rewire(1, {"gen-copy", "copy-mid"})), "");
    CHECK_EQ(ask(system, goes(Job::end, {"tap"})), "");
    copies += system.segment().channel(3).received.get();
    CHECK_EQ(ask(system, goes(Job::free, {"tap"}, {"copy-tap"})), "");
    kill_often(system, 2, 5);
    CHECK(flows(system, 3));
  }
  stop(system);
  // A shared buffer may stay away that it let go of when it was killed; no packet does.
  CHECK_EQ(system.segment().channel(1).received.get() + copies,
           system.segment().shard(1).sent.get());
  const ShardRecord& mid = system.segment().shard(2);
  CHECK_EQ(mid.received.get(), mid.sent.get() + mid.dropped.get());
}

// One that has made packets for it goes, and what is handed to the next one still holds.
TEST(a_source_of_its_packets_goes) {
  Plan plan = system_of(
      "fewer", {stage("gen", "generate"), module("second", "numberer.so", {{"buffers", "2048"}}),
                stage("join", "forward"), apart(stage("end", "sink"))});
  join(plan, 0, 2);
  join(plan, 1, 2);
  join(plan, 2, 3);
  System system(plan, {});
  system.start();
  CHECK(flows(system, 3));
  kill_often(system, 3, 5);
  CHECK_EQ(ask(system, goes(Job::end, {"second"})), "");
  CHECK_EQ(ask(system, rewire(2, {"gen-join", "join-end"})), "");
  CHECK_EQ(ask(system, goes(Job::free, {"second"}, {"second-join"})), "");
  kill_often(system, 3, 5);
  // Its buffers would be reached by a process that has been handed others.
  const std::string said =
      ask(system, grow({{module("third", "numberer.so", {{"buffers", "2048"}}), ""}},
                       {between("third", "join")}));
  CHECK(said.find("packets of shard third would come by it: shard end is a process of its own") !=
        std::string::npos);
  CHECK(flows(system, 3));
  stop(system);
  const ShardRecord& end = system.segment().shard(3);
  CHECK_EQ(end.faults.get(), 10u);  // those kills: nothing was posted to it that it cannot read
  CHECK_EQ(end.received.get(), end.consumed.get() + end.dropped.get());
  CHECK_EQ(system.segment().shard(2).sent.get(), end.received.get());
  for (const auto& pool : system.pools()) CHECK_EQ(pool == nullptr ? 0 : pool->missing(), 0u);
}

TEST(nothing_comes_to_a_process_that_runs_and_nothing_goes_from_it) {
  System system(pipeline("stays", {stage("gen", "generate"), apart(stage("mid", "forward")),
                                   stage("end", "sink")}),
                {});
  system.start();
  CHECK(flows(system, 2));
  const auto refused = [&](const ReloadRequest& request, const std::string& why) {
    const std::string text = ask(system, request);
    if (text.find("VANITY_E_RELOAD ") == 0 && text.find(why) != std::string::npos) return;
    check::fail(__FILE__, __LINE__, "expected " + why + ", said " + text);
  };
  const std::string whose = "is a process of its own, whose channels are those it began with";
  refused(grow({{apart(stage("more", "sink")), ""}}, {}),
          "a process of its own begins with the system (start the system with it: vanity run)");
  refused(grow({{stage("more", "sink"), ""}}, {between("mid", "more")}), "shard mid " + whose);
  refused(grow({}, {between("end", "mid")}), "shard mid " + whose);
  refused(goes(Job::end, {"mid"}), "a process of its own ends with the system");
  refused(goes(Job::free, {}, {"gen-mid"}), "shard mid " + whose);
  refused(goes(Job::free, {}, {"mid-end"}), "shard mid " + whose);
  // The same channels are a handover too, of which nothing may reach it.
  const std::string keeps = "which keeps its program and its channels";
  refused(rewire(1, {"gen-mid", "mid-end"}), keeps);
  refused(rewire(1, {"gen-mid"}), keeps);
  ReloadRequest reload;
  reload.shard = 1;
  reload.path = std::string(VANITY_MODULES) + "/passer_1.so";
  refused(reload, keeps);
  reload.path = "count";
  refused(reload, keeps);
  CHECK(flows(system, 2));
  CHECK_EQ(system.segment().shard(1).faults.get(), 0u);
  stop(system);
  expect_balance(system);
}

TEST(what_a_process_cannot_have_is_refused) {
  const auto refused = [](Plan plan, const std::string& why) {
    try {
      System system(plan, {});
    } catch (const Error& error) {
      CHECK_EQ(std::string(error.code()), "VANITY_E_PLAN");
      if (std::string(error.what()).find(why) != std::string::npos) return;
      check::fail(__FILE__, __LINE__, error.what());
    }
    check::fail(__FILE__, __LINE__, "not refused: " + why);
  };
  const auto plan = [](ShardPlan shard) {
    return pipeline("refused", {std::move(shard), stage("end", "sink")});
  };
  refused(plan(apart(stage("gen", "generate"))), "it makes packets");
  refused(plan(apart(module("own", "crasher.so", {{"buffers", "64"}}))), "buffers of its own");
  ShardPlan script = apart(stage("script", "/nonexistent.js"));
  script.kind = ProgramKind::typescript;
  refused(plan(script), "it runs TypeScript");
  ShardPlan crash = apart(stage("crash", "count"));
  crash.watch.on_fault = Policy::report;
  refused(plan(crash), "nothing contains its faults");
  Plan port = plan(apart(stage("rx", "port-rx")));
  PortPlan capture;
  capture.name = "in";
  capture.driver = "capture";
  capture.file = "/nonexistent.pcap";
  capture.rx = {0};
  port.ports.push_back(capture);
  refused(port, "it works port in");
  Plan shared = plan(apart(stage("count", "count")));
  DevicePlan device;
  device.name = "edu";
  device.address = "0000:00:00.0";
  device.mmio = {{0, 0, 4096, 0}};
  device.dma = {{"area", 4096, 64, 1}};
  shared.devices = {device};
  refused(shared, "it shares device edu, which is stopped when it ends");
  Plan carried = plan(apart(stage("count", "count")));
  carried.threads = 1;
  refused(carried, "wake nobody in a process");
}

TEST(what_cannot_begin_says_why) {
  {
    System system(pipeline("no-module", {stage("gen", "generate"),
                                         apart(module("mid", "future.so")), stage("end", "sink")}),
                  {});
    system.start();
    CHECK(soon([&] { return system.state() == SystemState::failed; }));
    expect_said(system, "VANITY_E_PROGRAM_ABI");
  }
  Plan plan = pipeline("no-process", {stage("gen", "generate"), apart(stage("mid", "forward")),
                                      stage("end", "sink")});
  plan.process = "/nonexistent/vanity-shard";
  System system(plan, {});
  system.start();
  CHECK(soon([&] { return system.state() == SystemState::failed; }));
  expect_said(system, "VANITY_E_PROCESS");
}

TEST(a_process_that_was_started_ends_with_the_one_that_started_it) {
  runtime_folder();
  int ends[2];
  CHECK_EQ(pipe(ends), 0);
  const pid_t other = fork();
  if (other == 0) {
    System system(pipeline("orphan", {stage("gen", "generate"), apart(stage("mid", "forward")),
                                      stage("end", "sink")}),
                  {});
    system.start();
    soon([&] { return received(system, 2) > 1000; });
    const pid_t process = process_of(system, 1);
    if (write(ends[1], &process, sizeof(process)) < 0) _exit(1);
    pause();
    _exit(0);
  }
  pid_t process = 0;
  CHECK_EQ(read(ends[0], &process, sizeof(process)), static_cast<ssize_t>(sizeof(process)));
  CHECK(process > 0);
  CHECK_EQ(kill(process, 0), 0);
  CHECK_EQ(kill(other, SIGKILL), 0);
  int status;
  waitpid(other, &status, 0);
  // Somebody else takes it down, and may take its time: what counts is that it runs no more.
  const auto gone = [&] {
    std::ifstream file("/proc/" + std::to_string(process) + "/stat");
    std::string text;
    return !std::getline(file, text) || text.find(") Z ") != std::string::npos;
  };
  CHECK(soon(gone));
}
