// Programs that fault, in every way and at every place of a pipeline, under load: the others go on,
// every packet is accounted for, and the program comes back.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "check.hpp"
#include "kernel/command.hpp"
#include "kernel/system.hpp"
#include "lines.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "sanitized.hpp"
#include "vanity/events.hpp"

using namespace vanity;

namespace {

ShardPlan crasher(const std::string& how, uint64_t after,
                  std::map<std::string, std::string> more = {}) {
  ShardPlan plan = stage("crasher", std::string(VANITY_MODULES) + "/crasher.so", std::move(more));
  plan.kind = ProgramKind::native;
  plan.options["how"] = how;
  plan.options["after"] = std::to_string(after);
  plan.watch.backoff_ns = 1'000'000;
  plan.watch.max_restarts = 1'000'000;
  return plan;
}

// Each packet is forwarded to the end, or dropped with a reason; each buffer is at home.
void expect_balance(System& system, uint64_t made) {
  uint64_t dropped = 0;
  uint64_t ended = 0;
  for (uint32_t s = 0; s < system.shard_count(); ++s) {
    dropped += system.segment().shard(s).dropped.get();
    ended += system.segment().shard(s).consumed.get();
  }
  CHECK_EQ(ended + dropped, made);
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

// In the middle of a pipeline: its neighbours go on, and so does it.
void survives(const std::string& how, const std::string& text, const std::string& place) {
  std::vector<ShardPlan> shards;
  uint32_t at = 1;
  if (place == "middle") {
    shards = {stage("gen", "generate"), crasher(how, 5000), stage("end", "sink")};
  } else if (place == "end") {
    shards = {stage("gen", "generate"), stage("mid", "forward"), crasher(how, 5000)};
    at = 2;
  } else {
    shards = {crasher(how, 5000, {{"buffers", "256"}}), stage("mid", "forward"),
              stage("end", "sink")};
    at = 0;
  }
  System system(line("fault-" + how + "-" + place, shards), {});
  ShardRecord& record = system.segment().shard(at);
  system.start();
  if (!soon([&] { return record.restarts.get() >= 3; })) {
    check::fail(__FILE__, __LINE__, how + " " + place + ": did not come back: " + said(system));
  }
  stop(system);
  CHECK(record.faults.get() >= 3);
  CHECK(record.dropped_fault.get() != 0 || how == "double" || how == "receive");
  expect_said(system, text);
  if (how != "throw") expect_said(system, "(crasher.so)");
  // What a source allocates is made by nobody else: it counts as what its pool gave.
  const uint64_t made =
      at == 0 ? system.segment().pool(0).taken.get() : system.segment().shard(0).sent.get();
  expect_balance(system, made);
}

}  // namespace

// The first of this process that loads the module.
TEST(a_new_start_has_static_memory_of_its_own) {
  System system(line("fresh", {stage("gen", "generate"), crasher("segv", 1000, {{"strict", "1"}}),
                               stage("end", "sink")}),
                {});
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  CHECK(soon([&] { return record.restarts.get() >= 3; }));
  stop(system);
  CHECK_EQ(record.user[0].value.get(), record.restarts.get() + 1);  // of init
  expect_balance(system, system.segment().shard(0).sent.get());
}

TEST(every_kind_of_fault_at_every_place) {
  const std::vector<std::pair<const char*, const char*>> kinds = {
      {"segv", "SIGSEGV at address 0x0, in misbehave"},
      {"fpe", "SIGFPE, in misbehave"},
      {"ill", "SIGILL, in misbehave"},
      {"bus", "SIGBUS"},
      {"throw", "it threw an exception: no such flow"},
      {"double", "it gave away a packet that it does not hold"},
      {"made-up", "it gave away a packet that it does not hold"},
      {"receive", "SIGSEGV at address 0x10"},
      {"abort", "SIGABRT"},
      {"terminate", "SIGABRT"},
      {"stack", "its stack is full"},
  };
  for (const auto& [how, text] : kinds) {
    if (kSanitized && (std::string(how) == "stack")) continue;
    for (const char* place : {"middle", "end", "beginning"}) {
      // What receives nothing is given nothing to write.
      if (std::string(how) == "receive" && std::string(place) == "beginning") continue;
      survives(how, text, place);
    }
  }
  survives("pointer", "SIGSEGV at address 0x10", "middle");
}

TEST(one_that_faults_too_often_is_given_up_and_the_rest_runs_on) {
  Plan plan =
      line("given-up", {stage("gen", "generate"), crasher("segv", 1000), stage("end", "sink")},
           Overflow::drop);
  plan.shards[1].watch.max_restarts = 2;
  System system(plan, {});
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  CHECK(soon([&] { return record.faults.get() == 3; }));
  CHECK(soon([&] { return said(system).find("it is given up") != std::string::npos; }));
  CHECK_EQ(record.restarts.get(), 2u);
  CHECK(system.shard(1).state() == ShardState::faulted);
  const uint64_t sent = system.segment().shard(0).received.get();
  CHECK(soon([&] { return system.segment().shard(0).received.get() > sent + 10000; }));
  // Started by hand, it goes on until it faults again.
  command_shard(system.segment().path(), 1, Command::restart, 0);
  CHECK(soon([&] { return record.restarts.get() == 3 && record.faults.get() == 4; }));
  CHECK(soon([&] {
    const std::string all = said(system);
    return all.find("given up") != all.rfind("given up");
  }));
  stop(system, SystemState::failed);
  expect_said(system, "VANITY_E_PROGRAM_FAULT");
  expect_balance(system, system.segment().shard(0).received.get());
}

TEST(hold_and_stop_system_are_policies_of_a_fault) {
  Plan plan =
      line("fault-hold", {stage("gen", "generate"), crasher("segv", 1000), stage("end", "sink")},
           Overflow::drop);
  plan.shards[1].watch.on_fault = Policy::hold;
  {
    System system(plan, {});
    system.start();
    CHECK(soon([&] { return said(system).find("it is given up") != std::string::npos; }));
    CHECK_EQ(system.segment().shard(1).restarts.get(), 0u);
    stop(system, SystemState::failed);
    expect_balance(system, system.segment().shard(0).received.get());
  }
  plan.name = "fault-stop";
  plan.shards[1].watch.on_fault = Policy::stop_system;
  System system(plan, {});
  system.start();
  CHECK(soon([&] { return system.state() == SystemState::failed; }));
  expect_said(system, "VANITY_E_PROGRAM_FAULT");
  expect_balance(system, system.segment().shard(0).received.get());
}

TEST(a_restart_that_was_due_is_none_of_a_later_fault) {
  Plan plan = line("fault-due", {stage("gen", "generate", {{"rate", "200000"}}),
                                 crasher("segv", 60000), stage("end", "sink")});
  plan.shards[1].watch.on_fault = Policy::hold;
  plan.shards[1].watch.backoff_ns = 1'500'000'000;
  System system(plan, {});
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  CHECK(soon([&] { return record.received.get() != 0; }));
  // Left because it was asked to: it is due in a while, and does not wait for that.
  command_shard(system.segment().path(), 1, Command::restart, 0);
  CHECK(soon([&] { return system.shard(1).state() == ShardState::faulted; }));
  command_shard(system.segment().path(), 1, Command::restart, 0);
  CHECK(soon([&] { return record.restarts.get() == 1; }));
  CHECK(soon([&] { return said(system).find("it is given up") != std::string::npos; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(2000));
  CHECK_EQ(record.restarts.get(), 1u);
  CHECK(system.shard(1).state() == ShardState::faulted);
  stop(system, SystemState::failed);
}

TEST(without_containment_a_fault_ends_the_process) {
  const pid_t child = fork();
  if (child == 0) {
    Plan plan = line("crash", {stage("gen", "generate"), crasher("segv", 1000)});
    plan.shards[1].watch.on_fault = Policy::report;
    try {
      System system(plan, {});
      system.start();
      soon([] { return false; });
    } catch (const std::exception&) {
    }
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  if (kSanitized) {
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
  } else {
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  }
}

TEST(a_fault_of_the_runtimes_own_is_not_contained) {
  // A handler that was there before hears of what is nobody's program's.
  const pid_t child = fork();
  if (child == 0) {
    Plan plan = line("own", {stage("gen", "generate"), stage("end", "sink")});
    try {
      System system(plan, {});
      class Broken : public Program {
       public:
        uint32_t poll(Shard&) noexcept override {
          *static_cast<volatile int*>(nullptr) = 1;
          return 0;
        }
      };
      system.shard(1).set_program(std::make_unique<Broken>());
      system.start();
      soon([] { return false; });
    } catch (const std::exception&) {
    }
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

TEST(a_program_that_does_not_come_back_is_left) {
  for (const char* how : {"loop", "calls"}) {
    Plan plan = line(std::string("stuck-") + how,
                     {stage("gen", "generate"), crasher(how, 5000), stage("end", "sink")});
    plan.shards[1].watch.progress_ns = 20'000'000;
    plan.shards[1].watch.on_progress = Policy::restart;
    plan.drain_ns = 100'000'000;
    System system(plan, {});
    system.start();
    const ShardRecord& record = system.segment().shard(1);
    if (!soon([&] { return record.restarts.get() >= 3; })) {
      check::fail(__FILE__, __LINE__, std::string(how) + ": not left: " + said(system));
    }
    system.stop(false);  // it may well be in its loop again
    CHECK(soon([&] {
      return system.state() == SystemState::stopped || system.state() == SystemState::failed;
    }));
    CHECK(record.stalls.get() >= 3);
    expect_said(system, "its program runs");
    expect_said(system, "(crasher.so)");
    expect_balance(system, system.segment().shard(0).received.get());
  }
}

TEST(what_waits_for_a_full_ring_at_a_restart_is_dropped_by_it) {
  System system(
      line("full-restart", {stage("gen", "generate"), crasher("never", 0), stage("end", "sink")}),
      {});
  const std::string path = system.segment().path();
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  CHECK(soon([&] { return record.sent.get() > 1000; }));
  command_shard(path, 2, Command::hold, 0);
  // It is in its send, and was now and then before the end was held.
  CHECK(soon([&] {
    const uint64_t before = record.polls.get();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return record.polls.get() == before;
  }));
  command_shard(path, 1, Command::restart, 0);
  CHECK(soon([&] { return record.restarts.get() == 1; }));
  command_shard(path, 2, Command::run, 0);
  stop(system);
  CHECK_EQ(record.dropped.get(), 32u);
  CHECK_EQ(record.dropped_fault.get(), 32u);
  expect_balance(system, system.segment().shard(0).received.get());
}

// Two programs that fault in every way, and an operator who holds, steps, releases and restarts at
// random: in the end every packet was forwarded or dropped with a reason.
TEST(a_soak_of_random_faults_leaves_no_packet_unaccounted) {
  const bool whole = std::getenv("VANITY_FULL") != nullptr;
  const uint64_t wanted = whole ? 10'000 : kSanitized ? 60 : 300;
  // Each start leaves a copy of its module, and its descriptor.
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  std::vector<ShardPlan> shards = {stage("gen", "generate"), crasher("any", 3000),
                                   crasher("any", 2000), stage("end", "sink")};
  shards[1].name = "one";
  shards[2].name = "two";
  for (uint32_t s : {1u, 2u}) {
    shards[s].watch.backoff_ns = 0;
    shards[s].watch.max_restarts = 1'000'000;
  }
  System system(line("soak", shards), {});
  const std::string path = system.segment().path();
  system.start();
  const auto faults = [&] {
    return system.segment().shard(1).faults.get() + system.segment().shard(2).faults.get();
  };
  uint64_t random = 88172645463325252;
  uint64_t orders = 0;
  uint64_t restarts = 0;
  const uint64_t until = monotonic_ns() + 600'000'000'000;
  while (faults() < wanted && monotonic_ns() < until) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    const auto shard = static_cast<uint32_t>(random % 4);
    command_shard(path, shard, Command::hold, random % 3);
    std::this_thread::sleep_for(std::chrono::microseconds(random % 2000));
    // Each start leaves a copy of the module: there is room for so many, beside those of the
    // faults.
    const bool restart =
        random % 5 == 0 && (shard == 1 || shard == 2) && restarts < limits::kModuleCopies / 50;
    restarts += restart ? 1 : 0;
    command_shard(path, shard, restart ? Command::restart : Command::run, 0);
    std::this_thread::sleep_for(std::chrono::microseconds(random % 3000));
    ++orders;
  }
  const uint64_t all = faults();
  for (uint32_t s = 0; s < 4; ++s) command_shard(path, s, Command::run, 0);
  stop(system);
  if (all < wanted) check::fail(__FILE__, __LINE__, "only " + std::to_string(all) + " faults");
  std::printf("# %llu faults and %llu orders, %llu packets, %llu dropped by faults\n",
              static_cast<unsigned long long>(all), static_cast<unsigned long long>(orders),
              static_cast<unsigned long long>(system.segment().shard(0).sent.get()),
              static_cast<unsigned long long>(system.segment().shard(1).dropped_fault.get() +
                                              system.segment().shard(2).dropped_fault.get()));
  expect_balance(system, system.segment().shard(0).received.get());
}

namespace {

// What was kept of the events of a shard: four words each.
std::vector<uint64_t> kept_of(System& system, uint32_t shard) {
  const EventsRecord& record = system.segment().events(shard);
  std::vector<uint64_t> words(size_t{EventsRecord::kFaultSlots} * 4);
  const CopiedEvents copied = copy_events(record.fault_events_written, record.fault_events,
                                          EventsRecord::kFaultSlots, 0, words.data());
  words.resize(copied.count * 4);
  return words;
}

EventKind kind_of(const std::vector<uint64_t>& events, size_t n) {
  return static_cast<EventKind>(events[n * 4 + 1] & 0xff);
}

}  // namespace

TEST(a_fault_keeps_the_events_before_it) {
  std::vector<ShardPlan> shards = {stage("source", "generate"), crasher("segv", 20000),
                                   stage("end", "sink")};
  shards[1].watch.max_restarts = 0;  // one fault, and no more
  shards[1].trace = true;
  System system(line("kept", std::move(shards)), {});
  const ShardRecord& record = system.segment().shard(1);
  system.start();
  const auto down = [&](uint64_t times) {
    return soon([&] {
      return record.faults.get() == times && system.shard(1).state() == ShardState::faulted;
    });
  };
  CHECK(down(1));
  const std::vector<uint64_t> events = kept_of(system, 1);
  const size_t last = events.size() / 4 - 1;
  CHECK_EQ(last + 1, size_t{limits::kFaultEvents});
  // The burst that it fell over, and how.
  CHECK(kind_of(events, last - 1) == EventKind::receive);
  CHECK(kind_of(events, last) == EventKind::fault);
  CHECK_EQ(events[last * 4 + 1] >> 32, uint64_t{SIGSEGV});
  CHECK_EQ(events[last * 4 + 2], 0u);  // where it wrote to
  CHECK(events[last * 4 + 3] != 0);
  CHECK(soon(
      [&] { return said(system).find("vanity trace kept crasher --fault") != std::string::npos; }));
  // What came since is kept with the next fault, and nothing twice.
  const uint64_t written = system.segment().events(1).fault_events_written.get();
  command_shard(system.segment().path(), 1, Command::restart, 0);
  CHECK(down(2));
  CHECK(system.segment().events(1).fault_events_written.get() > written);
  const std::vector<uint64_t> more = kept_of(system, 1);
  for (size_t n = 1; n < more.size() / 4; ++n) CHECK(more[n * 4] >= more[(n - 1) * 4]);
  system.stop(false);
  CHECK(soon([&] { return system.state() != SystemState::running; }));
}
