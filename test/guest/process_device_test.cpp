// A device in the hands of a shard that is a process of its own: QEMU's edu, worked by a native
// module (test/native/modules/worker.c), on real VFIO. The process is killed at its work, and Linux
// wants the device back. And of one that is a thread, whose program is left at its work. Runs
// inside the guest only (test/guest/jobs/process-device.sh).
#include <linux/pci_regs.h>

#include <filesystem>

#include "../native/check.hpp"
#include "kernel/command.hpp"
#include "kernel/system.hpp"
#include "platform/error.hpp"
#include "system_fixture.hpp"

using namespace vanity;

namespace {

std::string edu_address() {
  return variable("VANITY_EDU");
}

// Beside it packets flow from one thread to another.
Plan plan_of(const std::string& name, IrqTrigger trigger, uint64_t backoff_ns = 1'000'000) {
  Plan plan;
  plan.name = name;
  plan.process = VANITY_PROCESS;
  plan.oversubscribe = true;
  ShardPlan worker;
  worker.name = "worker";
  worker.kind = ProgramKind::native;
  worker.program = std::string(VANITY_MODULES) + "/worker.so";
  worker.isolated = true;
  worker.watch.backoff_ns = backoff_ns;
  worker.watch.max_restarts = 1'000'000;
  worker.watch.window_ns = 1;
  if (trigger == IrqTrigger::level) worker.options["eoi"] = "delayed";
  ShardPlan gen;
  gen.name = "gen";
  gen.program = "generate";
  gen.options = {{"count", "0"}, {"rate", "1000"}};
  ShardPlan end;
  end.name = "end";
  end.program = "sink";
  plan.shards = {worker, gen, end};
  ChannelPlan channel;
  channel.name = "c";
  channel.from = 1;
  channel.to = 2;
  channel.overflow = Overflow::block;
  plan.channels = {channel};
  DevicePlan edu;
  edu.name = "edu";
  edu.address = edu_address();
  edu.mmio = {{0, 0, 0x100, 0}};
  edu.irqs = {{0, 0, trigger, trigger == IrqTrigger::level ? Eoi::delayed : Eoi::immediate}};
  edu.dma = {{"area", 4096, 28, 0}};
  plan.devices = {edu};
  return plan;
}

uint64_t counted(System& system, const std::string& name) {
  for (const DynamicCounter& counter : system.segment().shard(0).user) {
    if (name == counter.name) return counter.value.get();
  }
  return 0;
}

bool works(System& system, uint64_t rounds = 2) {
  const uint64_t until = counted(system, "rounds") + rounds;
  const bool done = eventually([&] { return counted(system, "rounds") >= until; });
  for (const Failure& each : system.warnings()) {
    if (!done) std::printf("  %s: %s\n", each.code.c_str(), each.message.c_str());
  }
  return done;
}

bool masters_bus() {
  return (Sysfs().config_read16(PciAddress::parse(edu_address()), PCI_COMMAND) &
          PCI_COMMAND_MASTER) != 0;
}

pid_t process_of(System& system) {
  return static_cast<pid_t>(system.segment().shard(0).tid.load());
}

// The others lost nothing, and nothing was wrong.
void ends_well(System& system) {
  stop(system);
  CHECK_EQ(counted(system, "wrong"), 0u);
  CHECK_EQ(counted(system, "dirty"), 0u);
  CHECK_EQ(system.segment().shard(1).faults.get() + system.segment().shard(2).faults.get(), 0u);
  CHECK_EQ(system.segment().shard(2).consumed.get(), system.segment().shard(1).sent.get());
  CHECK_EQ(system.segment().shard(1).dropped.get(), 0u);
  CHECK(system.segment().shard(2).consumed.get() > 100);
}

}  // namespace

TEST(a_process_works_a_device_as_a_thread_does) {
  for (const IrqTrigger trigger : {IrqTrigger::level, IrqTrigger::msi}) {
    System system(plan_of("works", trigger), {});
    run(system);
    CHECK(works(system, 3));
    const pid_t process = process_of(system);
    CHECK(process != getpid());
    // The descriptor by which all of the device could be had is not its program's.
    size_t files = 0;
    for (const auto& file :
         std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/fd")) {
      ++files;
      const std::string target = std::filesystem::read_symlink(file).string();
      if (target.find("vfio") != std::string::npos) check::fail(__FILE__, __LINE__, target);
    }
    CHECK(files > 0);
    ends_well(system);
    const VectorRecord& v = system.segment().vector(0);
    CHECK(v.raised.get() >= 9);                  // three a round
    CHECK(v.raised.get() - v.taken.get() <= 1);  // the last, when it had ended
    CHECK_EQ(v.done.get(), trigger == IrqTrigger::level ? v.taken.get() : 0);
    CHECK_EQ(system.segment().device(0).refused.get(), 1u);
  }
}

