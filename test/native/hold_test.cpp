// Holding, stepping and releasing a shard by the words of its segment, under load.
#include <atomic>
#include <cstdlib>
#include <thread>

#include "check.hpp"
#include "kernel/command.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "runtime_folder.hpp"

using namespace vanity;

namespace {

Plan line(const char* name) {
  runtime_folder();
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;
  const char* const programs[] = {"generate", "forward", "sink"};
  for (uint32_t s = 0; s < 3; ++s) {
    ShardPlan shard;
    shard.name = programs[s];
    shard.program = programs[s];
    plan.shards.push_back(shard);
    if (s == 0) continue;
    ChannelPlan channel;
    channel.name = programs[s];
    channel.from = s - 1;
    channel.to = s;
    channel.overflow = Overflow::block;
    plan.channels.push_back(channel);
  }
  return plan;
}

template <class Done>
bool soon(Done&& done, int ms = 10000) {
  for (int i = 0; i < ms; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

ShardState state_of(System& system, uint32_t shard) {
  return system.shard(shard).state();
}

uint64_t received(System& system, uint32_t shard) {
  return system.segment().shard(shard).received.get();
}

// Stops in order, and everything that came in went out.
void ends_whole(System& system) {
  system.stop(false);
  CHECK(soon([&] { return system.state() == SystemState::stopped; }));
  CHECK_EQ(system.segment().shard(0).sent.get(), system.segment().shard(2).consumed.get());
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

}  // namespace

TEST(a_held_shard_moves_nothing_and_loses_nothing) {
  System system(line("held"), {});
  const std::string path = system.segment().path();
  system.start();
  CHECK(soon([&] { return received(system, 2) > 10000; }));
  command_shard(path, 1, Command::hold, 0);
  CHECK(soon([&] { return state_of(system, 1) == ShardState::held; }));
  const uint64_t polls = system.segment().shard(1).polls.get();
  const uint64_t taken = received(system, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK_EQ(system.segment().shard(1).polls.get(), polls);
  CHECK_EQ(received(system, 1), taken);
  // Its producer fills the ring and waits; its consumer has taken all there was.
  CHECK_EQ(system.segment().channel(0).sent.get() - taken, 1024u);
  CHECK_EQ(received(system, 2), system.segment().shard(1).sent.get());
  CHECK(system.segment().shard(1).held_ticks.get() > ns_to_ticks(40'000'000));
  CHECK_EQ(system.segment().shard(1).stalls.get(), 0u);
  command_shard(path, 1, Command::run, 0);
  CHECK(soon([&] { return received(system, 2) > taken + 10000; }));
  ends_whole(system);
}

TEST(a_step_is_one_turn) {
  System system(line("stepped"), {});
  const std::string path = system.segment().path();
  system.start();
  CHECK(soon([&] { return received(system, 2) > 1000; }));
  ShardRecord& middle = system.segment().shard(1);
  command_shard(path, 1, Command::hold, 0);
  CHECK(soon([&] { return state_of(system, 1) == ShardState::held; }));
  CHECK(soon([&] { return system.segment().channel(0).blocked.get() != 0; }));
  for (uint64_t turns : {1u, 1u, 5u}) {
    const uint64_t polls = middle.polls.get();
    const uint64_t before = received(system, 1);
    const uint64_t steps = middle.steps_taken.get();
    command_shard(path, 1, Command::hold, turns);
    CHECK(soon([&] {
      return middle.steps_taken.get() == steps + turns && state_of(system, 1) == ShardState::held;
    }));
    CHECK_EQ(middle.polls.get() - polls, turns);
    CHECK_EQ(received(system, 1) - before, turns * 32);  // a burst each: its producer is waiting
  }
  command_shard(path, 1, Command::run, 0);
  ends_whole(system);
}

TEST(it_works_while_the_kernel_is_stuck) {
  std::atomic<bool> stuck{false};
  std::atomic<bool> go_on{false};
  BootOptions options;
  options.on_change = [&] {
    stuck = true;  // the first change: the system runs
    while (!go_on) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    stuck = false;
  };
  Plan plan = line("kernel-stuck");
  System system(plan, options);
  struct GoOn {  // when a check throws, too: the end of the system waits for the kernel's thread
    std::atomic<bool>& go_on;
    ~GoOn() { go_on = true; }
  } const at_the_end{go_on};
  const std::string path = system.segment().path();
  system.start();
  CHECK(soon([&] { return stuck.load(); }));
  go_on = true;
  CHECK(soon([&] { return received(system, 2) > 1000; }));
  go_on = false;
  system.stop(false);  // its thread announces the stop, and stays there
  CHECK(soon([&] { return stuck.load(); }));
  const uint64_t heartbeat = system.segment().header().heartbeat_ns.get();
  // Told nothing yet, the shards run on, and are held and released without the kernel.
  command_shard(path, 1, Command::hold, 0);
  CHECK(soon([&] { return state_of(system, 1) == ShardState::held; }));
  const uint64_t taken = received(system, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK_EQ(received(system, 1), taken);
  command_shard(path, 1, Command::run, 0);
  CHECK(soon([&] { return received(system, 2) > taken + 1000; }));
  CHECK_EQ(system.segment().header().heartbeat_ns.get(), heartbeat);
  go_on = true;
  ends_whole(system);
}

TEST(a_stop_ends_a_hold) {
  System system(line("held-stop"), {});
  system.start();
  CHECK(soon([&] { return received(system, 2) > 1000; }));
  command_shard(system.segment().path(), 1, Command::hold, 0);
  CHECK(soon([&] { return state_of(system, 1) == ShardState::held; }));
  ends_whole(system);
}

TEST(what_is_no_segment_or_no_shard_is_refused) {
  System system(line("refused"), {});
  CHECK_THROWS(command_shard(system.segment().path(), 3, Command::hold, 0), Error);
  CHECK_THROWS(command_shard("/dev/null", 0, Command::hold, 0), Error);
  CHECK_THROWS(command_shard("/proc/self/exe", 0, Command::hold, 0), Error);
  CHECK_THROWS(command_shard("/nowhere", 0, Command::hold, 0), Error);
}
