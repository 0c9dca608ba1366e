// What the watchdog finds out, says and does; and what it does not take for a stall.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>

#include "check.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "runtime_folder.hpp"
#include "soon.hpp"

using namespace vanity;

namespace {

constexpr uint64_t kMs = 1'000'000;

ShardPlan stage(const std::string& name, const std::string& program) {
  ShardPlan plan;
  plan.name = name;
  plan.program = program;
  return plan;
}

ChannelPlan link(const std::string& name, uint32_t from, uint32_t to,
                 Overflow overflow = Overflow::block) {
  ChannelPlan plan;
  plan.name = name;
  plan.from = from;
  plan.to = to;
  plan.overflow = overflow;
  return plan;
}

Plan plan_of(const std::string& name, std::vector<ShardPlan> shards,
             std::vector<ChannelPlan> channels) {
  runtime_folder();
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;
  plan.drain_ns = 100 * kMs;
  plan.shards = std::move(shards);
  plan.channels = std::move(channels);
  return plan;
}

// A program given as a function; a stage of the plan stands for it until then.
class Does : public Program {
 public:
  explicit Does(std::function<uint32_t(Shard&)> poll) : poll_(std::move(poll)) {}
  uint32_t poll(Shard& shard) noexcept override { return poll_(shard); }

 private:
  std::function<uint32_t(Shard&)> poll_;
};

void spin_for(uint64_t ns) {
  const uint64_t until = monotonic_ns() + ns;
  while (monotonic_ns() < until) {
  }
}

std::string said(System& system) {
  std::string text;
  for (const Failure& each : system.warnings()) text += each.code + " " + each.message + "\n";
  for (const Failure& each : system.failures()) text += each.code + " " + each.message + "\n";
  return text;
}

bool says(System& system, const std::string& what) {
  return soon([&] { return said(system).find(what) != std::string::npos; });
}

#define CHECK_SAYS(system, what) \
  if (!says(system, what)) check::fail(__FILE__, __LINE__, "not said: " what "\n" + said(system))

// Before the system starts, once the shard has looked at the program that it was made with.
void run_instead(Shard& shard, std::unique_ptr<Program> program) {
  CHECK(soon([&] { return shard.state() == ShardState::ready; }));
  shard.set_program(std::move(program));
}

Stall last_stall(System& system, uint32_t shard) {
  return static_cast<Stall>(
      system.segment().shard(shard).last_stall.load(std::memory_order_relaxed));
}

}  // namespace

TEST(one_that_runs_is_said_with_its_place) {
  Plan plan = plan_of("runs", {stage("gen", "generate"), stage("end", "sink")},
                      {link("c", 0, 1, Overflow::drop)});
  plan.shards[1].watch.progress_ns = 50 * kMs;
  System system(plan, {});
  std::atomic<uint64_t> began{0};
  run_instead(system.shard(1), std::make_unique<Does>([&](Shard&) {
                began = monotonic_ns();
                spin_for(500 * kMs);
                return 0u;
              }));
  system.start();
  CHECK_SAYS(system, "shard end: no turn ended for 50 ms: its program runs, in ");
  const uint64_t late_ns = monotonic_ns() - began - 50 * kMs;
  std::printf("# the alarm was %llu us late\n", static_cast<unsigned long long>(late_ns / 1000));
  CHECK(last_stall(system, 1) == Stall::running);
  CHECK(system.shard(1).state() == ShardState::stalled);
  CHECK(soon([&] { return system.shard(1).state() == ShardState::running; }));
  CHECK_EQ(system.segment().shard(0).stalls.get(), 0u);
}

TEST(one_that_sleeps_is_said_to_with_what_it_sleeps_in) {
  Plan plan = plan_of("sleeps", {stage("gen", "generate"), stage("end", "sink")},
                      {link("c", 0, 1, Overflow::drop)});
  plan.shards[1].watch.progress_ns = 50 * kMs;
  System system(plan, {});
  run_instead(system.shard(1), std::make_unique<Does>([&](Shard&) {
                std::this_thread::sleep_for(std::chrono::milliseconds(200));
                return 0u;
              }));
  system.start();
  CHECK_SAYS(system, "shard end: no turn ended for 50 ms: its program sleeps in Linux");
  CHECK(last_stall(system, 1) == Stall::sleeping);
}

TEST(a_cycle_of_full_channels_is_named) {
  Plan plan = plan_of("cycle", {stage("a", "generate"), stage("b", "generate")},
                      {link("ab", 0, 1), link("ba", 1, 0)});
  for (ShardPlan& shard : plan.shards) shard.watch.progress_ns = 50 * kMs;
  System system(plan, {});
  system.start();
  CHECK_SAYS(system,
             "shard a: no turn ended for 50 ms: waits for room in ab, read by b, which waits for "
             "room in ba, read by a: a cycle");
  CHECK(last_stall(system, 0) == Stall::blocked);
}

TEST(a_consumer_that_is_held_is_named_by_who_waits_for_it) {
  Plan plan = plan_of("waits", {stage("gen", "generate"), stage("end", "sink")}, {link("c", 0, 1)});
  plan.shards[0].watch.progress_ns = 50 * kMs;
  System system(plan, {});
  system.start();
  system.segment().shard(1).command = static_cast<uint32_t>(Command::hold);
  CHECK_SAYS(system,
             "shard gen: no turn ended for 50 ms: waits for room in c, read by end, which "
             "is held");
  CHECK_EQ(system.segment().shard(1).stalls.get(), 0u);
}

