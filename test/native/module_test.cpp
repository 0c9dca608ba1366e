// Native programs through the C ABI: what is refused, messages, watermarks, decided overflow,
// leaks.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "check.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "runtime_folder.hpp"
#include "shard/module.hpp"

#if defined(__SANITIZE_THREAD__)
// A thread that never returns is left behind on purpose here.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "report_thread_leaks=0";
}
#endif

using namespace vanity;

namespace {

std::string module(const char* name) {
  return std::string(VANITY_MODULES) + "/" + name + ".so";
}

ShardPlan native(const std::string& name, const char* file,
                 std::map<std::string, std::string> options = {}) {
  ShardPlan plan;
  plan.name = name;
  plan.kind = ProgramKind::native;
  plan.program = module(file);
  plan.options = std::move(options);
  return plan;
}

ShardPlan stage(const std::string& name, const char* program,
                std::map<std::string, std::string> options = {}) {
  ShardPlan plan;
  plan.name = name;
  plan.program = program;
  plan.options = std::move(options);
  return plan;
}

ChannelPlan link(const std::string& name, Overflow overflow) {
  ChannelPlan plan;
  plan.name = name;
  plan.to = 1;
  plan.overflow = overflow;
  return plan;
}

Plan plan_of(const std::string& name, std::vector<ShardPlan> shards, ChannelPlan channel) {
  runtime_folder();
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;
  plan.drain_ns = 500'000'000;
  plan.shards = std::move(shards);
  plan.channels = {std::move(channel)};
  return plan;
}

template <class Done>
bool until(Done&& done) {
  for (int i = 0; i < 20000; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

bool over(System& system) {
  return system.state() == SystemState::stopped || system.state() == SystemState::failed;
}

uint64_t user(System& system, uint32_t shard, const std::string& name) {
  for (const DynamicCounter& counter : system.segment().shard(shard).user) {
    if (name == counter.name) return counter.value.get();
  }
  return UINT64_MAX;  // not named yet
}

std::string refusal(const Plan& plan) {
  try {
    System system(plan, {});
  } catch (const Error& error) {
    return error.code();
  }
  return "booted";
}

std::string failure(System& system) {
  const auto failures = system.failures();
  return failures.empty() ? "none" : failures.front().code;
}

}  // namespace

TEST(what_is_not_a_program_is_refused_and_says_why) {
  const ChannelPlan channel = link("c", Overflow::drop);
  CHECK_EQ(refusal(plan_of("m", {native("a", "future"), stage("b", "sink")}, channel)),
           "VANITY_E_PROGRAM_ABI");
  CHECK_EQ(refusal(plan_of("m", {native("a", "nothing"), stage("b", "sink")}, channel)),
           "VANITY_E_PROGRAM_LOAD");
  CHECK_EQ(refusal(plan_of("m", {native("a", "is-not-there"), stage("b", "sink")}, channel)),
           "VANITY_E_PROGRAM_LOAD");
  CHECK_EQ(refusal(plan_of("m", {stage("a", "generate", {{"size", "59"}}), stage("b", "sink")},
                           channel)),
           "VANITY_E_OPTION");
  CHECK_EQ(refusal(plan_of("m", {stage("a", "no-such-stage"), stage("b", "sink")}, channel)),
           "VANITY_E_PROGRAM");
}

TEST(an_init_that_fails_stops_the_system_with_its_number) {
  System system(
      plan_of("m", {native("a", "writer"), stage("b", "sink")}, link("c", Overflow::drop)), {});
  system.start();
  CHECK(until([&] { return over(system); }));
  CHECK_EQ(failure(system), "VANITY_E_PROGRAM_INIT");
  CHECK(system.failures().front().message.find("init returned 7") != std::string::npos);
}

// In a process of its own, which they fill.
TEST(copies_of_modules_end_before_the_mappings_of_a_process) {
  const bool whole = std::getenv("VANITY_FULL") != nullptr;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  if (!whole || files.rlim_max < limits::kModuleCopies + 100) {
    std::puts("# skipped: takes VANITY_FULL=1, and as many files");
    return;
  }
  const pid_t child = fork();
  if (child == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    uint32_t loaded = 0;
    std::string said;
    try {
      for (;; ++loaded) Module(module("hoarder"), {}, Module::File::copy);
    } catch (const Error& error) {
      said = error.what();
    }
    std::printf("# %u copies, then: %s\n", loaded, said.c_str());
    std::fflush(stdout);
    // Linux has room for what else the process does.
    const bool room =
        mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
    const bool told = said.find("has loaded 11000 copies of modules") != std::string::npos;
    _exit(loaded == limits::kModuleCopies && told && room ? 0 : 1);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(messages_arrive_whole_and_in_order_in_both_layouts) {
  for (const Layout layout : {Layout::bulk, Layout::latency}) {
    ChannelPlan channel = link("records", Overflow::program);
    channel.packets = false;
    channel.element_bytes = 64;
    channel.layout = layout;
    channel.capacity = 64;
    System system(
        plan_of("m", {native("a", "writer", {{"count", "20000"}}), native("b", "reader")}, channel),
        {});
    system.start();
    CHECK(until([&] { return user(system, 1, "seen") == 20000; }));
    system.stop(false);
    CHECK(until([&] { return over(system); }));
    CHECK_EQ(failure(system), "none");
    CHECK_EQ(user(system, 1, "wrong"), 0u);
    CHECK_EQ(system.segment().channel(0).sent.get(), 20000u);
    CHECK_EQ(system.segment().channel(0).received.get(), 20000u);
  }
}

TEST(watermarks_are_counted_and_told_to_the_producer) {
  ChannelPlan channel = link("records", Overflow::program);
  channel.packets = false;
  channel.element_bytes = 64;
  channel.capacity = 64;
  channel.high_watermark = 48;
  channel.low_watermark = 16;
  System system(
      plan_of("m",
              {native("a", "writer", {{"count", "20000"}}), native("b", "reader", {{"slow", "1"}})},
              channel),
      {});
  system.start();
  CHECK(until([&] { return user(system, 1, "seen") == 20000; }));
  const ChannelRecord& record = system.segment().channel(0);
  // The fall to the low watermark is told although the writer sends no more.
  CHECK(until([&] { return record.low_watermark.get() == record.high_watermark.get(); }));
  system.stop(false);
  CHECK(until([&] { return over(system); }));
  CHECK(record.high_watermark.get() > 0);
  CHECK_EQ(record.high_watermark.get(), user(system, 0, "high"));
  CHECK_EQ(record.low_watermark.get(), user(system, 0, "low"));
  CHECK(record.depth_max.get() >= 48);
}

TEST(a_program_that_waits_for_room_does_not_sleep_through_it) {
  ChannelPlan channel = link("records", Overflow::program);
  channel.packets = false;
  channel.element_bytes = 64;
  channel.capacity = 8;
  Plan plan =
      plan_of("m", {native("a", "writer", {{"count", "2000"}}), native("b", "reader")}, channel);
  plan.shards[0].sleep_ns_max = 100'000'000;  // 250 full rings would take 25 s of such sleeps
  System system(plan, {});
  const uint64_t before = monotonic_ns();
  system.start();
  CHECK(until([&] { return user(system, 1, "seen") == 2000; }));
  CHECK(monotonic_ns() - before < 5'000'000'000);
}

TEST(with_overflow_program_nothing_is_lost_that_the_program_keeps) {
  ChannelPlan channel = link("c", Overflow::program);
  channel.capacity = 8;
  System system(
      plan_of("m",
              {native("a", "decider", {{"count", "5000"}, {"buffers", "256"}}), stage("b", "sink")},
              channel),
      {});
  system.start();
  CHECK(until([&] { return system.segment().shard(1).consumed.get() == 5000; }));
  system.stop(false);
  CHECK(until([&] { return over(system); }));
  CHECK_EQ(failure(system), "none");
  CHECK(user(system, 0, "refused") > 0);
  CHECK_EQ(system.segment().channel(0).dropped.get(), 0u);
  CHECK_EQ(system.segment().pool(0).leaked.get(), 0u);
}

TEST(kept_buffers_are_found_and_the_pool_named) {
  System system(
      plan_of("m", {stage("gen", "generate", {{"count", "1000"}}), native("b", "hoarder")},
              link("c", Overflow::block)),
      {});
  system.start();
  CHECK(until([&] { return over(system); }));
  CHECK_EQ(failure(system), "VANITY_E_BUFFER_LEAK");
  CHECK(system.failures().front().message.find("16 of 4096 buffers of pool gen") !=
        std::string::npos);
  CHECK_EQ(system.segment().pool(0).leaked.get(), 16u);
}

TEST(a_poll_that_never_returns_is_seen_and_named) {
  const pid_t child = fork();  // the thread can't be ended: it goes with its process
  if (child == 0) {
    Plan plan = plan_of("m", {stage("gen", "generate", {{"rate", "1000"}}), native("b", "endless")},
                        link("c", Overflow::drop));
    plan.stall_ns = 50'000'000;
    System system(plan, {});
    system.start();
    const bool stalled = until([&] { return system.shard(1).state() == ShardState::stalled; });
    system.stop(false);
    const bool ended = until([&] { return over(system); });
    bool named = false;
    for (const Failure& each : system.failures()) {
      named |= each.code == "VANITY_E_STUCK" && each.message.find("b") != std::string::npos;
    }
    system.close();
    _exit(stalled && ended && named ? 0 : 1);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(a_thread_given_up_may_go_on_after_its_system) {
  const pid_t child = fork();
  if (child == 0) {
    {
      Plan plan = plan_of("m",
                          {stage("gen", "generate", {{"rate", "100000"}}),
                           native("b", "sleeper", {{"ms", "2500"}})},
                          link("c", Overflow::drop));
      plan.drain_ns = 100'000'000;
      System system(plan, {});
      system.start();
      until([&] { return system.segment().channel(0).dropped.get() > 0; });
      system.stop(true);
      until([&] { return over(system); });
    }
    // The segment, pools and rings of that system are what the thread comes back to.
    std::this_thread::sleep_for(std::chrono::seconds(3));
    _exit(0);
  }
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
