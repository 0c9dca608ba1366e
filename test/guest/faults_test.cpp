// What goes wrong with a NIC under load short of its being taken away: its link goes and comes, the
// bus reports an error. Each driver in a whole System, on real VFIO. Runs inside the guest only
// (jobs/faults.sh).
#include <cstdio>
#include <string>

#include "../native/check.hpp"
#include "kernel/system.hpp"
#include "load_fixture.hpp"

using namespace vanity;

TEST(a_link_goes_and_comes_under_load) {
  for (const Nic& nic : nics()) {
    System system(plan_of(nic, 0), {});
    Flood flood(nic.peer);
    starts(system);
    const PortRecord& port = system.segment().port(0);
    const auto link = [&](bool up) {
      const PortState wanted = up ? PortState::up : PortState::down;
      return tell_qemu("set_link",
                       "{\"name\": \"" + nic.slot + "\", \"up\": " + (up ? "true" : "false") + "}",
                       [&] { return port.state.load() == static_cast<uint32_t>(wanted); });
    };
    for (uint32_t flap = 1; flap <= 10; ++flap) {
      moves(system);
      CHECK(link(false));
      CHECK_EQ(port.downs.get(), flap);
      stream_moves(system);
      CHECK(link(true));
    }
    moves(system);
    CHECK_EQ(port.errors.get(), 0u);
    stops(system);
  }
}

// The root port reports an error (AER), which VFIO passes on. Of virtio-net alone: Device Control
// of QEMU's e1000e can't be written, so it tells of no error.
TEST(a_card_whose_bus_reports_an_error_goes_and_the_system_runs_on) {
  const Nic nic = nics().back();
  {
    System system(plan_of(nic, 50'000), {});
    Flood flood(nic.peer);
    starts(system);
    moves(system);
    const DeviceRecord& device = system.segment().device(0);
    CHECK(tell_qemu("human-monitor-command",
                    "{\"command-line\": \"pcie_aer_inject_error " + nic.slot + " COMP_TIME\"}",
                    [&] { return device.errors.get() != 0; }));
    CHECK(eventually([&] { return is_returned(device); }, kPatience));
    CHECK(system.segment().port(0).state.load() == static_cast<uint32_t>(PortState::down));
    CHECK_EQ(system.warnings().size(), 1u);
    std::printf("  %s\n", system.warnings()[0].message.c_str());
    CHECK_EQ(system.warnings()[0].code, "VANITY_W_DEVICE_LOST");
    stream_moves(system);
    stops(system);
  }
  System again(plan_of(nic, 50'000), {});
  Flood flood(nic.peer);
  starts(again);
  moves(again);
  stops(again);
}
