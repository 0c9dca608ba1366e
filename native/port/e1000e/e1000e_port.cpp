#include "port/e1000e/e1000e_port.hpp"

#include <linux/pci_regs.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "device/vfio.hpp"
#include "platform/error.hpp"
#include "port/e1000e/device.hpp"
#include "port/e1000e/queues.hpp"
#include "port/e1000e/registers.hpp"
#include "port/nic.hpp"

namespace vanity {
namespace {

using namespace e1000e;

class E1000ePort final : public Port {
 public:
  E1000ePort(const PortOptions& options, const PortRecords& records, std::optional<IrqKind> kind)
      : Port(records.port),
        host_(*options.nic),
        device_(registers_of(options.name, host_.device)),
        interrupts_(options.interrupts),
        kind_(kind ? *kind : kind_of(host_.device, records.rx.size())) {
    const auto refuse = [&](const std::string& what, const char* hint) {
      return Error("VANITY_E_PORT_DEVICE",
                   "port " + options.name + ": " + host_.device.address().text() + " " + what,
                   hint);
    };
    if (records.rx.size() > kQueues || records.tx.size() > kQueues)
      throw refuse("has two queues of each direction", "Name two shards at most for rx and for tx");
    size_ = rx_size(std::min(options.buffer_bytes - VANITY_FRAME_OFFSET, 65535u));
    if (size_.bytes == 0)
      throw refuse(
          "does not receive into buffers of " + std::to_string(options.buffer_bytes) + " bytes",
          "buffer_bytes = 384 is the least it takes, 2048 holds every plain frame");

    device_.reset();
    device_.set_filter(device_.mac(), options.promiscuous);
    if (records.rx.size() > 1) device_.spread_over_two_queues();
    device_.set_vectors(kind_, vectors_of_queues(records.rx.size()));

    const uint64_t ring_bytes = uint64_t{options.ring} * sizeof(Descriptor);
    const size_t rings = records.rx.size() + records.tx.size();
    DmaRegion& memory = host_.device.dma(std::max<size_t>(rings, 1) * ring_bytes, 64);
    if (memory.contiguous_bytes() < ring_bytes)
      throw refuse("needs a ring of " + std::to_string(options.ring) +
                       " descriptors in one piece, and without an IOMMU pages are all there is",
                   "Give the host huge pages, or ring = 256");
    const MmioView& registers = device_.registers();
    uint64_t offset = 0;
    const auto next_ring = [&] {
      auto* const ring = reinterpret_cast<Descriptor*>(memory.data() + offset);
      const uint64_t address = memory.view().address(offset);
      offset += ring_bytes;
      return std::pair(ring, address);
    };
    for (uint32_t queue = 0; queue < records.rx.size(); ++queue) {
      const auto [ring, address] = next_ring();
      device_.set_rx_ring(queue, address, options.ring);
      const uint32_t causes = kind_ == IrqKind::msix ? kCauseRx0 << queue : kCausesIntx;
      rx_.push_back(std::make_unique<Rx>(
          records.rx[queue],
          RxSetup{ring, options.ring, registers.at<uint32_t>(kRdt + queue * kQueueStride),
                  RxInterrupt(registers, causes), kind_ == IrqKind::intx, size_.bytes,
                  &host_.buffers, options.index, options.poll_ns_max, options.interrupts}));
    }
    for (uint32_t queue = 0; queue < records.tx.size(); ++queue) {
      const auto [ring, address] = next_ring();
      device_.set_tx_ring(queue, address, options.ring);
      tx_.push_back(std::make_unique<Tx>(
          records.tx[queue],
          TxSetup{ring, options.ring, registers.at<uint32_t>(kTdt + queue * kQueueStride),
                  &host_.buffers}));
    }
  }

  RxQueue& rx(uint32_t queue) override { return *rx_.at(queue); }
  TxQueue& tx(uint32_t queue) override { return *tx_.at(queue); }

  PortIrqs irqs() const override {
    PortIrqs irqs;
    irqs.kind = kind_;
    for (uint32_t queue = 0; queue < vectors_of_queues(rx_.size()); ++queue)
      irqs.queue_of_vector.push_back(queue);
    if (kind_ == IrqKind::msix) irqs.queue_of_vector.push_back(PortIrqs::kPortVector);
    return irqs;
  }

  void start() override {
    host_.device.bus_master(true);
    device_.enable(size_);
    device_.watch_link(kind_);
    look_at_link();
  }

  void interrupt() noexcept override {
    if (stopped_) return;
    look_at_link();
    device_.watch_link(kind_);
  }

