// A whole System with a device: QEMU's edu, driven by a native module
// (test/native/modules/raiser.c) through the C ABI, on real VFIO. Runs inside the guest only
// (test/guest/jobs/interrupts.sh).
#include <linux/pci_regs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>

#include "../native/check.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "system_fixture.hpp"

using namespace vanity;

namespace {

constexpr uint64_t kInterrupts = 10'000;

std::string edu_address() {
  return variable("VANITY_EDU");
}

Plan plan_of(const std::string& name, IrqTrigger trigger, Eoi eoi,
             std::map<std::string, std::string> options) {
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;
  ShardPlan raiser;
  raiser.name = "raiser";
  raiser.kind = ProgramKind::native;
  raiser.program = std::string(VANITY_MODULES) + "/raiser.so";
  raiser.options = std::move(options);
  if (eoi == Eoi::delayed) raiser.options["eoi"] = "delayed";
  plan.shards = {raiser};
  DevicePlan edu;
  edu.name = "edu";
  edu.address = edu_address();
  edu.mmio = {{0, 0, 0x100, 0}};
  edu.irqs = {{0, 0, trigger, eoi}};
  edu.dma = {{"buffer", 4096, 28, 0}};
  plan.devices = {edu};
  return plan;
}

uint64_t counted(System& system, const std::string& name) {
  const ShardRecord& record = system.segment().shard(0);
  for (const DynamicCounter& counter : record.user) {
    if (name == counter.name) return counter.value.get();
  }
  return 0;
}

bool warned(System& system, const std::string& code, const std::string& part) {
  for (const Failure& warning : system.warnings()) {
    if (warning.code != code) continue;
    std::printf("  %s\n", warning.message.c_str());
    if (warning.message.find(part) != std::string::npos) return true;
  }
  return false;
}

double percentile_us(const Histogram& histogram, double part) {
  uint64_t all = 0;
  for (const Counter& bucket : histogram.buckets) all += bucket.get();
  uint64_t before = 0;
  for (uint32_t i = 0; i < Histogram::kBuckets; ++i) {
    before += histogram.buckets[i].get();
    if (static_cast<double>(before) < part * static_cast<double>(all)) continue;
    const uint64_t octave = i >> Histogram::kSubBits;
    const uint64_t low = octave == 0 ? i : ((i & 7) | 8) << (octave - 1);
    return static_cast<double>(ticks_to_ns(low)) / 1000.0;
  }
  return 0;
}
void print(System& system) {
  const VectorRecord& v = system.segment().vector(0);
  const Histogram& latency = v.latency_ticks;
  std::printf(
      "  %s: raised %llu, taken %llu, done %llu, storms %llu, suppressed %llu; kernel to shard p50 "
      "%.1f us, p90 %.1f us, p99 %.1f us; the shard slept %llu times\n",
      v.name, static_cast<unsigned long long>(v.raised.get()),
      static_cast<unsigned long long>(v.taken.get()), static_cast<unsigned long long>(v.done.get()),
      static_cast<unsigned long long>(v.storms.get()),
      static_cast<unsigned long long>(v.suppressed.get()), percentile_us(latency, 0.5),
      percentile_us(latency, 0.9), percentile_us(latency, 0.99),
      static_cast<unsigned long long>(system.segment().shard(0).waits.get()));
}

// However slow the host is: it must only go on.
bool all_handled(System& system, uint64_t count) {
  for (;;) {
    const uint64_t before = counted(system, "handled");
    if (before >= count) return true;
    if (!eventually([&] { return counted(system, "handled") != before; }, 20)) {
      std::printf("  stuck at %llu of %llu\n", static_cast<unsigned long long>(before),
                  static_cast<unsigned long long>(count));
      print(system);
      return false;
    }
  }
}

}  // namespace

