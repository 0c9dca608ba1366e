// Every limit of a plan at and past its edge, and what contradicts itself, without a manifest.
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <thread>

#include "check.hpp"
#include "kernel/system.hpp"
#include "kernel/validate.hpp"
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

ChannelPlan channel(uint32_t number, uint32_t from, uint32_t to) {
  ChannelPlan plan;
  plan.name = "c" + std::to_string(number);
  plan.from = from;
  plan.to = to;
  plan.capacity = limits::kCapacityMin;
  plan.overflow = Overflow::block;
  return plan;
}

PortPlan port(const std::string& name) {
  PortPlan plan;
  plan.name = name;
  plan.driver = "capture";
  plan.tx = {0};
  plan.write = runtime_folder() + "/" + name + ".pcap";
  return plan;
}

// A source, a chain of `count - 2` shards that pass on, a sink.
Plan chain(uint32_t count) {
  runtime_folder();
  Plan plan;
  plan.name = "limits";
  plan.oversubscribe = true;
  plan.drain_ns = 20'000'000'000;
  plan.shards.push_back(shard("gen", "generate", {{"count", "500"}, {"buffers", "64"}}));
  for (uint32_t s = 1; s + 1 < count; ++s) {
    plan.shards.push_back(shard("s" + std::to_string(s), "forward"));
  }
  plan.shards.push_back(shard("end", "sink"));
  for (uint32_t s = 1; s < count; ++s) plan.channels.push_back(channel(s, s - 1, s));
  return plan;
}

// `count` channels between two shards: a generator spreads its packets over none of them but the
// first, a splitter over all.
Plan bundle(uint32_t count) {
  Plan plan = chain(3);
  plan.shards[0].options = {{"count", "20000"}, {"flows", "5000"}, {"buffers", "4096"}};
  plan.shards[1] = shard("split", "flow-split");
  plan.channels.resize(1);
  for (uint32_t c = 0; c < count; ++c) plan.channels.push_back(channel(2 + c, 1, 2));
  return plan;
}

std::string refusal(const Plan& plan) {
  try {
    System system(plan, {});
  } catch (const Error& error) {
    return error.code();
  }
  return "booted";
}

void run(System& system) {
  system.start();
  for (int i = 0; i < 60000 && system.state() != SystemState::stopped; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (system.state() == SystemState::failed) break;
  }
  for (const Failure& failure : system.failures()) {
    check::fail(__FILE__, __LINE__, failure.code + ": " + failure.message);
  }
  CHECK(system.state() == SystemState::stopped);
}

}  // namespace

TEST(as_many_shards_as_the_limit_and_no_more) {
  {
    System system(chain(limits::kShards), {});
    run(system);
    CHECK_EQ(system.segment().shard(limits::kShards - 1).consumed.get(), 500u);
  }
  CHECK_EQ(refusal(chain(limits::kShards + 1)), "VANITY_E_LIMIT");
}

TEST(as_many_channels_into_and_out_of_a_shard_as_the_limit_and_no_more) {
  for (const Strategy strategy : {Strategy::doorbell, Strategy::rotate}) {
    Plan plan = bundle(limits::kChannelsIntoShard);
    plan.shards[2].strategy = strategy;
    System system(plan, {});
    run(system);
    CHECK_EQ(system.segment().shard(2).consumed.get(), 20000u);
    CHECK_EQ(system.segment().shard(2).wakes_late.get(), 0u);
    uint32_t used = 0;
    for (uint32_t c = 1; c <= limits::kChannelsIntoShard; ++c) {
      used += system.segment().channel(c).received.get() != 0;
    }
    CHECK(used > limits::kChannelsIntoShard * 9 / 10);
  }
  CHECK_EQ(refusal(bundle(limits::kChannelsIntoShard + 1)), "VANITY_E_LIMIT");
}

TEST(as_many_channels_as_the_limit_and_no_more) {
  Plan plan = chain(limits::kShards);
  // Two neighbours never have more than 40 between them: within the limits of each shard.
  for (uint32_t c = limits::kShards; c <= limits::kChannels; ++c) {
    const uint32_t from = c % (limits::kShards - 1);
    plan.channels.push_back(channel(c, from, from + 1));
  }
  CHECK_EQ(plan.channels.size(), size_t{limits::kChannels});
  for (ChannelPlan& each : plan.channels) each.overflow = Overflow::drop;
  {
    System system(plan, {});
    run(system);
  }
  plan.channels.push_back(channel(limits::kChannels + 1, 0, 1));
  CHECK_EQ(refusal(plan), "VANITY_E_LIMIT");
}

