// Whole systems of built-in stages, booted, run and stopped, without Node.
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

#include "check.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "runtime_folder.hpp"

using namespace vanity;

namespace {

ShardPlan shard(const std::string& name, const std::string& program,
                std::map<std::string, std::string> options = {}) {
  ShardPlan plan;
  plan.name = name;
  plan.program = program;
  plan.options = std::move(options);
  return plan;
}

ChannelPlan channel(const std::string& name, uint32_t from, uint32_t to,
                    Overflow overflow = Overflow::block) {
  ChannelPlan plan;
  plan.name = name;
  plan.from = from;
  plan.to = to;
  plan.overflow = overflow;
  return plan;
}

Plan plan_of(const std::string& name) {
  runtime_folder();
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;  // unpinned threads on however few cores the tests have
  return plan;
}

// Runs `body` in a process of its own, which never returns into the tests.
template <class Body>
pid_t in_child(Body&& body) {
  const pid_t child = fork();
  if (child != 0) return child;
  try {
    body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "child: %s\n", error.what());
    _exit(99);
  }
  _exit(0);
}

bool wait_for(System& system, SystemState wanted, int ms = 20000) {
  for (int i = 0; i < ms; ++i) {
    if (system.state() == wanted) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

std::string describe(System& system) {
  std::string text;
  for (const Failure& failure : system.failures()) {
    text += failure.code + ": " + failure.message + "; ";
  }
  return text;
}

uint64_t leaked(System& system) {
  uint64_t sum = 0;
  for (const auto& pool : system.pools()) sum += system.segment().pool(pool->index()).leaked.get();
  return sum;
}

void run_to_end(System& system) {
  system.start();
  if (!wait_for(system, SystemState::stopped)) {
    throw std::runtime_error("did not stop: state " +
                             std::to_string(static_cast<int>(system.state())) + " " +
                             describe(system));
  }
}

}  // namespace

TEST(generate_to_sink_loses_nothing) {
  Plan plan = plan_of("gen-sink");
  plan.shards = {shard("gen", "generate", {{"count", "100000"}}), shard("end", "sink")};
  plan.channels = {channel("c", 0, 1)};
  System system(plan, {});
  run_to_end(system);
  CHECK_EQ(system.segment().shard(0).sent.get(), 100000u);
  CHECK_EQ(system.segment().shard(1).received.get(), 100000u);
  CHECK_EQ(system.segment().shard(1).consumed.get(), 100000u);
  CHECK_EQ(system.segment().shard(1).wakes_late.get(), 0u);
  CHECK_EQ(leaked(system), 0u);
}

TEST(a_full_channel_that_drops_counts_every_packet) {
  Plan plan = plan_of("drops");
  plan.shards = {shard("gen", "generate", {{"count", "50000"}}), shard("end", "sink")};
  plan.channels = {channel("c", 0, 1, Overflow::drop)};
  plan.channels[0].capacity = 2;
  System system(plan, {});
  run_to_end(system);
  const uint64_t received = system.segment().shard(1).received.get();
  const uint64_t dropped = system.segment().channel(0).dropped.get();
  CHECK_EQ(received + dropped, 50000u);
  CHECK(dropped > 0);
  CHECK_EQ(system.segment().shard(0).dropped.get(), dropped);
  CHECK_EQ(leaked(system), 0u);
}

TEST(split_mirror_filter_and_count_balance) {
  Plan plan = plan_of("tree");
  plan.shards = {shard("gen", "generate", {{"count", "20000"}, {"flows", "97"}}),
                 shard("split", "flow-split"),
                 shard("left", "count"),
                 shard("right", "mirror"),
                 shard("a", "sink"),
                 shard("b", "count")};
  plan.channels = {channel("gs", 0, 1), channel("sl", 1, 2), channel("sr", 1, 3),
                   channel("ra", 3, 4), channel("rb", 3, 5), channel("la", 2, 4)};
  System system(plan, {});
  run_to_end(system);
  Segment& s = system.segment();
  const uint64_t left = s.channel(1).received.get();
  const uint64_t right = s.channel(2).received.get();
  CHECK_EQ(left + right, 20000u);
  CHECK(left > 4000 && right > 4000);
  CHECK_EQ(s.shard(4).received.get(), left + right);
  CHECK_EQ(s.shard(5).received.get(), right);
  CHECK_EQ(leaked(system), 0u);
}

TEST(an_endless_source_stops_in_order_when_asked) {
  Plan plan = plan_of("endless");
  plan.shards = {shard("gen", "generate"), shard("mid", "forward"), shard("end", "sink")};
  plan.channels = {channel("a", 0, 1), channel("b", 1, 2)};
  System system(plan, {});
  system.start();
  CHECK(wait_for(system, SystemState::running));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  system.stop(false);
  CHECK(wait_for(system, SystemState::stopped));
  CHECK(system.segment().shard(2).consumed.get() > 0);
  CHECK_EQ(system.segment().shard(0).sent.get(), system.segment().shard(2).consumed.get());
  CHECK_EQ(leaked(system), 0u);
}

TEST(an_immediate_stop_counts_what_it_left) {
  Plan plan = plan_of("now");
  plan.shards = {shard("gen", "generate"), shard("mid", "forward"), shard("end", "sink")};
  plan.channels = {channel("a", 0, 1), channel("b", 1, 2)};
  System system(plan, {});
  system.start();
  CHECK(wait_for(system, SystemState::running));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  system.stop(true);
  CHECK(wait_for(system, SystemState::stopped));
  Segment& s = system.segment();
  const uint64_t dropped =
      s.shard(0).dropped.get() + s.shard(1).dropped.get() + s.shard(2).dropped.get();
  CHECK_EQ(s.shard(0).received.get(), s.shard(2).consumed.get() + dropped);
  CHECK_EQ(leaked(system), 0u);
}

TEST(a_rate_is_kept) {
  Plan plan = plan_of("rate");
  plan.shards = {shard("gen", "generate", {{"rate", "20000"}, {"count", "10000"}}),
                 shard("end", "sink")};
  plan.channels = {channel("c", 0, 1)};
  System system(plan, {});
  const uint64_t before = monotonic_ns();
  run_to_end(system);
  const uint64_t took_ms = (monotonic_ns() - before) / 1'000'000;
  CHECK(took_ms >= 480);  // half a second's worth, however slow the machine
}

TEST(every_wait_strategy_moves_everything) {
  for (const Strategy strategy : {Strategy::doorbell, Strategy::rotate, Strategy::primary}) {
    for (const Layout layout : {Layout::bulk, Layout::latency}) {
      Plan plan = plan_of("strategy");
      plan.shards = {shard("g0", "generate", {{"count", "5000"}, {"rate", "100000"}}),
                     shard("g1", "generate", {{"count", "5000"}}),
                     shard("g2", "generate", {{"count", "5000"}, {"rate", "50000"}}),
                     shard("end", "sink")};
      plan.shards[3].strategy = strategy;
      plan.shards[3].primary = 1;
      plan.channels = {channel("c0", 0, 3), channel("c1", 1, 3), channel("c2", 2, 3)};
      for (ChannelPlan& each : plan.channels) each.layout = layout;
      System system(plan, {});
      run_to_end(system);
      CHECK_EQ(system.segment().shard(3).consumed.get(), 15000u);
      CHECK_EQ(system.segment().shard(3).wakes_late.get(), 0u);
    }
  }
}

TEST(one_name_one_system) {
  Plan plan = plan_of("twice");
  plan.shards = {shard("gen", "generate"), shard("end", "sink")};
  plan.channels = {channel("c", 0, 1)};
  System first(plan, {});
  try {
    System second(plan, {});
    check::fail(__FILE__, __LINE__, "a second system took the same name");
  } catch (const Error& error) {
    CHECK_EQ(std::string(error.code()), "VANITY_E_NAME_IN_USE");
    CHECK(std::string(error.what()).find(std::to_string(getpid())) != std::string::npos);
  }
}

TEST(nothing_is_left_behind) {
  Plan plan = plan_of("clean");
  plan.shards = {shard("gen", "generate"), shard("end", "sink")};
  plan.channels = {channel("c", 0, 1)};
  {
    System system(plan, {});
    system.start();
    CHECK(wait_for(system, SystemState::running));
    CHECK_EQ(access((runtime_folder() + "/clean.segment").c_str(), F_OK), 0);
  }
  CHECK(access((runtime_folder() + "/clean.segment").c_str(), F_OK) != 0);
}

TEST(what_a_killed_process_left_is_swept_and_what_lives_is_not) {
  Plan plan = plan_of("killed");
  plan.shards = {shard("gen", "generate"), shard("end", "sink")};
  plan.channels = {channel("c", 0, 1)};
  const pid_t child = in_child([&] {
    System system(plan, {});
    system.start();
    pause();
  });
  const std::string path = runtime_folder() + "/killed.segment";
  for (int i = 0; i < 5000 && access(path.c_str(), F_OK) != 0; ++i) usleep(1000);
  CHECK_EQ(access(path.c_str(), F_OK), 0);
  usleep(50000);
  CHECK_EQ(sweep_leftovers().size(), 0u);
  CHECK_EQ(access(path.c_str(), F_OK), 0);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  const auto removed = sweep_leftovers();
  CHECK_EQ(removed.size(), 1u);
  CHECK_EQ(removed[0], path);
}

TEST(a_core_that_is_not_there_is_an_error) {
  Plan plan = plan_of("nocore");
  plan.shards = {shard("gen", "generate"), shard("end", "sink")};
  plan.shards[0].core = limits::kCoreMax;
  plan.channels = {channel("c", 0, 1)};
  try {
    System system(plan, {});
    check::fail(__FILE__, __LINE__, "booted on a core that is not there");
  } catch (const Error& error) {
    CHECK_EQ(std::string(error.code()), "VANITY_E_CORE_MISSING");
  }
  CHECK(access((runtime_folder() + "/nocore.segment").c_str(), F_OK) != 0);
}

TEST(a_core_belongs_to_one_process) {
  Plan plan = plan_of("core-a");
  plan.shards = {shard("gen", "generate"), shard("end", "sink")};
  plan.shards[0].core = 0;
  plan.channels = {channel("c", 0, 1)};
  int ready[2];
  CHECK_EQ(pipe(ready), 0);
  const pid_t child = in_child([&] {
    System system(plan, {});
    char byte = 1;
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    pause();
  });
  close(ready[1]);  // else a child that failed would be waited for
  char byte;
  CHECK_EQ(read(ready[0], &byte, 1), 1);
  plan.name = "core-b";
  std::string code;
  try {
    System system(plan, {});
  } catch (const Error& error) {
    code = error.code();
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ready[0]);
  CHECK_EQ(code, "VANITY_E_CORE_IN_USE");
  System again(plan, {});  // the dead process's lock is no obstacle
}

TEST(the_segment_is_as_large_as_the_plan_implies) {
  Plan plan = plan_of("size");
  plan.shards = {shard("gen", "generate"), shard("end", "sink")};
  plan.channels = {channel("c", 0, 1)};
  System system(plan, {});
  const SegmentShape shape{.shards = 2,
                           .channels = 1,
                           .pools = 1,
                           .spare_shards = limits::kSpareShards,
                           .spare_channels = limits::kSpareChannels,
                           .spare_pools = limits::kSpareShards + limits::kSpareQueues,
                           .spare_ports = limits::kSparePorts,
                           .spare_queues = limits::kSpareQueues,
                           .manifest_bytes = manifest_room(0)};
  CHECK_EQ(system.segment().bytes(), segment_bytes(shape));
  CHECK_EQ(system.segment().header().segment_bytes, system.segment().bytes());
}

// Whoever may read the memory of the process finds rings and buffers by this.
TEST(the_segment_says_where_rings_and_buffers_lie_in_marked_arenas) {
  Plan plan = plan_of("offsets");
  plan.shards = {shard("from", "generate"), shard("to", "sink")};
  plan.channels = {channel("link", 0, 1), channel("other", 0, 1)};
  System system(plan, {});
  Segment& segment = system.segment();
  for (uint32_t s = 0; s < 2; ++s) {
    const auto* const mark = reinterpret_cast<ArenaMark*>(system.shard(s).arena().base());
    CHECK_EQ(std::string(mark->magic, 8), std::string("VANITYAR"));
    CHECK_EQ(mark->started_realtime_ns, segment.header().started_realtime_ns);
    CHECK_EQ(mark->shard, s);
  }
  for (uint32_t c = 0; c < 2; ++c) {
    const uint64_t offset = segment.channel(c).arena_offset.get();
    const Channel ring = Channel::attach(system.shard(1).arena().base() + offset);
    CHECK(ring);
    CHECK_EQ(ring.memory()->capacity, segment.channel(c).capacity);
  }
  CHECK(segment.channel(0).arena_offset.get() != segment.channel(1).arena_offset.get());
  const PoolRecord& pool = segment.pool(0);
  CHECK_EQ(pool.stride, Pool::stride_of(pool.buffer_bytes));
  CHECK(pool.arena_offset.get() + uint64_t{pool.stride} * pool.buffers <=
        system.shard(0).arena().used());
}

TEST(a_signal_stops_in_order) {
  Plan plan = plan_of("signal");
  plan.shards = {shard("gen", "generate"), shard("end", "sink")};
  plan.channels = {channel("c", 0, 1)};
  BootOptions options;
  options.handle_signals = true;
  System system(plan, options);
  system.start();
  CHECK(wait_for(system, SystemState::running));
  kill(getpid(), SIGINT);
  CHECK(wait_for(system, SystemState::stopped));
  CHECK_EQ(leaked(system), 0u);
}

TEST(a_cycle_drains) {
  Plan plan = plan_of("cycle");
  plan.shards = {shard("gen", "generate"), shard("a", "forward"), shard("b", "forward"),
                 shard("end", "sink")};
  plan.channels = {channel("ga", 0, 1), channel("ab", 1, 2, Overflow::drop), channel("out", 1, 3),
                   channel("ba", 2, 1, Overflow::drop)};
  System system(plan, {});
  system.start();
  CHECK(wait_for(system, SystemState::running));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  system.stop(false);
  CHECK(wait_for(system, SystemState::stopped));
  CHECK_EQ(describe(system), "");
  Segment& s = system.segment();
  uint64_t dropped = 0;
  for (uint32_t i = 0; i < 4; ++i) dropped += s.shard(i).dropped.get();
  CHECK(s.shard(3).consumed.get() > 0);
  CHECK_EQ(s.shard(0).received.get(), s.shard(3).consumed.get() + dropped);
  CHECK_EQ(leaked(system), 0u);
}

// Whichever system goes first, the other still stops in order.
TEST(a_signal_stops_every_system_of_the_process) {
  for (const bool first_goes : {true, false}) {
    Plan plan = plan_of("sig-a");
    plan.shards = {shard("gen", "generate"), shard("end", "sink")};
    plan.channels = {channel("c", 0, 1)};
    BootOptions options;
    options.handle_signals = true;
    auto first = std::make_unique<System>(plan, options);
    plan.name = "sig-b";
    auto second = std::make_unique<System>(plan, options);
    first->start();
    second->start();
    CHECK(wait_for(*first, SystemState::running));
    CHECK(wait_for(*second, SystemState::running));
    (first_goes ? first : second).reset();
    System& left = first_goes ? *second : *first;
    struct sigaction now {};
    sigaction(SIGINT, nullptr, &now);
    CHECK(now.sa_handler != SIG_DFL);
    kill(getpid(), SIGINT);
    CHECK(wait_for(left, SystemState::stopped));
  }
  struct sigaction now {};
  sigaction(SIGINT, nullptr, &now);
  CHECK(now.sa_handler == SIG_DFL);
}

TEST(signals_do_not_interrupt_shards) {
  Plan plan = plan_of("masked");
  plan.shards = {shard("gen", "generate"), shard("end", "sink")};
  plan.channels = {channel("c", 0, 1)};
  System system(plan, {});
  system.start();
  CHECK(wait_for(system, SystemState::running));
  std::ifstream status("/proc/self/task/" + std::to_string(system.segment().shard(1).tid) +
                       "/status");
  std::string line;
  uint64_t blocked = 0;
  while (std::getline(status, line)) {
    if (line.rfind("SigBlk:", 0) == 0) blocked = std::stoull(line.substr(7), nullptr, 16);
  }
  CHECK((blocked >> (SIGINT - 1) & 1) == 1);
  CHECK((blocked >> (SIGCHLD - 1) & 1) == 1);
  CHECK((blocked >> (SIGSEGV - 1) & 1) == 0);
}

// Left-overs are swept by every start: that must never hit what another process has just made.
TEST(a_sweep_never_takes_what_lives) {
  std::vector<pid_t> others;
  for (int i = 0; i < 3; ++i) {
    others.push_back(in_child([&] {
      for (;;) sweep_leftovers();
    }));
  }
  std::string wrong;
  int made = 0;
  const uint64_t until = monotonic_ns() + 1'500'000'000;
  while (monotonic_ns() < until && wrong.empty()) {
    try {
      Segment segment("raced", {});
      for (int i = 0; i < 3; ++i) {
        sched_yield();  // to one that opened the file before this one was made
        if (access(segment.path().c_str(), F_OK) != 0) wrong = "a living segment was removed";
      }
      ++made;
    } catch (const Error& error) {
      // Three that do nothing but sweep may well hold the file all the time.
      if (std::string(error.code()) != "VANITY_E_NAME_IN_USE") wrong = error.what();
    }
  }
  for (const pid_t other : others) {
    kill(other, SIGKILL);
    waitpid(other, nullptr, 0);
  }
  sweep_leftovers();
  CHECK_EQ(wrong, "");
  CHECK(made > 0);
}

// As many threads as the limit allows, and one less than the system needs.
TEST(a_thread_that_cannot_start_is_an_error_and_leaves_nothing) {
  if (getuid() != 0) return;  // root makes itself a user whose only processes are these
  char folder[] = "/tmp/vanity-system-test-XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  CHECK_EQ(chmod(folder, 0777), 0);
  const pid_t child = in_child([&] {
    setenv("VANITY_RUNTIME_DIR", folder, 1);
    if (setuid(54321) != 0) _exit(2);
    const rlimit limit{3, 3};
    setrlimit(RLIMIT_NPROC, &limit);
    Plan plan = plan_of("threads");
    plan.shards = {shard("gen", "generate"), shard("mid", "forward"), shard("end", "port-tx")};
    plan.channels = {channel("a", 0, 1), channel("b", 1, 2)};
    PortPlan port;
    port.name = "out";
    port.driver = "capture";
    port.tx = {2};
    port.write = std::string(folder) + "/out.pcap";
    plan.ports = {port};
    for (int i = 0; i < 20; ++i) {
      try {
        System system(plan, {});
        _exit(3);
      } catch (const Error& error) {
        if (std::string(error.code()) != "VANITY_E_SYSTEM") throw;
      }
      if (access((std::string(folder) + "/threads.segment").c_str(), F_OK) == 0) _exit(4);
    }
  });
  int status = 0;
  waitpid(child, &status, 0);
  rmdir(folder);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 0);
}