TEST(a_lost_wake_is_found) {
  Plan plan = plan_of("lost", {stage("from", "generate"), stage("end", "sink")}, {link("c", 0, 1)});
  plan.shards[1].watch.progress_ns = 50 * kMs;
  plan.shards[1].sleep_ns_max = 2000 * kMs;
  plan.shards[1].wait = "futex";
  System system(plan, {});
  run_instead(system.shard(0), std::make_unique<Does>([](Shard&) { return 0u; }));
  std::atomic<bool> take{false};
  run_instead(system.shard(1), std::make_unique<Does>([&](Shard& shard) {
                vanity_packet packet;
                return take ? shard.receive(&packet, 1) : 0u;
              }));
  system.start();
  CHECK(soon([&] {
    return system.segment().shard(1).phase.load() == static_cast<uint32_t>(Phase::idle);
  }));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK_EQ(system.segment().shard(1).starved.get(), 0u);  // asleep, and nothing waits
  // As a producer that forgets to signal.
  Producer forgetful = system.channel(0).producer();
  const vanity_packet packet{};
  CHECK_EQ(forgetful.send(&packet, 1), 1u);
  CHECK_SAYS(system, "1 elements of channel c wait for more than 50 ms: asleep, and was not woken");
  CHECK(last_stall(system, 1) == Stall::lost_wake);
}

TEST(one_that_does_not_take_its_input_starves_and_may_be_held) {
  Plan plan = plan_of("starves", {stage("gen", "generate"), stage("end", "sink")},
                      {link("c", 0, 1, Overflow::drop)});
  plan.shards[1].watch.starve_ns = 30 * kMs;
  plan.shards[1].watch.on_starve = Policy::hold;
  System system(plan, {});
  run_instead(system.shard(1), std::make_unique<Does>([](Shard&) { return 1u; }));
  system.start();
  CHECK_SAYS(system,
             "1024 elements of channel c wait for more than 30 ms: it takes turns, and "
             "does not take this; it is held");
  CHECK(soon([&] { return system.shard(1).state() == ShardState::held; }));
  CHECK_EQ(system.segment().shard(1).starved.get(), 1u);
}

TEST(slow_turns_are_counted_also_when_nobody_looked) {
  Plan plan = plan_of("slow", {stage("gen", "generate"), stage("end", "sink")},
                      {link("c", 0, 1, Overflow::drop)});
  plan.shards[1].watch.service_ns = 1 * kMs;
  System system(plan, {});
  std::atomic<uint32_t> turns{0};
  run_instead(system.shard(1), std::make_unique<Does>([&](Shard&) {
                if (++turns % 100 == 0 && turns <= 500) spin_for(3 * kMs);
                return 1u;
              }));
  system.start();
  const ShardRecord& record = system.segment().shard(1);
  CHECK(soon([&] { return record.slow.get() >= 5; }));
  CHECK_SAYS(system, "VANITY_W_SHARD_SLOW shard end: ");
}

TEST(stop_system_stops_it) {
  Plan plan = plan_of("stops", {stage("gen", "generate"), stage("end", "sink")},
                      {link("c", 0, 1, Overflow::drop)});
  plan.shards[1].watch.progress_ns = 50 * kMs;
  plan.shards[1].watch.on_progress = Policy::stop_system;
  System system(plan, {});
  run_instead(system.shard(1), std::make_unique<Does>([&](Shard&) {
                spin_for(300 * kMs);
                return 0u;
              }));
  system.start();
  CHECK(soon([&] { return system.state() == SystemState::failed; }));
  CHECK(said(system).find("VANITY_W_SHARD_STALLED shard end") != std::string::npos);
}

// In a process of its own, which is stopped and goes on: nobody has stalled.
TEST(a_process_that_was_stopped_has_no_stall) {
  int ready[2];
  CHECK(pipe(ready) == 0);
  const pid_t child = fork();
  if (child == 0) {
    Plan plan =
        plan_of("stopped", {stage("gen", "generate"), stage("end", "sink")}, {link("c", 0, 1)});
    for (ShardPlan& shard : plan.shards) shard.watch.progress_ns = 500 * kMs;
    uint64_t stalls = 0;
    try {
      System system(plan, {});
      system.start();
      soon([&] { return system.segment().shard(1).consumed.get() > 1000; });
      if (write(ready[1], "r", 1) != 1) _exit(90);
      const uint64_t until = monotonic_ns() + 4000 * kMs;  // which passes while it is stopped
      soon([&] { return monotonic_ns() > until; });
      for (uint32_t s = 0; s < 2; ++s) {
        stalls += system.segment().shard(s).stalls.get() + system.segment().shard(s).starved.get();
      }
      std::fprintf(stderr, "%s", said(system).c_str());
    } catch (const std::exception&) {
      _exit(91);
    }
    _exit(static_cast<int>(stalls));
  }
  char word;
  CHECK(read(ready[0], &word, 1) == 1);
  for (int i = 0; i < 3; ++i) {
    kill(child, SIGSTOP);
    std::this_thread::sleep_for(std::chrono::milliseconds(900));
    kill(child, SIGCONT);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 0);
  close(ready[0]);
  close(ready[1]);
}