TEST(as_many_ports_as_the_limit_and_no_more) {
  Plan plan = chain(2);
  plan.shards.insert(plan.shards.begin(), shard("tx", "port-tx"));
  for (ChannelPlan& each : plan.channels) each = channel(0, 1, 2);
  plan.channels.push_back(channel(1, 1, 0));
  for (uint32_t p = 0; p < limits::kPorts; ++p)
    plan.ports.push_back(port(std::string("p").append(std::to_string(p))));
  {
    System system(plan, {});
    run(system);
  }
  for (const PortPlan& each : plan.ports) unlink(each.write.c_str());
  plan.ports.push_back(port("one-more"));
  CHECK_EQ(refusal(plan), "VANITY_E_LIMIT");
}

TEST(as_many_pools_as_there_are_indices_and_no_more) {
  Plan plan = chain(2);
  plan.ports.clear();
  // Nothing opens: 257 queues are too many before anything is.
  for (uint32_t p = 0; p < 9; ++p) {
    PortPlan each;
    each.name = "p" + std::to_string(p);
    each.driver = "af_packet";
    each.interface = "lo";
    each.rx.assign(p < 8 ? limits::kQueuesPerPort : 1, 0);
    plan.ports.push_back(each);
  }
  CHECK_EQ(refusal(plan), "VANITY_E_LIMIT");
  plan.ports[0].rx.push_back(0);
  CHECK_EQ(refusal(plan), "VANITY_E_LIMIT");
}

TEST(every_number_of_a_plan_has_its_range) {
  const auto code = [](const std::function<void(Plan&)>& change) {
    Plan plan = chain(3);
    plan.channels[0].packets = false;
    plan.ports = {port("out")};
    change(plan);
    try {
      validate(plan);
    } catch (const Error& error) {
      return std::string(error.code());
    }
    return std::string("fine");
  };
  const std::string limit = "VANITY_E_LIMIT";
  const std::string wrong = "VANITY_E_PLAN";
  CHECK_EQ(code([](Plan&) {}), "fine");
  CHECK_EQ(code([](Plan& p) { p.name = std::string(limits::kNameBytes, 'a'); }), "fine");
  CHECK_EQ(code([](Plan& p) { p.name = std::string(limits::kNameBytes + 1, 'a'); }), limit);
  CHECK_EQ(code([](Plan& p) { p.name = ""; }), limit);
  CHECK_EQ(code([](Plan& p) { p.name = "../escape"; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.kernel_core = limits::kCoreMax; }), "fine");
  CHECK_EQ(code([](Plan& p) { p.kernel_core = limits::kCoreMax + 1; }), limit);
  CHECK_EQ(code([](Plan& p) { p.shards[0].core = limits::kCoreMax + 1; }), limit);
  CHECK_EQ(code([](Plan& p) { p.shards[0].burst = limits::kBurstMax; }), "fine");
  CHECK_EQ(code([](Plan& p) { p.shards[0].burst = limits::kBurstMax + 1; }), limit);
  CHECK_EQ(code([](Plan& p) { p.shards[0].burst = 0; }), limit);
  CHECK_EQ(code([](Plan& p) { p.shards[0].fifo = 100; }), limit);
  CHECK_EQ(code([](Plan& p) { p.shards[0].arena_bytes = UINT64_MAX; }), limit);
  CHECK_EQ(code([](Plan& p) { p.shards[1].primary = 0; }), "fine");
  CHECK_EQ(code([](Plan& p) { p.shards[1].primary = 1; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.shards[1].primary = 2; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.channels[0].to = 3; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.channels[0].to = 0; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.channels[0].capacity = limits::kCapacityMax; }), "fine");
  CHECK_EQ(code([](Plan& p) { p.channels[0].capacity = limits::kCapacityMax * 2; }), limit);
  CHECK_EQ(code([](Plan& p) { p.channels[0].capacity = 1; }), limit);
  CHECK_EQ(code([](Plan& p) { p.channels[0].capacity = 3; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.channels[0].element_bytes = limits::kElementBytesMax; }), "fine");
  CHECK_EQ(code([](Plan& p) { p.channels[0].element_bytes = limits::kElementBytesMax + 8; }),
           limit);
  CHECK_EQ(code([](Plan& p) { p.channels[0].element_bytes = 12; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.channels[0].high_watermark = 3; }), limit);
  CHECK_EQ(code([](Plan& p) { p.channels[0].high_watermark = p.channels[0].low_watermark = 2; }),
           limit);
  CHECK_EQ(code([](Plan& p) { p.ports[0].tx.clear(); }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports[0].tx = {3}; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports[0].tx = {0, 1}; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports[0].rx = {0}; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports[0].tx.assign(limits::kQueuesPerPort + 1, 0); }), limit);
  CHECK_EQ(code([](Plan& p) { p.ports[0].buffers = limits::kPoolBuffersMax + 1; }), limit);
  CHECK_EQ(code([](Plan& p) { p.ports[0].buffers = 0; }), limit);
  CHECK_EQ(code([](Plan& p) { p.ports[0].buffer_bytes = limits::kBufferBytesMax + 64; }), limit);
  CHECK_EQ(code([](Plan& p) { p.ports[0].buffer_bytes = 257; }), wrong);
}