TEST(a_second_signal_ends_the_process_and_leaves_nothing) {
  Plan plan = plan_of("signals");
  plan.shards = {shard("gen", "generate"), shard("end", "sink")};
  plan.channels = {channel("c", 0, 1)};
  const std::string path = runtime_folder() + "/signals.segment";
  const pid_t child = in_child([&] {
    BootOptions options;
    options.handle_signals = true;
    System system(plan, options);
    system.start();
    for (;;) pause();  // the owner never reads the report, as a stuck JavaScript would not
  });
  for (int i = 0; i < 5000 && access(path.c_str(), F_OK) != 0; ++i) usleep(1000);
  usleep(100000);
  kill(child, SIGINT);
  usleep(200000);
  kill(child, SIGINT);
  int status = 0;
  bool gone = false;
  for (int i = 0; i < 5000 && !gone; ++i) {
    gone = waitpid(child, &status, WNOHANG) == child;
    usleep(1000);
  }
  if (!gone) kill(child, SIGKILL);
  CHECK(gone);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 130);
  CHECK(access(path.c_str(), F_OK) != 0);
}

TEST(the_runtime_folder_ends_empty) {
  DIR* dir = opendir(runtime_folder().c_str());
  CHECK(dir != nullptr);
  int files = 0;
  while (const dirent* entry = readdir(dir)) files += entry->d_name[0] != '.';
  closedir(dir);
  CHECK_EQ(files, 0);
  rmdir(runtime_folder().c_str());
}
