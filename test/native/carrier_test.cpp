// Many shards on few threads: what they send arrives, whoever waits lets the others go on, one that
// faults or does not give way harms nobody else, and who has nothing to do costs next to nothing.
#include <sys/resource.h>

#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "check.hpp"
#include "kernel/command.hpp"
#include "kernel/system.hpp"
#include "lines.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "sanitized.hpp"

using namespace vanity;

namespace {

constexpr uint64_t kMs = 1'000'000;

[[maybe_unused]] ShardPlan crasher(const std::string& how) {
  ShardPlan plan = stage("crasher", std::string(VANITY_MODULES) + "/crasher.so");
  plan.kind = ProgramKind::native;
  plan.options["how"] = how;
  plan.options["after"] = "5000";
  plan.watch.backoff_ns = kMs;
  plan.watch.max_restarts = 1'000'000;
  return plan;
}

void link(Plan& plan, uint32_t from, uint32_t to, uint32_t capacity = 1024) {
  ChannelPlan channel;
  channel.name = plan.shards[from].name + "-" + plan.shards[to].name;
  channel.from = from;
  channel.to = to;
  channel.capacity = capacity;
  channel.overflow = Overflow::block;
  plan.channels.push_back(channel);
}

Plan on_threads(const std::string& name, uint32_t threads) {
  runtime_folder();
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;
  plan.threads = threads;
  return plan;
}

Plan line(const std::string& name, uint32_t threads, std::vector<ShardPlan> shards) {
  Plan plan = on_threads(name, threads);
  plan.shards = std::move(shards);
  for (uint32_t s = 1; s < plan.shards.size(); ++s) link(plan, s - 1, s);
  return plan;
}

// Lines of four shards beside one another, so that each channel may lead to another thread.
Plan lines(const std::string& name, uint32_t threads, uint32_t shards,
           const std::map<std::string, std::string>& source, uint32_t capacity = 1024) {
  Plan plan = on_threads(name, threads);
  for (uint32_t s = 0; s < shards; ++s) {
    const std::string number = std::to_string(s);
    if (s % 4 == 0) {
      plan.shards.push_back(stage("gen" + number, "generate", source));
    } else {
      plan.shards.push_back(stage("s" + number, s % 4 == 3 ? "sink" : "forward"));
    }
  }
  // To a neighbour on the same thread of two, and to one on the other.
  for (uint32_t s = 0; s < shards; s += 4) {
    link(plan, s, s + 2, capacity);
    link(plan, s + 2, s + 1, capacity);
    link(plan, s + 1, s + 3, capacity);
  }
  return plan;
}

bool ended(System& system) {
  return system.state() == SystemState::stopped || system.state() == SystemState::failed;
}

uint64_t sum(System& system, Counter ShardRecord::*counter) {
  uint64_t all = 0;
  for (uint32_t s = 0; s < system.shard_count(); ++s) {
    all += (system.segment().shard(s).*counter).get();
  }
  return all;
}

uint64_t made(System& system) {
  uint64_t all = 0;
  for (uint32_t s = 0; s < system.shard_count(); ++s) {
    if (system.shard(s).plan().program == "generate") all += system.segment().shard(s).sent.get();
  }
  return all;
}

void expect_balance(System& system) {
  CHECK_EQ(sum(system, &ShardRecord::consumed) + sum(system, &ShardRecord::dropped), made(system));
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

uint64_t cpu_ns() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto ns = [](const timeval& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 +
           static_cast<uint64_t>(time.tv_usec) * 1000;
  };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

// A program given as a function; a stage of the plan stands for it until then.
class Does : public Program {
 public:
  explicit Does(std::function<uint32_t(Shard&)> poll) : poll_(std::move(poll)) {}
  uint32_t poll(Shard& shard) noexcept override { return poll_(shard); }

 private:
  std::function<uint32_t(Shard&)> poll_;
};

void run_instead(System& system, uint32_t shard, std::function<uint32_t(Shard&)> poll) {
  CHECK(soon([&] { return system.shard(shard).state() == ShardState::ready; }));
  system.shard(shard).set_program(std::make_unique<Does>(std::move(poll)));
}

}  // namespace

TEST(sixty_four_shards_on_two_threads_deliver_everything) {
  System system(lines("many", 2, 64, {{"count", "20000"}}), {});
  system.start();
  CHECK(soon([&] { return ended(system); }, 60'000));
  CHECK(system.state() == SystemState::stopped);
  CHECK_EQ(sum(system, &ShardRecord::consumed), uint64_t{16 * 20'000});
  CHECK_EQ(sum(system, &ShardRecord::wakes_late), 0u);
  expect_balance(system);
  std::set<uint32_t> threads;
  for (uint32_t s = 0; s < 64; ++s) {
    threads.insert(system.segment().shard(s).tid);
    CHECK_EQ(system.segment().shard(s).tid, system.segment().shard(s % 2).tid);
  }
  CHECK_EQ(threads.size(), size_t{2});
}

TEST(channels_of_two_slots_wake_each_other_between_threads) {
  for (const uint32_t threads : {1u, 3u}) {
    System system(lines("narrow", threads, 12, {{"count", "5000"}}, 2), {});
    system.start();
    if (!soon([&] { return ended(system); }, 60'000)) {
      check::fail(__FILE__, __LINE__, "stuck: " + said(system));
    }
    CHECK_EQ(sum(system, &ShardRecord::consumed), uint64_t{3 * 5'000});
    CHECK_EQ(sum(system, &ShardRecord::wakes_late), 0u);
    expect_balance(system);
  }
}

TEST(packets_that_come_one_by_one_find_their_threads_asleep_and_wake_them) {
  System system(lines("seldom", 2, 8, {{"rate", "200"}}), {});
  system.start();
  CHECK(soon([&] { return sum(system, &ShardRecord::consumed) > 200; }));
  stop(system);
  CHECK(sum(system, &ShardRecord::wakes_signalled) > 100);
  CHECK_EQ(sum(system, &ShardRecord::wakes_late), 0u);
  expect_balance(system);
}

// A wake that is lost would cost a second here.
TEST(a_token_that_goes_round_between_threads_is_never_waited_for) {
  constexpr uint32_t kShards = 6;
  Plan plan = on_threads("token", 2);
  for (uint32_t s = 0; s < kShards; ++s) {
    plan.shards.push_back(stage("s" + std::to_string(s), "forward"));
    plan.shards[s].spin_ns_max = 0;
    plan.shards[s].sleep_ns_max = 1000 * kMs;
  }
  for (uint32_t s = 0; s < kShards; ++s) {
    link(plan, s, (s + 1) % kShards, 2);
    plan.channels[s].packets = false;
    plan.channels[s].element_bytes = 8;
  }
  System system(plan, {});
  std::atomic<uint64_t> rounds{0};
  for (uint32_t s = 0; s < kShards; ++s) {
    run_instead(system, s, [&, begun = s != 0](Shard& shard) mutable {
      uint64_t token = 0;
      if (begun && shard.receive_copy(*shard.input(0), &token, 1) == 0) return 0u;
      begun = true;
      shard.send_copy(*shard.output(0), &token, 1);
      if (shard.index() == 0) ++rounds;
      return 1u;
    });
  }
  system.start();
  CHECK(soon([&] { return rounds > 300; }));
  CHECK(sum(system, &ShardRecord::waits) > 300);
  system.stop(true);
  CHECK(soon([&] { return ended(system); }));
}

TEST(threads_whose_shards_are_all_idle_sleep) {
  System system(lines("idle", 2, 64, {{"rate", "1"}}), {});
  system.start();
  CHECK(soon([&] { return sum(system, &ShardRecord::consumed) > 16; }));
  const uint64_t cpu = cpu_ns();
  const uint64_t start = monotonic_ns();
  const uint64_t waits = sum(system, &ShardRecord::waits);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const uint64_t took = cpu_ns() - cpu;
  const uint64_t passed = monotonic_ns() - start;
  const uint64_t each = (sum(system, &ShardRecord::waits) - waits) / 64;
  std::printf("# 64 idle shards on 2 threads: %llu us of %llu, %llu waits a shard\n",
              static_cast<unsigned long long>(took / 1000),
              static_cast<unsigned long long>(passed / 1000),
              static_cast<unsigned long long>(each));
  // Who doesn't sleep takes twice the time that passes. A sanitizer makes each of the waits dear.
  CHECK(took < passed * (kSanitized ? 7 : 1) / 4);
  stop(system);
  expect_balance(system);
}

TEST(a_held_shard_holds_nobody_else) {
  Plan plan = lines("held", 1, 8, {});
  System system(plan, {});
  system.start();
  const auto received = [&](uint32_t s) { return system.segment().shard(s).received.get(); };
  CHECK(soon([&] { return received(3) > 1000 && received(7) > 1000; }));
  command_shard(system.segment().path(), 3, Command::hold, 0);
  CHECK(soon([&] { return system.shard(3).state() == ShardState::held; }));
  const uint64_t held = received(3);
  const uint64_t other = received(7);
  CHECK(soon([&] { return received(7) > other + 10'000; }));
  CHECK_EQ(received(3), held);
  command_shard(system.segment().path(), 3, Command::run, 0);
  CHECK(soon([&] { return received(3) > held + 1000; }));
  stop(system);
  expect_balance(system);
}

#if !defined(__SANITIZE_THREAD__)  // which knows no jump out of a handler
TEST(a_program_that_faults_takes_down_its_own_shard_only) {
  for (const char* how : {"segv", "throw", "double", "abort", "stack"}) {
    if (kSanitized && std::string(how) == "stack") continue;
    Plan plan = line(std::string("faults-") + how, 1,
                     {stage("gen", "generate"), crasher(how), stage("end", "sink"),
                      stage("other-gen", "generate"), stage("other-end", "sink")});
    plan.channels.erase(plan.channels.begin() + 2);  // two lines
    System system(plan, {});
    const ShardRecord& record = system.segment().shard(1);
    system.start();
    if (!soon([&] { return record.restarts.get() >= 3; })) {
      check::fail(__FILE__, __LINE__, std::string(how) + " did not come back: " + said(system));
    }
    const uint64_t before = system.segment().shard(4).consumed.get();
    CHECK(soon([&] { return system.segment().shard(4).consumed.get() > before + 10'000; }));
    stop(system);
    CHECK(said(system).find("(crasher.so)") != std::string::npos || std::string(how) == "throw");
    if (std::string(how) == "stack") {
      CHECK(said(system).find("its stack is full") != std::string::npos);
    }
    expect_balance(system);
  }
}

TEST(one_that_never_returns_is_left_at_the_stop_and_its_neighbours_end) {
  Plan plan = line("endless", 1,
                   {stage("gen", "generate", {{"rate", "100"}}),
                    stage("endless", std::string(VANITY_MODULES) + "/endless.so")});
  plan.shards[1].kind = ProgramKind::native;
  plan.drain_ns = 100 * kMs;
  System system(plan, {});
  system.start();
  CHECK(soon([&] { return system.shard(1).state() == ShardState::running; }));
  stop(system, SystemState::failed);
  CHECK(said(system).find("VANITY_E_STUCK did not stop, and was left: endless") !=
        std::string::npos);
  CHECK(system.shard(0).state() == ShardState::stopped);
}
#endif

TEST(one_that_does_not_give_way_is_told_of_by_those_that_wait_for_it) {
  Plan plan = lines("hog", 2, 8, {});
  for (ShardPlan& shard : plan.shards) shard.watch.progress_ns = 50 * kMs;
  System system(plan, {});
  std::atomic<bool> free{true};
  run_instead(system, 3, [&](Shard& shard) {
    while (!free) {
    }
    vanity_packet packets[32];
    const uint32_t got = shard.receive(packets, 32);
    shard.consume(packets, got);
    return got;
  });
  system.start();
  const auto consumed = [&](uint32_t s) { return system.segment().shard(s).consumed.get(); };
  CHECK(soon([&] { return consumed(3) > 1000 && consumed(7) > 1000; }));
  free = false;
  CHECK(soon([&] {
    return said(system).find("shard s3: no turn ended for 50 ms: its program runs") !=
           std::string::npos;
  }));
  CHECK(soon([&] {
    return said(system).find("; the other shards of its thread wait for it") != std::string::npos;
  }));
  CHECK(soon([&] {
    return said(system).find("shard s3 has their thread and does not give way") !=
           std::string::npos;
  }));
  free = true;
  const uint64_t before = consumed(7);
  CHECK(soon([&] { return consumed(7) > before + 1000; }));
  stop(system);
  expect_balance(system);
}

TEST(each_keeps_the_exceptions_that_it_handles) {
  Plan plan = line("exceptions", 1, {stage("a", "sink"), stage("b", "sink"), stage("c", "sink")});
  plan.channels.clear();
  System system(plan, {});
  std::atomic<uint32_t> right{0};
  std::atomic<uint32_t> wrong{0};
  for (uint32_t s = 0; s < 3; ++s) {
    run_instead(system, s, [&](Shard& shard) {
      try {
        throw shard.index();
      } catch (uint32_t) {
        shard.pause();  // the others throw and catch meanwhile
        try {
          throw;
        } catch (uint32_t own) {
          ++(own == shard.index() ? right : wrong);
        }
      }
      return 0u;
    });
  }
  system.start();
  CHECK(soon([&] { return right + wrong > 100; }));
  stop(system);
  CHECK_EQ(wrong.load(), 0u);
}

TEST(more_threads_than_shards_and_the_limit_of_them) {
  System system(lines("few", 6, 4, {{"count", "100"}}), {});
  system.start();
  CHECK(soon([&] { return ended(system); }));
  CHECK_EQ(sum(system, &ShardRecord::consumed), 100u);
  Plan most = lines("most", limits::kPoolThreads, 4, {{"count", "100"}});
  System all(most, {});
  stop(all);
  ++most.threads;
  CHECK_THROWS(System(most, {}), Error);
}
