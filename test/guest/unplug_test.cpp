// A NIC is taken away under load, and the system runs on: each driver through a whole System, on
// real VFIO, while a peer on its wire sends all it can. Runs inside the guest only
// (jobs/unplug.sh).
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <string>

#include "../native/check.hpp"
#include "kernel/system.hpp"
#include "load_fixture.hpp"

using namespace vanity;

namespace {

// `take` is told the device, and comes back when Linux has it.
void takes_away_and_runs_on(const Nic& nic, uint64_t poll_ns_max,
                            const std::function<void(System&)>& take) {
  System system(plan_of(nic, poll_ns_max), {});
  Flood flood(nic.peer);
  starts(system);
  moves(system);
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
  // What the device had brought is received yet, and then no more.
  CHECK(eventually(
      [&] {
        const uint64_t last = received(system);
        stream_moves(system);
        return received(system) == last;
      },
      kPatience));
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
  moves(system);
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
      const std::string device = "/sys/bus/pci/devices/" + nic.address;
      CHECK(tell_qemu("device_del", "{\"id\": \"" + nic.slot + "\"}",
                      [&] { return access(device.c_str(), F_OK) != 0; }));
      CHECK(system.state() == SystemState::running);
    });
  }
}
