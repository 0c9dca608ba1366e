#include "kernel/validate.hpp"

#include <algorithm>
#include <string>

#include "platform/error.hpp"
#include "shard/program.hpp"
#include "vanity/limits.hpp"

namespace vanity {
namespace {

constexpr uint32_t kFifoMax = 99;
constexpr uint64_t kArenaBytesMax = uint64_t{1} << 46;  // of the address space

[[noreturn]] void refuse(const std::string& who, const std::string& why) {
  throw Error("VANITY_E_PLAN", who + ": " + why);
}

void within(const std::string& what, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return;
  throw Error("VANITY_E_LIMIT", what + " is " + std::to_string(value) + ": expected " +
                                    std::to_string(least) + " to " + std::to_string(most));
}

// A name becomes a file name and a fixed field of the segment.
void check_name(const std::string& kind, const std::string& name) {
  within("the length of the " + kind + "'s name \"" + name + "\"", name.size(), 1,
         limits::kNameBytes);
  if (name.find('/') != std::string::npos || name[0] == '.') {
    refuse(kind + " " + name, "no name has a slash, or a dot in front");
  }
}

void check_core(const std::string& who, uint32_t core) {
  if (core != kNone) within("the core of " + who, core, 0, limits::kCoreMax);
}

void check_shard(const Plan& plan, uint32_t index) {
  const ShardPlan& shard = plan.shards[index];
  check_name("shard", shard.name);
  const std::string who = "shard " + shard.name;
  check_core(who, shard.core);
  within("burst of " + who, shard.burst, 1, limits::kBurstMax);
  within("fifo of " + who, shard.fifo, 0, kFifoMax);
  within("arena of " + who, shard.arena_bytes, 0, kArenaBytesMax);
  if (shard.primary == kNone) return;
  if (shard.primary >= plan.channels.size() || plan.channels[shard.primary].to != index) {
    refuse(who, "its primary channel does not lead to it");
  }
}

void check_no_device(const Plan& plan, uint32_t index, const std::string& who) {
  for (const DevicePlan& device : plan.devices) {
    const auto granted = [index](const auto& grant) { return grant.shard == index; };
    if (std::any_of(device.mmio.begin(), device.mmio.end(), granted) ||
        std::any_of(device.irqs.begin(), device.irqs.end(), granted) ||
        std::any_of(device.dma.begin(), device.dma.end(), granted)) {
      refuse(who, "it has been granted device " + device.name);
    }
  }
}

// When the process ends the whole device is stopped, and reset.
void check_device_alone(const Plan& plan, uint32_t index, const std::string& who) {
  for (const DevicePlan& device : plan.devices) {
    uint32_t own = 0;
    const auto count = [index, &own](const auto& grants) {
      for (const auto& grant : grants) own += grant.shard == index;
      return static_cast<uint32_t>(grants.size());
    };
    const uint32_t all = count(device.mmio) + count(device.irqs) + count(device.dma);
    if (own != 0 && own != all)
      refuse(who, "it shares device " + device.name + ", which is stopped when it ends");
  }
}

// What a process of its own cannot have: it is handed rings and buffers of others, devices, and
// nothing else.
void check_isolated(const Plan& plan, uint32_t index) {
  const ShardPlan& shard = plan.shards[index];
  const std::string who = "shard " + shard.name + ", a process of its own";
  if (shard.kind == ProgramKind::typescript) refuse(who, "it runs TypeScript");
  if (shard.kind == ProgramKind::builtin && shard.program == "generate")
    refuse(who, "it makes packets");
  if (shard.kind == ProgramKind::native &&
      option_number(shard.options, "buffers", 0, 0, limits::kPoolBuffersMax) != 0) {
    refuse(who, "it has buffers of its own");
  }
  if (shard.watch.on_fault == Policy::report) refuse(who, "nothing contains its faults");
  if (plan.threads != 0) refuse(who, "threads that carry many shards wake nobody in a process");
  const auto has = [index](const std::vector<uint32_t>& shards) {
    return std::find(shards.begin(), shards.end(), index) != shards.end();
  };
  for (const PortPlan& port : plan.ports) {
    if (has(port.rx) || has(port.tx)) refuse(who, "it works port " + port.name);
  }
  check_device_alone(plan, index, who);
}

// What a program that is confined by a protection key cannot have.
void check_keyed(const Plan& plan, uint32_t index) {
  const ShardPlan& shard = plan.shards[index];
  const std::string who = "shard " + shard.name + ", which is confined by a protection key";
  if (shard.kind != ProgramKind::native) refuse(who, "its program is not a native module");
  if (shard.watch.on_fault == Policy::report) refuse(who, "nothing contains its faults");
  if (plan.threads != 0) refuse(who, "its thread carries other shards too");
  check_no_device(plan, index, who);
  for (const ChannelPlan& channel : plan.channels) {
    if (channel.from == index && !channel.packets && channel.to < plan.shards.size() &&
        plan.shards[channel.to].isolated) {
      refuse(who, "it writes messages to channel " + channel.name +
                      ", whose ring lies in the memory of a process");
    }
  }
}

void check_channel(const Plan& plan, const ChannelPlan& channel) {
  check_name("channel", channel.name);
  const std::string who = "channel " + channel.name;
  if (channel.from >= plan.shards.size() || channel.to >= plan.shards.size()) {
    refuse(who, "there is no such shard");
  }
  if (channel.from == channel.to) refuse(who, "it leads to the shard it comes from");
  within("capacity of " + who, channel.capacity, limits::kCapacityMin, limits::kCapacityMax);
  if ((channel.capacity & (channel.capacity - 1)) != 0) {
    refuse(who, "its capacity is no power of two");
  }
  if (!channel.packets) {
    within("element_bytes of " + who, channel.element_bytes, limits::kElementBytesMin,
           limits::kElementBytesMax);
    if (channel.element_bytes % 8 != 0) refuse(who, "its element_bytes are no multiple of 8");
  }
  if (channel.high_watermark == 0) return;
  within("high_watermark of " + who, channel.high_watermark, 1, channel.capacity);
  within("low_watermark of " + who, channel.low_watermark, 0, channel.high_watermark - 1);
}

void check_port(const Plan& plan, const PortPlan& port) {
  check_name("port", port.name);
  const std::string who = "port " + port.name;
  for (const auto* queues : {&port.rx, &port.tx}) {
    within("the number of queues of " + who, queues->size(), 0, limits::kQueuesPerPort);
    for (const uint32_t shard : *queues) {
      if (shard >= plan.shards.size()) refuse(who, "there is no such shard");
    }
  }
  if (port.rx.empty() && port.tx.empty()) refuse(who, "it has no queue");
  if (port.driver == "capture" && (port.rx.size() != (port.file.empty() ? 0 : 1) ||
                                   port.tx.size() != (port.write.empty() ? 0 : 1))) {
    refuse(who, "a capture has one queue for the file it reads and one for the file it writes");
  }
  within("buffers of " + who, port.buffers, 1, limits::kPoolBuffersMax);
  within("buffer_bytes of " + who, port.buffer_bytes, limits::kBufferBytesMin,
         limits::kBufferBytesMax);
  if (port.buffer_bytes % 64 != 0) refuse(who, "its buffer_bytes are no multiple of 64");
  if (port.reached_from_outside()) {
    within("ring of " + who, port.ring, limits::kRingMin, limits::kRingMax);
    if ((port.ring & (port.ring - 1)) != 0) refuse(who, "its ring is no power of two");
  }
  if (port.on_socket()) {
    within("the length of the socket's path of " + who, port.socket.size(), 1,
           limits::kSocketPathBytes);
    if (!port.rx.empty() && port.tx.size() > port.rx.size())
      refuse(who, "it has more transmit queues than receive queues");
  }
  if (port.device == kNone) {
    if (port.driver == "device") refuse(who, "it names no device");
    return;
  }
  if (port.device >= plan.devices.size()) refuse(who, "there is no such device");
  if (plan.devices[port.device].driver == "vfio") {
    refuse(who, "device " + plan.devices[port.device].name + " has no driver of a NIC");
  }
  if (port.rx.empty()) refuse(who, "a device needs a receive queue");
  if ((port.mac[0] & 1) != 0) refuse(who, "its mac is the address of a group");
  for (const PortPlan& other : plan.ports) {
    if (&other != &port && other.device == port.device) {
      refuse(who, "port " + other.name + " has its device");
    }
  }
}

void check_device(const Plan& plan, uint32_t index) {
  const DevicePlan& device = plan.devices[index];
  check_name("device", device.name);
  const std::string who = "device " + device.name;
  bool has_port = false;
  for (const PortPlan& port : plan.ports) has_port |= port.device == index;
  if (device.driver != "vfio" && !has_port) refuse(who, "its driver needs a port");
  if (has_port && !(device.mmio.empty() && device.irqs.empty() && device.dma.empty())) {
    refuse(who, "its driver takes what it needs: it grants nothing itself");
  }
  for (uint32_t other = 0; other < index; ++other) {
    if (plan.devices[other].address == device.address) {
      refuse(who, "device " + plan.devices[other].name + " has its address");
    }
  }
  const auto check_shard_of = [&](uint32_t shard) {
    if (shard >= plan.shards.size()) refuse(who, "there is no such shard");
  };
  for (const MmioPlan& mmio : device.mmio) {
    check_shard_of(mmio.shard);
    within("bar of " + who, mmio.bar, 0, 5);
  }
  within("the number of vectors of " + who, device.irqs.size(), 0, limits::kVectorsPerDevice);
  for (const IrqPlan& irq : device.irqs) {
    check_shard_of(irq.shard);
    within("vector of " + who, irq.vector, 0, limits::kVectorsPerDevice - 1);
    if (irq.trigger != device.irqs.front().trigger) refuse(who, "a device has one kind of vectors");
    for (const IrqPlan& other : device.irqs) {
      if (&other != &irq && other.vector == irq.vector) refuse(who, "a vector is granted twice");
    }
  }
  for (const DmaPlan& dma : device.dma) {
    check_shard_of(dma.shard);
    within("the length of a region's name of " + who, dma.name.size(), 1, limits::kNameBytes);
    within("bytes of region " + dma.name + " of " + who, dma.bytes, 1, kArenaBytesMax);
    within("bits of region " + dma.name + " of " + who, dma.bits, 16, 64);
  }
}

}  // namespace

void validate_shard(const Plan& plan, uint32_t shard) {
  check_shard(plan, shard);
}

void validate_channel(const Plan& plan, uint32_t channel) {
  check_channel(plan, plan.channels[channel]);
}

void validate_port(const Plan& plan, uint32_t port) {
  check_port(plan, plan.ports[port]);
}

void validate(const Plan& plan) {
  check_name("system", plan.name);
  check_core("the kernel", plan.kernel_core);
  within("the number of shards", plan.shards.size(), 0, limits::kShards);
  within("the number of threads that carry shards", plan.threads, 0, limits::kPoolThreads);
  within("the number of channels", plan.channels.size(), 0, limits::kChannels);
  within("the number of ports", plan.ports.size(), 0, limits::kPorts);
  for (uint32_t s = 0; s < plan.shards.size(); ++s) {
    check_shard(plan, s);
    if (plan.shards[s].isolated) check_isolated(plan, s);
    if (plan.shards[s].keyed) check_keyed(plan, s);
  }
  std::vector<uint32_t> in(plan.shards.size(), 0);
  std::vector<uint32_t> out(plan.shards.size(), 0);
  for (const ChannelPlan& channel : plan.channels) {
    check_channel(plan, channel);
    ++in[channel.to];
    ++out[channel.from];
  }
  for (uint32_t s = 0; s < plan.shards.size(); ++s) {
    within("the number of channels into shard " + plan.shards[s].name, in[s], 0,
           limits::kChannelsIntoShard);
    within("the number of channels out of shard " + plan.shards[s].name, out[s], 0,
           limits::kChannelsOutOfShard);
  }
  within("the number of devices", plan.devices.size(), 0, limits::kDevices);
  for (const PortPlan& port : plan.ports) check_port(plan, port);
  for (uint32_t d = 0; d < plan.devices.size(); ++d) check_device(plan, d);
}

}  // namespace vanity
