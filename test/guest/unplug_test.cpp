// A NIC is taken away under load, and the system runs on: each driver through a whole System, on
// real VFIO, while a peer on its wire sends all it can. Runs inside the guest only
// (jobs/unplug.sh).
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>

#include "../native/check.hpp"
#include "kernel/system.hpp"
#include "system_fixture.hpp"

using namespace vanity;

namespace {

constexpr int kPatience = 30;  // seconds

struct Nic {
  std::string driver;
  std::string address;
  std::string peer;  // interface on the same wire
  std::string slot;  // QEMU's name
};

std::vector<Nic> nics() {
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
Plan plan_of(const Nic& nic, uint64_t poll_ns_max) {
  Plan plan;
  plan.name = "unplug";
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

void starts(System& system) {
  run(system, kPatience);
  CHECK(system.state() == SystemState::running);
}
void stops(System& system) {
  stop(system, kPatience);
  for (const auto& pool : system.pools()) CHECK_EQ(pool->missing(), 0u);
}

uint64_t received(System& system) {
  return system.segment().queue(0).packets.get();
}
uint64_t transmitted(System& system) {
  return system.segment().queue(1).packets.get();
}

// `take` is told the device, and comes back when Linux has it.
void takes_away_and_runs_on(const Nic& nic, uint64_t poll_ns_max,
                            const std::function<void(System&)>& take) {
  System system(plan_of(nic, poll_ns_max), {});
  Flood flood(nic.peer);
  starts(system);
  CHECK(
      eventually([&] { return received(system) > 2000 && transmitted(system) > 2000; }, kPatience));
  const auto began = std::chrono::steady_clock::now();
  take(system);
  const long long took = ms_since(began);
  const PortRecord& port = system.segment().port(0);
  const DeviceRecord& device = system.segment().device(0);
  std::printf("  %s: %llu in and %llu out, then Linux had it back after %lld ms\n",
              nic.driver.c_str(), static_cast<unsigned long long>(received(system)),
              static_cast<unsigned long long>(transmitted(system)), took);
  CHECK(eventually([&] { return is_returned(device); }, kPatience));
  CHECK(port.state.load() == static_cast<uint32_t>(PortState::down));
  CHECK_EQ(port.downs.get(), 1u);
  CHECK(device.requests.get() > 0);
  CHECK(!system.warnings().empty());
  CHECK(system.state() == SystemState::running);
  const uint64_t last = received(system);
  const uint64_t before = system.segment().shard(2).consumed.get();
  CHECK(eventually([&] { return system.segment().shard(2).consumed.get() > before + 100; },
                   kPatience));
  CHECK_EQ(received(system), last);
  stops(system);
  CHECK(port.state.load() == static_cast<uint32_t>(PortState::down));
}

void unbinds_and_binds(const Nic& nic, uint64_t poll_ns_max) {
  takes_away_and_runs_on(nic, poll_ns_max, [&](System&) { tell_vfio("unbind", nic.address); });
  tell_vfio("bind", nic.address);
}

void works(const Nic& nic) {
  System system(plan_of(nic, 50'000), {});
  Flood flood(nic.peer);
  starts(system);
  CHECK(
      eventually([&] { return received(system) > 1000 && transmitted(system) > 1000; }, kPatience));
  stops(system);
}

}  // namespace

TEST(a_nic_that_linux_wants_back_goes_under_load_and_the_system_runs_on) {
  for (const Nic& nic : nics()) {
    unbinds_and_binds(nic, 50'000);
    unbinds_and_binds(nic, 0);  // with its interrupt armed whenever nothing is there
    works(nic);
  }
}

TEST(a_nic_works_again_after_sigkill_under_load) {
  for (const Nic& nic : nics()) {
    dies_by_sigkill(std::chrono::seconds(4), [&] {
      System system(plan_of(nic, 0), {});
      Flood flood(nic.peer);
      starts(system);
      for (;;) pause();
    });
    works(nic);
  }
}

// Last, for what is pulled out stays out.
TEST(the_system_runs_on_when_a_card_is_pulled_out_under_load) {
  for (const Nic& nic : nics()) {
    takes_away_and_runs_on(nic, 50'000, [&](System& system) {
      // What QEMU answers may get lost on a line that nobody has time to read: ask until it is
      // done.
      const std::string device = "/sys/bus/pci/devices/" + nic.address;
      bool gone = false;
      for (int i = 0; i < 6 && !gone; ++i) {
        say("/dev/ttyS2",
            "{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"device_del\", "
            "\"arguments\": {\"id\": \"" +
                nic.slot + "\"}}\n");
        gone = eventually([&] { return access(device.c_str(), F_OK) != 0; }, 12);
      }
      CHECK(gone);
      CHECK(system.state() == SystemState::running);
    });
  }
}
