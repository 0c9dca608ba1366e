// Who may have a device, and how it is given back.
#include "device_fixture.hpp"

using namespace vanity;

TEST(quiesce_switches_bus_mastering_off_and_again_does_nothing) {
  Edu edu;
  edu.device.dma(4096, edu_bits());
  edu.device.arm(IrqKind::msi);
  edu.device.bus_master(true);
  CHECK(masters_bus(edu_address()));
  edu.device.quiesce();
  CHECK(!masters_bus(edu_address()));  // the device is open still: it was us
  edu.device.quiesce();
  edu.device.bus_master(true);
  CHECK(masters_bus(edu_address()));
  edu.device.quiesce();  // what was switched on since goes off too
  CHECK(!masters_bus(edu_address()));
}

TEST(an_exception_quiesces_too) {
  std::optional<Opened> watcher;
  try {
    Edu edu;
    edu.device.dma(4096, edu_bits());
    edu.device.bus_master(true);
    CHECK(masters_bus(edu_address()));
    edu.view.read32(0x1000);
    CHECK(false);
  } catch (const Error&) {
  }
  CHECK(!masters_bus(edu_address()));
  watcher.emplace(edu_address());  // given back: it can be had again
}

TEST(a_killed_owner_leaves_a_clean_device) {
  for (const PciAddress address : {edu_address(), e1000e_address()}) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      try {
        Opened device(address);
        const DmaRegion& region = device.dma(2 << 20, edu_bits());
        device.arm(IrqKind::msi);
        device.bus_master(true);
        if (address == e1000e_address()) {
          device.mmio(0, 0, 0x20000).write32(e1000e::kRdbal, 0x12345000);
        } else {
          const MmioView view = device.mmio(0, 0, 0x100);
          view.write32(0x60, 1);             // an interrupt that nobody acknowledges
          view.write64(0x80, Edu::kBuffer);  // and a DMA that ends after its owner
          view.write64(0x88, region.iova());
          view.write64(0x90, 1024);
          view.write64(0x98, 1 | 2);
        }
        if (write(ends[1], "x", 1) == 1) pause();
      } catch (const std::exception& error) {
        std::printf("  %s\n", error.what());
      }
      _exit(1);
    }
    char x;
    close(ends[1]);
    CHECK(read(ends[0], &x, 1) == 1);
    close(ends[0]);
    CHECK(masters_bus(address));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    CHECK(!masters_bus(address));

    Opened device(address);
    CHECK(!device.bus_master());
    const unsigned msi = device.capability(PCI_CAP_ID_MSI);
    CHECK(msi != 0);
    CHECK_EQ(Sysfs().config_read16(address, msi + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_ENABLE, 0);
    if (device.can_reset()) CHECK_EQ(device.mmio(0, 0, 0x20000).read32(e1000e::kRdbal), 0u);
    const DmaRegion& region = device.dma(2 << 20, edu_bits());  // at the same address as before
    std::memset(region.data(), 0xaa, region.bytes());
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    CHECK(all_are(region, 0xaa));
  }
}