  void service() noexcept override {
    if (stopped_) return;
    look_at_link();
    if (stopped_ || state() == PortState::starting) return;
    const Device::Losses losses = device_.take_losses();
    if (!rx_.empty()) rx_[0]->add_missed(losses.missed);
    record_->errors.add(losses.damaged);
    const bool distrusted =
        std::any_of(rx_.begin(), rx_.end(), [](const auto& queue) { return queue->distrusted(); });
    if (!distrusted) return;
    fail("the device wrote a length that no buffer has; it was stopped");
    retire();
    if (!retired()) return;
    stop();
    release();
  }

  void retire() noexcept override {
    for (const auto& queue : rx_) queue->gate.close();
    for (const auto& queue : tx_) queue->gate.close();
  }
  bool retired() const noexcept override {
    const auto closed = [](const auto& queue) { return queue->gate.closed(); };
    return std::all_of(rx_.begin(), rx_.end(), closed) &&
           std::all_of(tx_.begin(), tx_.end(), closed);
  }
  void release() noexcept override {
    stopped_ = true;
    for (const auto& queue : rx_) queue->gate.release();
    for (const auto& queue : tx_) queue->gate.release();
  }

  void close() noexcept override {
    if (stopped_) return;
    const Device::Losses losses = device_.take_losses();
    if (!rx_.empty()) rx_[0]->add_missed(losses.missed);
    record_->errors.add(losses.damaged);
    stop();
  }

  std::string error() const override {
    const std::lock_guard lock(text_mutex_);
    return text_;
  }

 private:
  // A packet came, the ring runs low, or it ran dry.
  static constexpr uint32_t kCausesIntx = kCauseRxTimer | kCauseRxLow | kCauseOverrun;

  static MmioView registers_of(const std::string& port, VfioDevice& device) {
    const auto vendor = device.config_read<uint16_t>(PCI_VENDOR_ID);
    const auto id = device.config_read<uint16_t>(PCI_DEVICE_ID);
    if (vendor != kVendor || id != kDevice) {
      char found[16];
      std::snprintf(found, sizeof found, "%04x:%04x", vendor, id);
      throw Error("VANITY_E_PORT_DEVICE",
                  "port " + port + ": " + device.address().text() + " is " + found +
                      ", and the driver e1000e is for 8086:10d3",
                  "vanity device list shows what each device is");
    }
    return device.mmio(0, 0, kRegisterBytes);
  }
  static IrqKind kind_of(const VfioDevice& device, size_t rx_queues) {
    return device.irq_info(IrqKind::msix).count > rx_queues ? IrqKind::msix : IrqKind::intx;
  }
  // One line serves one queue; the other one is polled then.
  uint32_t vectors_of_queues(size_t rx_queues) const noexcept {
    if (!interrupts_) return 0;
    return static_cast<uint32_t>(kind_ == IrqKind::msix ? rx_queues
                                                        : std::min<size_t>(rx_queues, 1));
  }

  void look_at_link() noexcept {
    const uint32_t status = device_.status();
    if (status == ~0u) {
      // Whoever pulled it out tells the kernel; nothing is to be read or written any more.
      fail("the device does not answer any more");
      return;
    }
    if (state() == PortState::failed) return;
    const bool up = (status & kStatusLinkUp) != 0;
    if (up) {
      say("");
      set_state(PortState::up);
      return;
    }
    say("the link is down");
    if (state() == PortState::up) record_->downs.add(1);
    set_state(PortState::down);
  }
  void stop() noexcept {
    stopped_ = true;
    device_.stop();
  }
  void fail(const char* why) noexcept {
    if (state() == PortState::failed) return;
    record_->errors.add(1);
    say(why);
    set_state(PortState::failed);
  }
  void say(const char* text) noexcept {
    const std::lock_guard lock(text_mutex_);
    if (text_ != text) text_ = text;
  }

  NicHost& host_;
  Device device_;
  bool interrupts_;
  IrqKind kind_;
  RxSize size_{};
  std::vector<std::unique_ptr<Rx>> rx_;
  std::vector<std::unique_ptr<Tx>> tx_;
  bool stopped_ = false;
  mutable std::mutex text_mutex_;
  std::string text_;
};

}  // namespace

std::unique_ptr<Port> create_e1000e_port(const PortOptions& options, const PortRecords& records,
                                         std::optional<IrqKind> kind) {
  return std::make_unique<E1000ePort>(options, records, kind);
}

}  // namespace vanity
