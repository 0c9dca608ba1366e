// A System whose NIC is under load, for tests of what can happen to it meanwhile: two drivers, each
// with a peer on its wire that sends all it can. See jobs/unplug.sh and jobs/faults.sh.
#pragma once

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "system_fixture.hpp"

namespace vanity {

constexpr int kPatience = 30;  // seconds

struct Nic {
  std::string driver;
  std::string address;
  std::string peer;  // interface on the same wire
  std::string slot;  // QEMU's name
};

inline std::vector<Nic> nics() {
  return {{"e1000e", variable("VANITY_E1000E"), variable("VANITY_E1000E_PEER"), "nic-ours"},
          {"virtio-net", variable("VANITY_VIRTIO"), variable("VANITY_VIRTIO_PEER"), "nic-ours-v"}};
}

// Sends broadcasts until it ends.
class Flood {
 public:
  explicit Flood(const std::string& interface)
      : fd_(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
    if (fd_ < 0 || bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("no socket on " + interface);
    thread_ = std::thread([this] {
      unsigned char frame[200] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5};
      while (!over_.load()) {
        if (send(fd_, frame, sizeof frame, MSG_DONTWAIT) < 0)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  }
  ~Flood() {
    over_.store(true);
    thread_.join();
    close(fd_);
  }

 private:
  const int fd_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

// What comes in goes out again, so that buffers are in both rings; beside it a stream that has
// nothing to do with the device.
inline Plan plan_of(const Nic& nic, uint64_t poll_ns_max) {
  Plan plan;
  plan.name = "load";
  plan.oversubscribe = true;
  const auto shard = [&](const char* name, const char* program) {
    ShardPlan made;
    made.name = std::string(name);
    made.program = std::string(program);
    plan.shards.push_back(made);
  };
  shard("mirror", "forward");
  shard("gen", "generate");
  shard("end", "sink");
  plan.shards[1].options["rate"] = std::string("1000");
  ChannelPlan channel;
  channel.name = std::string("stream");
  channel.from = 1;
  channel.to = 2;
  plan.channels = {channel};
  PortPlan port;
  port.name = std::string("lan");
  port.driver = std::string("device");
  port.device = 0;
  port.rx = {0};
  port.tx = {0};
  port.buffers = 1024;
  port.poll_ns_max = poll_ns_max;
  plan.ports = {port};
  DevicePlan device;
  device.name = std::string("nic");
  device.address = nic.address;
  device.driver = nic.driver;
  plan.devices = {device};
  return plan;
}

inline void starts(System& system) {
  run(system, kPatience);
  CHECK(system.state() == SystemState::running);
}
inline void stops(System& system) {
  stop(system, kPatience);
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

inline uint64_t received(System& system) {
  return system.segment().queue(0).packets.get();
}
inline uint64_t transmitted(System& system) {
  return system.segment().queue(1).packets.get();
}
// Packets come and go from here on.
inline void moves(System& system) {
  const uint64_t in = received(system), out = transmitted(system);
  CHECK(eventually([&] { return received(system) > in + 1000 && transmitted(system) > out + 1000; },
                   kPatience));
}
inline void stream_moves(System& system) {
  const uint64_t before = system.segment().shard(2).consumed.get();
  CHECK(eventually([&] { return system.segment().shard(2).consumed.get() > before + 100; },
                   kPatience));
}

// Tells QEMU until it is done: what it answers may get lost on a line that nobody has time to read.
inline bool tell_qemu(const std::string& command, const std::string& arguments,
                      const std::function<bool()>& done) {
  for (int i = 0; i < 6; ++i) {
    say("/dev/ttyS2", "{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"" + command +
                          "\", \"arguments\": " + arguments + "}\n");
    if (eventually(done, 12)) return true;
  }
  return false;
}

}  // namespace vanity