TEST(what_a_killed_process_had_begun_reaches_no_memory_of_the_next) {
  for (const IrqTrigger trigger : {IrqTrigger::level, IrqTrigger::msi}) {
    System system(plan_of("killed", trigger), {});
    const ShardRecord& record = system.segment().shard(0);
    run(system);
    for (uint32_t i = 0; i < 8; ++i) {
      CHECK(works(system, 1));
      // The device copies into its memory, a tenth of a second from here.
      const uint64_t writes = counted(system, "writes");
      CHECK(eventually([&] { return counted(system, "writes") > writes; }));
      CHECK_EQ(kill(process_of(system), SIGKILL), 0);
      CHECK(eventually([&] { return record.restarts.get() > i; }));
    }
    CHECK(works(system));
    std::printf("  the next one found a copy under way %llu times of 8\n",
                static_cast<unsigned long long>(counted(system, "under_way")));
    CHECK_EQ(record.restarts.get(), 8u);
    ends_well(system);
    const VectorRecord& v = system.segment().vector(0);
    CHECK(v.raised.get() - v.taken.get() <= 1);
  }
}

TEST(a_device_stands_still_while_nobody_works_it) {
  System system(plan_of("still", IrqTrigger::msi, 1'000'000'000), {});
  const ShardRecord& record = system.segment().shard(0);
  run(system);
  CHECK(works(system, 1));
  CHECK(masters_bus());
  CHECK_EQ(kill(process_of(system), SIGKILL), 0);
  CHECK(eventually([] { return !masters_bus(); }));
  CHECK_EQ(record.restarts.get(), 0u);
  CHECK(eventually([&] { return record.restarts.get() == 1; }));
  CHECK(works(system, 1));
  CHECK(masters_bus());
  ends_well(system);
}

TEST(a_device_of_a_thread_stands_still_between_two_of_its_programs) {
  for (const IrqTrigger trigger : {IrqTrigger::level, IrqTrigger::msi}) {
    Plan plan = plan_of("thread", trigger);
    plan.shards[0].isolated = false;
    System system(plan, {});
    const ShardRecord& record = system.segment().shard(0);
    run(system);
    for (uint32_t i = 0; i < 4; ++i) {
      CHECK(works(system, 1));
      CHECK(masters_bus());
      const uint64_t writes = counted(system, "writes");
      CHECK(eventually([&] { return counted(system, "writes") > writes; }));
      command_shard(system.segment().path(), 0, Command::restart, 0);
      CHECK(eventually([] { return !masters_bus(); }));
      CHECK_EQ(record.restarts.get(), i);
      CHECK(eventually([&] { return record.restarts.get() > i; }));
    }
    CHECK(works(system));
    std::printf("  the next one found a copy under way %llu times of 4\n",
                static_cast<unsigned long long>(counted(system, "under_way")));
    ends_well(system);
  }
}

TEST(a_device_that_others_have_goes_on) {
  Plan plan = plan_of("shared", IrqTrigger::msi);
  plan.shards[0].isolated = false;
  plan.devices[0].dma.push_back({"others", 4096, 28, 2});
  System system(plan, {});
  const ShardRecord& record = system.segment().shard(0);
  run(system);
  CHECK(works(system, 1));
  command_shard(system.segment().path(), 0, Command::restart, 0);
  while (record.restarts.get() == 0) CHECK(masters_bus());
  CHECK(works(system, 1));
  stop(system);
}

TEST(linux_has_it_back_from_a_process_and_the_next_one_finds_none) {
  for (const bool stuck : {false, true}) {
    System system(plan_of("unbound", IrqTrigger::level), {});
    const ShardRecord& record = system.segment().shard(0);
    run(system);
    CHECK(works(system, 1));
    // It neither lets go nor ends by itself.
    if (stuck) CHECK_EQ(kill(process_of(system), SIGSTOP), 0);
    const auto began = std::chrono::steady_clock::now();
    tell_vfio("unbind", edu_address());
    std::printf("  Linux had it back after %lld ms\n", ms_since(began));
    CHECK(eventually([&] { return is_returned(system.segment().device(0)); }));
    CHECK(system.state() == SystemState::running);
    if (!stuck) {
      CHECK_EQ(record.faults.get(), 0u);
      CHECK_EQ(kill(process_of(system), SIGKILL), 0);
    }
    CHECK(eventually([&] { return record.restarts.get() == 1; }));
    CHECK_EQ(counted(system, "without"), 1u);
    tell_vfio("bind", edu_address());
    ends_well(system);
  }
}
