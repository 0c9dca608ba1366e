// Interrupts of real devices: lines, messages, and what Linux itself has to say.
#include "device_fixture.hpp"

using namespace vanity;

TEST(a_level_line_is_masked_until_its_eoi) {
  Edu edu;
  CHECK(edu.device.irq_info(IrqKind::intx).automasked);
  Irq& irq = edu.device.arm(IrqKind::intx);
  CHECK(trigger_of(irq.kind()) == Trigger::level);
  uint64_t count = 0;
  edu.raise(1);
  CHECK(fired(irq, 0, kSoonMs, &count));
  CHECK_EQ(count, 1u);
  CHECK(!fired(irq, 0, kQuietMs));  // high still, and masked
  irq.unmask(0);
  CHECK(fired(irq, 0, kSoonMs));  // not acknowledged: delivered again at once
  edu.acknowledge(1);
  irq.unmask(0);
  CHECK(!fired(irq, 0, kQuietMs));
  edu.raise(2);
  CHECK(fired(irq, 0, kSoonMs));
  CHECK_EQ(edu.cause(), 2u);
  edu.acknowledge(2);
  irq.unmask(0);
}

TEST(a_line_that_is_masked_by_hand_waits) {
  Edu edu;
  Irq& irq = edu.device.arm(IrqKind::intx);
  irq.mask(0);
  edu.raise(4);
  CHECK(!fired(irq, 0, kQuietMs));
  irq.unmask(0);
  CHECK(fired(irq, 0, kSoonMs));
  edu.acknowledge(4);
}

TEST(a_write_to_the_unmask_descriptor_is_the_eoi) {
  Edu edu;
  Irq& irq = edu.device.arm(IrqKind::intx);
  const int eoi = irq.unmask_fd(0);
  CHECK_EQ(irq.unmask_fd(0), eoi);
  edu.raise(1);
  CHECK(fired(irq, 0, kSoonMs));
  CHECK(!fired(irq, 0, kQuietMs));
  CHECK(eventfd_write(eoi, 1) == 0);
  CHECK(fired(irq, 0, kSoonMs));  // still high
  edu.acknowledge(1);
  CHECK(eventfd_write(eoi, 1) == 0);
  CHECK(!fired(irq, 0, kQuietMs));
  edu.raise(8);
  CHECK(fired(irq, 0, kSoonMs));
  edu.acknowledge(8);
}

TEST(messages_come_once_and_have_nothing_to_mask) {
  Edu edu;
  Irq& irq = edu.device.arm(IrqKind::msi);
  CHECK(trigger_of(irq.kind()) == Trigger::edge);
  edu.device.bus_master(true);  // a message is a write of the device
  for (uint32_t i = 0; i < 20; ++i) {
    uint64_t count = 0;
    edu.raise(1);
    CHECK(fired(irq, 0, kSoonMs, &count));
    CHECK_EQ(count, 1u);
    edu.acknowledge(1);
  }
  CHECK(!fired(irq, 0, kQuietMs));
  CHECK_EQ(caught([&] { irq.mask(0); }).code, "VANITY_E_VECTOR");
  CHECK_EQ(caught([&] { irq.unmask_fd(0); }).code, "VANITY_E_VECTOR");
}

TEST(vectors_that_the_device_lacks_are_refused) {
  Edu edu;
  const Caught many = caught([&] { edu.device.arm(IrqKind::msi, 2); });
  CHECK_EQ(many.code, "VANITY_E_VECTOR");
  CHECK_EQ(many.message, "2 MSI vectors asked for; the device has 1");
  CHECK_EQ(caught([&] { edu.device.arm(IrqKind::msix); }).code, "VANITY_E_VECTOR");
  CHECK_EQ(caught([&] { edu.device.arm(IrqKind::intx, 0); }).code, "VANITY_E_VECTOR");
  edu.device.arm(IrqKind::intx);
  CHECK_EQ(caught([&] { edu.device.arm(IrqKind::msi); }).code,
           "VANITY_E_VFIO_KERNEL");  // one at a time
}

TEST(every_vector_of_a_device_with_many) {
  Opened device(device_of("VANITY_NVME"));
  const uint32_t count = device.irq_info(IrqKind::msix).count;
  CHECK_EQ(count, 65u);
  Irq& irq = device.arm(IrqKind::msix, count);
  CHECK_EQ(irq.count(), count);
  device.disarm(irq);
  device.arm(IrqKind::msix, 1);
  CHECK_EQ(caught([&] { device.arm(IrqKind::msix, count + 1); }).code, "VANITY_E_VECTOR");
}

TEST(all_five_msix_vectors_of_the_e1000e) {
  Opened device(e1000e_address());
  const MmioView view = device.mmio(0, 0, 0x20000);
  CHECK(view.read32(e1000e::kRal0) != 0);
  CHECK_EQ(device.irq_info(IrqKind::msix).count, e1000e::kVectors);
  Irq& irq = device.arm(IrqKind::msix, e1000e::kVectors);
  device.bus_master(true);
  uint32_t ivar = 0;
  for (uint32_t i = 0; i < e1000e::kVectors; ++i) ivar |= (8 | i) << (4 * i);
  view.write32(e1000e::kIvar, ivar);
  constexpr uint32_t kCauses = 0x1f00000;  // RxQ0, RxQ1, TxQ0, TxQ1, Other
  view.write32(e1000e::kEiac, kCauses);    // a message clears its cause
  view.write32(e1000e::kIms, kCauses);
  // Each change of the link fires the last vector: on a slow host it comes up only now.
  for (int ms = 0; ms < kSoonMs && (view.read32(e1000e::kStatus) & e1000e::kLinkUp) == 0; ms += 10)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  while (fired(irq, 4, kQuietMs)) view.write32(e1000e::kIms, kCauses);
  for (uint32_t i = 0; i < e1000e::kVectors; ++i) {
    view.write32(e1000e::kIcs, 1u << (20 + i));
    CHECK(fired(irq, i, kSoonMs));
    // Each message only to its own vector; an earlier one may come again when the device's
    // moderation ends, as in QEMU 10.
    for (uint32_t later = i + 1; later < e1000e::kVectors; ++later) CHECK_EQ(irq.take(later), 0u);
  }
}

TEST(linux_asks_for_the_device_back) {
  const PciAddress address = e1000e_address();
  std::optional<Opened> device;
  device.emplace(address);
  const Irq& request = device->arm(IrqKind::request);
  const Irq& error = device->arm(IrqKind::error);
  device->arm(IrqKind::msix, 5);
  device->bus_master(true);
  CHECK(!fired(request, 0, kQuietMs));
  // Blocks until the last descriptor is closed.
  std::thread unbind(
      [&] { std::ofstream("/sys/bus/pci/drivers/vfio-pci/unbind") << address.text(); });
  const bool asked = fired(request, 0, kSoonMs);
  const uint64_t errors = error.take(0);
  device.reset();
  unbind.join();
  CHECK(asked);
  CHECK_EQ(errors, 0u);
  CHECK_EQ(Sysfs().driver(address), "");
  CHECK(!masters_bus(address));
  std::ofstream("/sys/bus/pci/drivers_probe") << address.text();
  CHECK_EQ(Sysfs().driver(address), "vfio-pci");
  device.emplace(address);
}