TEST(delayed_level_interrupts_arrive_once_each) {
  System system(
      plan_of("delayed", IrqTrigger::level, Eoi::delayed, {{"count", std::to_string(kInterrupts)}}),
      {});
  run(system);
  CHECK(all_handled(system, kInterrupts));
  print(system);
  stop(system);
  const VectorRecord& v = system.segment().vector(0);
  CHECK_EQ(counted(system, "handled"), kInterrupts);
  CHECK_EQ(v.raised.get(), v.taken.get());
  CHECK_EQ(v.done.get(), v.raised.get());  // an EOI for each
  CHECK_EQ(v.raised.get(), kInterrupts + counted(system, "unasked"));
  CHECK(v.masked_ticks.get() > 0);
  CHECK_EQ(v.storms.get(), 0u);
  CHECK_EQ(system.segment().device(0).refused.get(), 3u);  // what its init tried
  CHECK(std::string(system.segment().device(0).address) == edu_address());
}

TEST(immediate_level_interrupts_all_arrive) {
  System system(plan_of("immediate", IrqTrigger::level, Eoi::immediate,
                        {{"count", std::to_string(kInterrupts)}}),
                {});
  run(system);
  CHECK(all_handled(system, kInterrupts));
  print(system);
  stop(system);
  const VectorRecord& v = system.segment().vector(0);
  CHECK_EQ(counted(system, "handled"), kInterrupts);
  CHECK(v.raised.get() >= kInterrupts);  // and again, while the shard was on its way
  CHECK(v.done.get() >= kInterrupts);
}

TEST(a_device_that_nobody_acknowledges_storms_and_is_held_back) {
  System system(plan_of("storm", IrqTrigger::level, Eoi::immediate,
                        {{"count", "100"}, {"forget_ms", "1000"}}),
                {});
  run(system);
  const VectorRecord& v = system.segment().vector(0);
  CHECK(eventually([&] { return v.storms.get() > 0; }));
  const uint64_t at_first = v.raised.get();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const uint64_t in_half_a_second = v.raised.get() - at_first;
  std::printf("  held back to %llu in half a second\n",
              static_cast<unsigned long long>(in_half_a_second));
  CHECK(in_half_a_second < 50);  // unhindered it is tens of thousands
  CHECK(v.suppressed.get() > 0);
  CHECK(warned(system, "VANITY_W_IRQ_STORM", "device edu, vector 0, shard raiser"));
  CHECK(all_handled(system, 100));  // and over it is, once the shard does its part
  print(system);
  stop(system);
}

TEST(messages_arrive_once_each_and_are_timed) {
  System system(
      plan_of("msi", IrqTrigger::msi, Eoi::immediate, {{"count", std::to_string(kInterrupts)}}),
      {});
  run(system);
  CHECK(all_handled(system, kInterrupts));
  print(system);
  stop(system);
  const VectorRecord& v = system.segment().vector(0);
  CHECK_EQ(v.raised.get(), kInterrupts);
  CHECK_EQ(v.taken.get(), kInterrupts);
  CHECK_EQ(v.done.get(), 0u);
  uint64_t timed = 0;
  for (const Counter& bucket : v.latency_ticks.buckets) timed += bucket.get();
  CHECK_EQ(timed, kInterrupts);
}

TEST(the_next_start_after_sigkill_finds_the_device_well) {
  for (const IrqTrigger trigger : {IrqTrigger::level, IrqTrigger::msi}) {
    const Eoi eoi = trigger == IrqTrigger::level ? Eoi::delayed : Eoi::immediate;
    dies_by_sigkill(std::chrono::seconds(2), [&] {
      System system(plan_of("killed", trigger, eoi, {{"count", "1000000"}}), {});
      run(system);
      for (;;) pause();
    });
    System system(plan_of("killed", trigger, eoi, {{"count", "1000"}}), {});
    run(system);
    CHECK(all_handled(system, 1000));
    stop(system);
  }
}

