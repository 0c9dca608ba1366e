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
        options_(options),
        host_(*options.nic),
        device_(registers_of(options.name, host_.device)),
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

    const uint64_t ring_bytes = uint64_t{options.ring} * sizeof(Descriptor);
    const size_t rings = records.rx.size() + records.tx.size();
    DmaRegion& memory = host_.device.dma(std::max<size_t>(rings, 1) * ring_bytes, 64);
    if (memory.contiguous_bytes() < ring_bytes)
      throw refuse("needs a ring of " + std::to_string(options.ring) +
                       " descriptors in one piece, and without an IOMMU pages are all there is",
                   "Give the host huge pages, or ring = 256");
    const MmioView& registers = device_.registers();
    const auto ring = [&] {
      const uint64_t offset = rings_.size() * ring_bytes;
      rings_.push_back(memory.view().address(offset));
      return reinterpret_cast<Descriptor*>(memory.data() + offset);
    };
    for (uint32_t queue = 0; queue < records.rx.size(); ++queue) {
      const uint32_t causes = kind_ == IrqKind::msix ? kCauseRx0 << queue : kCausesIntx;
      rx_.push_back(std::make_unique<Rx>(
          records.rx[queue],
          RxSetup{ring(), options.ring, registers.at<uint32_t>(kRdt + queue * kQueueStride),
                  RxInterrupt(registers, causes), kind_ == IrqKind::intx, size_.bytes,
                  &host_.buffers, options.index, options.poll_ns_max, options.interrupts}));
    }
    for (uint32_t queue = 0; queue < records.tx.size(); ++queue) {
      tx_.push_back(std::make_unique<Tx>(
          records.tx[queue],
          TxSetup{ring(), options.ring, registers.at<uint32_t>(kTdt + queue * kQueueStride),
                  &host_.buffers}));
    }
    set_up();
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
    try {
      go_live();
    } catch (...) {
      set_state(PortState::failed);
      throw;
    }
  }

  void interrupt() noexcept override {
    if (step_ != Step::running) return;
    look_at_link();
    device_.watch_link(kind_);
  }

  void service() noexcept override {
    switch (step_) {
      case Step::running:
        return watch();
      case Step::stopping:
        return when_stopped();
      case Step::draining:
        return when_drained();
      case Step::down:
        return;
    }
  }

  void retire() noexcept override {
    step_ = Step::down;
    each([](Tenure& tenure) { tenure.stop(); });
  }
  bool retired() const noexcept override {
    return all([](const Tenure& tenure) { return tenure.stopped(); });
  }
  void release() noexcept override {
    each([](Tenure& tenure) { tenure.release(); });
  }

  void close() noexcept override {
    if (step_ == Step::running) count_losses();
    if (step_ != Step::down) {
      stop();
      device_.leave();
    }
    step_ = Step::down;
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
    if (!options_.interrupts) return 0;
    return static_cast<uint32_t>(kind_ == IrqKind::msix ? rx_queues
                                                        : std::min<size_t>(rx_queues, 1));
  }

  // running -> stopping -> draining -> running, when the device is not to be believed and is reset;
  // each step is one look by service().
  enum class Step : uint8_t { running, stopping, draining, down };

  template <class Visit>
  void each(Visit visit) noexcept {
    for (const auto& queue : rx_) visit(queue->tenure);
    for (const auto& queue : tx_) visit(queue->tenure);
  }
  template <class Test>
  bool all(Test test) const noexcept {
    const auto passes = [&](const auto& queue) { return test(queue->tenure); };
    return std::all_of(rx_.begin(), rx_.end(), passes) &&
           std::all_of(tx_.begin(), tx_.end(), passes);
  }

  // The device as after power-on, and told of everything but to begin.
  void set_up() {
    device_.reset();
    device_.set_filter(options_.mac, options_.promiscuous);
    if (rx_.size() > 1) device_.spread_over_two_queues();
    device_.set_vectors(kind_, vectors_of_queues(rx_.size()));
    size_t ring = 0;
    for (uint32_t queue = 0; queue < rx_.size(); ++queue)
      device_.set_rx_ring(queue, rings_[ring++], options_.ring);
    for (uint32_t queue = 0; queue < tx_.size(); ++queue)
      device_.set_tx_ring(queue, rings_[ring++], options_.ring);
  }
  void go_live() {
    host_.device.bus_master(true);
    device_.enable(size_);
    each([](Tenure& tenure) { tenure.revive(); });
    step_ = Step::running;
    look_at_link();
    device_.watch_link(kind_);
  }
  void stop() noexcept {
    device_.stop();
    try {
      host_.device.bus_master(false);
    } catch (const std::exception&) {
      // Gone: whoever made the device ends it.
    }
  }

  void watch() noexcept {
    if (!look_at_link()) return;
    count_losses();
    const bool lies = std::any_of(rx_.begin(), rx_.end(),
                                  [](const auto& queue) { return queue->tenure.trouble(); });
    if (!lies) return;
    record_->errors.add(1);
    go_down("the device wrote a length that no buffer has, and is reset");
    each([](Tenure& tenure) { tenure.stop(); });
    step_ = Step::stopping;
    // A shard that sleeps until its vector fires is to look.
    for (uint32_t queue = 0; queue < rx_.size(); ++queue)
      device_.registers().write32(kIcs, kind_ == IrqKind::msix ? kCauseRx0 << queue : kCausesIntx);
  }
  void when_stopped() noexcept {
    if (!retired()) return;
    stop();
    release();
    step_ = Step::draining;
  }
  void when_drained() noexcept {
    if (!all([](const Tenure& tenure) { return tenure.drained(); })) return;
    try {
      set_up();
      go_live();
    } catch (const std::exception& error) {
      step_ = Step::down;
      say(error.what());
      set_state(PortState::failed);
    }
  }

  // False: the device is gone, and nothing is to be read or written any more. Whoever made it tells
  // the kernel.
  bool look_at_link() noexcept {
    const uint32_t status = device_.status();
    if (status == ~0u) {
      go_down("the device does not answer any more");
      return false;
    }
    if ((status & kStatusLinkUp) != 0) {
      say("");
      set_state(PortState::up);
    } else {
      go_down("the link is down");
    }
    return true;
  }
  void go_down(const char* why) noexcept {
    if (state() == PortState::up) record_->downs.add(1);
    say(why);
    set_state(PortState::down);
  }
  void count_losses() noexcept {
    const Device::Losses losses = device_.take_losses();
    if (!rx_.empty()) rx_[0]->add_missed(losses.missed);
    record_->errors.add(losses.damaged);
  }
  void say(const char* text) noexcept {
    const std::lock_guard lock(text_mutex_);
    if (text_ != text) text_ = text;
  }

  PortOptions options_;
  NicHost& host_;
  Device device_;
  IrqKind kind_;
  RxSize size_{};
  std::vector<std::unique_ptr<Rx>> rx_;
  std::vector<std::unique_ptr<Tx>> tx_;
  std::vector<uint64_t> rings_;  // as the device sees them: receive, then transmit
  Step step_ = Step::down;
  mutable std::mutex text_mutex_;
  std::string text_;
};

}  // namespace

std::unique_ptr<Port> create_e1000e_port(const PortOptions& options, const PortRecords& records,
                                         std::optional<IrqKind> kind) {
  return std::make_unique<E1000ePort>(options, records, kind);
}

}  // namespace vanity