// It cannot be reset: of its interrupts none comes that was for whoever had it before.
TEST(a_device_that_is_halted_goes_on_with_nothing_that_was) {
  for (const IrqKind kind : {IrqKind::intx, IrqKind::msi}) {
    Edu edu;
    Irq& irq = edu.device.arm(kind);
    if (kind == IrqKind::intx) CHECK(irq.unmask_fd(0) >= 0);
    edu.device.bus_master(true);
    edu.raise(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    edu.device.halt();
    CHECK(!masters_bus(edu_address()));
    CHECK_EQ(irq.take(0), 0u);
    edu.view.write32(0x64, ~0u);
    edu.device.resume(true);
    CHECK(masters_bus(edu_address()));
    CHECK_EQ(irq.take(0), 0u);
    edu.raise(2);
    CHECK(fired(irq, 0, kSoonMs));
    edu.view.write32(0x64, ~0u);
  }
}

TEST(a_device_belongs_to_one_process_and_the_error_names_it) {
  Edu edu;
  const Caught error = caught([] { Opened second(edu_address()); });
  CHECK_EQ(error.code, "VANITY_E_DEVICE_BUSY");
  CHECK(holds(error.message, nodes_of(edu_address())[0]));
  CHECK(holds(error.message, "process " + std::to_string(getpid()) + " (device_owner_"));
}

namespace {

void give_nodes(PciAddress address, uid_t user) {
  for (const std::string& node : nodes_of(address)) CHECK(chown(node.c_str(), user, user) == 0);
}
constexpr uint64_t kEnough = 8 << 20;  // of locked memory

}  // namespace

TEST(nobody_may_use_a_device_whose_nodes_are_his) {
  give_nodes(edu_address(), kNobody);
  CHECK_EQ(in_child([] {
             become_nobody(kEnough);
             Edu edu;
             DmaRegion& region = edu.device.dma(2 << 20, edu_bits());
             Irq& irq = edu.device.arm(IrqKind::msi);
             edu.device.bus_master(true);
             std::memset(region.data(), 0x21, 64);
             if (!edu.to_device(region.iova(), 64, &irq) ||
                 !edu.to_ram(region.iova() + 4096, 64, &irq) ||
                 region.data()[4096] != std::byte{0x21})
               throw std::runtime_error("no DMA");
           }),
           "");
  give_nodes(edu_address(), 0);
}

TEST(too_little_memlock_says_how_much) {
  give_nodes(edu_address(), kNobody);
  const std::string error = in_child([] {
    become_nobody(1 << 20);
    Edu edu;
    edu.device.dma(2 << 20, edu_bits());
  });
  CHECK(holds(error, "VANITY_E_MEMLOCK"));
  CHECK(holds(error, "mapping 2048 KiB for DMA needs"));
  CHECK(holds(error, "the limit is 1024 KiB"));
  give_nodes(edu_address(), 0);
}

TEST(without_rights_the_error_names_the_node) {
  const std::string error = in_child([] {
    become_nobody(kEnough);
    Edu edu;
  });
  CHECK(holds(error, "VANITY_E_VFIO_PERMISSION"));
  CHECK(holds(error, nodes_of(edu_address())[0]));
}

namespace {

void expect_dma(Edu& edu) {
  DmaRegion& region = edu.device.dma(4096, edu_bits());
  edu.device.bus_master(true);
  if (!edu.to_ram(region.iova(), 64)) throw std::runtime_error("no DMA");
}
Fd open_rw(const std::string& node) {
  return Fd(open(node.c_str(), O_RDWR));
}

}  // namespace

TEST(given_descriptors_need_no_rights) {
  CHECK_EQ(in_child([] {
             VfioDescriptors given;
             const auto nodes = nodes_of(edu_address());
             if (wanted_backend() == "cdev") {
               given.device = open_rw(nodes[0]);
               given.iommu = open_rw(nodes[1]);
             } else {
               given.group = open_rw(nodes[0]);
               given.container = open_rw("/dev/vfio/vfio");
             }
             become_nobody(kEnough);
             Edu edu(open_space(edu_address(), std::move(given)));
             expect_dma(edu);
           }),
           "");
}

// sd_listen_fds(3): what systemd does, or a shell before it drops its rights.
TEST(inherited_descriptors_need_no_rights) {
  CHECK_EQ(in_child([] {
             std::vector<Fd> held;
             for (const std::string& node : nodes_of(edu_address())) held.push_back(open_rw(node));
             setenv("LISTEN_FDS", "32", 1);
             setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
             become_nobody(kEnough);
             {
               Edu edu;
               expect_dma(edu);
             }
             for (Fd& fd : held) fd.release();  // they were taken over
           }),
           "");
}

TEST(what_is_wrong_on_the_host_is_said_before_anything_is_opened) {
  CHECK_EQ(caught([] { Opened none(PciAddress::parse("0000:7f:1f.7")); }).code,
           "VANITY_E_DEVICE_NONE");
  const Caught kernel = caught([] { Opened nic(device_of("VANITY_SLOT_OTHER")); });
  CHECK_EQ(kernel.code, "VANITY_E_VFIO_DRIVER");
  CHECK(holds(kernel.message, "is with the driver virtio-pci; it must be with vfio-pci"));
  const Caught group = caught([] { Opened one(device_of("VANITY_SLOT_MATE")); });
  CHECK_EQ(group.code, "VANITY_E_GROUP");
  CHECK(holds(group.message, device_of("VANITY_SLOT_OTHER").text() + " (with virtio-pci)"));
}

TEST(a_backend_that_the_host_lacks_is_refused) {
  const PciAddress address = edu_address();
  if (Sysfs().vfio_node(address).empty()) {
    const Caught error = caught([&] { DmaSpace::open(address, BackendChoice::cdev); });
    CHECK_EQ(error.code, "VANITY_E_DEVICE_BACKEND");
    CHECK_EQ(std::string(DmaSpace::open(address)->backend()), "group");
  } else {
    CHECK_EQ(std::string(DmaSpace::open(address)->backend()), "cdev");
  }
  // The flag is for devices that no IOMMU guards; others stay guarded.
  CHECK(DmaSpace::open(address, BackendChoice::automatic, true)->backend() !=
        std::string("noiommu"));
}

TEST(devices_of_one_group_come_together) {
  const PciAddress first = device_of("VANITY_SLOT_MATE");
  const PciAddress second = device_of("VANITY_SLOT_OTHER");
  const std::string folder = "/sys/bus/pci/devices/" + second.text();
  const auto give_to = [&](const char* driver) {
    std::ofstream(folder + "/driver/unbind") << second.text();
    std::ofstream(folder + "/driver_override") << driver << '\n';
    std::ofstream("/sys/bus/pci/drivers_probe") << second.text();
  };
  give_to("vfio-pci");
  {
    Opened one(first);
    const Caught apart = caught([&] { Opened other(second); });
    CHECK_EQ(apart.code, "VANITY_E_DEVICE_BUSY");
    CHECK(holds(apart.message, nodes_of(first)[0] + " is held by process"));
    VfioDevice two(second, one.space());
    CHECK_EQ(two.config_read<uint16_t>(PCI_VENDOR_ID), 0x1af4);
    one.dma(4096, edu_bits());
    two.dma(4096, 64);
  }
  give_to("");
  CHECK_EQ(Sysfs().driver(second), "virtio-pci");
}