TEST(every_number_of_a_device_has_its_range) {
  const auto nic = [] {
    Plan plan = chain(2);
    DevicePlan granted;
    granted.name = std::string("acc");
    granted.address = std::string("0000:00:01.0");
    granted.mmio = {{5, 0, 4096, 1}};
    granted.irqs = {{0, 0, IrqTrigger::msix, Eoi::immediate},
                    {1, 1, IrqTrigger::msix, Eoi::immediate}};
    granted.dma = {{"ring", 4096, 32, 0}};
    DevicePlan driven;
    driven.name = std::string("nic");
    driven.address = std::string("0000:00:02.0");
    driven.driver = std::string("e1000e");
    plan.devices = {granted, driven};
    PortPlan lan = port("lan");
    lan.driver = std::string("device");
    lan.write = std::string("");
    lan.rx = {0};
    lan.tx = {1};
    lan.device = 1;
    plan.ports = {lan};
    return plan;
  };
  const auto code = [&](const std::function<void(Plan&)>& change) {
    Plan plan = nic();
    change(plan);
    try {
      validate(plan);
    } catch (const Error& error) {
      return std::string(error.code());
    }
    return std::string("fine");
  };
  const std::string limit = "VANITY_E_LIMIT";
  const std::string wrong = "VANITY_E_PLAN";
  CHECK_EQ(code([](Plan&) {}), "fine");
  CHECK_EQ(code([](Plan& p) { p.devices[0].name = std::string(""); }), limit);
  CHECK_EQ(code([](Plan& p) { p.devices[1].address = p.devices[0].address; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.devices[0].mmio[0].bar = 6; }), limit);
  CHECK_EQ(code([](Plan& p) { p.devices[0].mmio[0].shard = 2; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.devices[0].irqs[0].shard = 2; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.devices[0].irqs[0].vector = 1; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.devices[0].irqs[0].trigger = IrqTrigger::msi; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.devices[0].irqs[1].vector = limits::kVectorsPerDevice - 1; }),
           "fine");
  CHECK_EQ(code([](Plan& p) { p.devices[0].irqs[1].vector = limits::kVectorsPerDevice; }), limit);
  CHECK_EQ(code([](Plan& p) { p.devices[0].dma[0].shard = kNone; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.devices[0].dma[0].bytes = 0; }), limit);
  CHECK_EQ(code([](Plan& p) { p.devices[0].dma[0].bits = 65; }), limit);
  CHECK_EQ(code([](Plan& p) { p.devices[0].dma[0].name = std::string(""); }), limit);
  CHECK_EQ(code([](Plan& p) { p.ports[0].device = kNone; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports[0].device = 2; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports[0].device = 0; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports[0].rx.clear(); }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports.push_back(p.ports[0]); }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports[0].ring = limits::kRingMax; }), "fine");
  CHECK_EQ(code([](Plan& p) { p.ports[0].ring = limits::kRingMax * 2; }), limit);
  CHECK_EQ(code([](Plan& p) { p.ports[0].ring = limits::kRingMin / 2; }), limit);
  CHECK_EQ(code([](Plan& p) { p.ports[0].ring = 100; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports[0].mac = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}; }), "fine");
  CHECK_EQ(code([](Plan& p) { p.ports[0].mac = {1, 0, 0x5e, 0, 0, 9}; }), wrong);
  CHECK_EQ(code([](Plan& p) { p.ports.clear(); }), wrong);  // a driver with nothing to drive for
  CHECK_EQ(code([](Plan& p) { p.devices[1].mmio = {{0, 0, 4096, 0}}; }), wrong);
  const auto with = [&](size_t devices) {
    return code([&](Plan& p) {
      p.devices.resize(devices, p.devices[0]);
      for (size_t d = 0; d < devices; ++d) p.devices[d].address = std::to_string(d);
    });
  };
  CHECK_EQ(with(limits::kDevices), "fine");
  CHECK_EQ(with(limits::kDevices + 1), limit);
}