TEST(a_start_that_fails_gives_the_device_back) {
  const auto code = [](const std::function<void(Plan&)>& change) {
    Plan plan = plan_of("failing", IrqTrigger::level, Eoi::delayed, {{"count", "10"}});
    change(plan);
    try {
      System system(plan, {});
      CHECK(eventually([&] { return system.state() != SystemState::booting; }));
      CHECK(eventually([&] { return system.state() == SystemState::failed; }));
      return system.failures().at(0).code;
    } catch (const Error& error) {
      return std::string(error.code());
    }
  };
  CHECK_EQ(code([](Plan& p) { p.devices[0].irqs[0].vector = 1; }), "VANITY_E_VECTOR");
  CHECK_EQ(code([](Plan& p) { p.devices[0].mmio[0].bytes = 1 << 30; }), "VANITY_E_BAR");
  CHECK_EQ(code([](Plan& p) { p.devices[0].mmio[0].bar = 5; }), "VANITY_E_BAR");
  CHECK_EQ(code([](Plan& p) { p.devices[0].dma[0].bits = 16; }), "VANITY_E_VFIO_IOVA");
  CHECK_EQ(code([](Plan& p) { p.devices.push_back(p.devices[0]); }), "VANITY_E_PLAN");
  CHECK_EQ(code([](Plan& p) { p.devices[0].dma.clear(); }), "VANITY_E_PROGRAM_INIT");
  System system(plan_of("well", IrqTrigger::level, Eoi::delayed, {{"count", "100"}}), {});
  run(system);
  CHECK(all_handled(system, 100));
  stop(system);
}

TEST(a_device_is_stopped_beside_a_shard_that_never_stops) {
  const auto masters_bus = [] {
    return (Sysfs().config_read16(PciAddress::parse(edu_address()), PCI_COMMAND) &
            PCI_COMMAND_MASTER) != 0;
  };
  const pid_t child = fork();
  if (child == 0) {
    int result = 1;
    try {
      Plan plan = plan_of("stuck", IrqTrigger::msi, Eoi::immediate, {{"count", "100000000"}});
      plan.drain_ns = 100'000'000;
      ShardPlan endless;
      endless.name = std::string("endless");
      endless.kind = ProgramKind::native;
      endless.program = std::string(VANITY_MODULES) + "/endless.so";
      plan.shards.push_back(endless);
      System system(plan, {});
      run(system);
      const bool before = masters_bus();
      system.stop(true);
      const bool failed = eventually([&] { return system.state() == SystemState::failed; });
      result = before && failed && !masters_bus() ? 0 : 2;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "  child: %s\n", error.what());
    }
    _exit(result);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 0);
}

TEST(a_device_that_linux_wants_back_goes_and_the_system_runs_on) {
  Plan plan = plan_of("unbound", IrqTrigger::level, Eoi::delayed, {{"count", "100000000"}});
  ShardPlan gen;
  gen.name = "gen";
  gen.program = "generate";
  gen.options = {{"count", "0"}, {"rate", "1000"}};
  ShardPlan end;
  end.name = "end";
  end.program = "sink";
  plan.shards.push_back(gen);
  plan.shards.push_back(end);
  ChannelPlan channel;
  channel.name = "c";
  channel.from = 1;
  channel.to = 2;
  plan.channels = {channel};
  System system(plan, {});
  run(system);
  CHECK(all_handled(system, 200));
  const auto began = std::chrono::steady_clock::now();
  tell_vfio("unbind", edu_address());
  std::printf("  Linux had it back after %lld ms\n", ms_since(began));
  const DeviceRecord& record = system.segment().device(0);
  CHECK(eventually([&] { return is_returned(record); }));
  CHECK(record.requests.get() > 0);
  CHECK(eventually([&] { return counted(system, "returned") == 1; }));
  CHECK_EQ(counted(system, "wanted"), 1u);
  CHECK_EQ(counted(system, "alive"), 1u);
  CHECK_EQ(counted(system, "lost"), 0u);
  CHECK(warned(system, "VANITY_W_DEVICE_WANTED", "device edu (" + edu_address() + ")"));
  CHECK(system.state() == SystemState::running);
  const uint64_t before = system.segment().shard(2).consumed.get();
  CHECK(eventually([&] { return system.segment().shard(2).consumed.get() > before + 100; }));
  stop(system);
  tell_vfio("bind", edu_address());
  System again(plan_of("again", IrqTrigger::level, Eoi::delayed, {{"count", "100"}}), {});
  run(again);
  CHECK(all_handled(again, 100));
  stop(again);
}
