#include "port/virtio_net/virtio_net_port.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>

#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "platform/nap.hpp"
#include "port/virtio_net/control_queue.hpp"
#include "port/virtio_net/net_queue.hpp"

namespace vanity {
namespace {

using namespace virtio_net;
using virtio::bit;
namespace status = virtio::status;

constexpr uint64_t kResetNsMax = 1'000'000'000;
constexpr uint64_t kResetLookNs = 1'000'000;
constexpr uint32_t kUsualMtu = 1500;
constexpr uint32_t kMtuMin = 68;  // §5.1.4.1
constexpr uint32_t kPairsMax = 0x8000;
constexpr uint8_t kGone = 0xff;

class VirtioNetPort final : public Port {
 public:
  VirtioNetPort(std::unique_ptr<virtio::Transport> transport, const BufferMap& buffers,
                const PortOptions& options, const PortRecords& records, std::optional<IrqKind> kind)
      : Port(records.port),
        transport_(std::move(transport)),
        buffers_(buffers),
        options_(options),
        pairs_(std::max({options.rx_queues, options.tx_queues, 1u})) {
    if (options.rx_queues != 0 && options.tx_queues > options.rx_queues)
      refuse("steers packets to as many receive queues as it has transmit queues",
             "a receive queue for each transmit queue, or none at all");
    blank_header_ = transport_->memory(sizeof(NetHeader)).address;
    if (transport_->present()) {
      // A device that was left alive by somebody else may take its time.
      reset();
      negotiate();
      if (!set_status(status::kFeaturesOk))
        refuse("does not agree to the features that it offers itself",
               "another device or firmware");
    } else {
      // Which kind of rings there are is settled now; all else when it comes.
      features_ = bit(virtio::feature::kVersion1);
      if (options_.packed == PackedRings::yes) features_ |= bit(virtio::feature::kRingPacked);
    }
    packed_ = has(virtio::feature::kRingPacked);
    choose_interrupts(kind);
    make_queues(records);
  }
  ~VirtioNetPort() override { close(); }

  RxQueue& rx(uint32_t queue) override { return *rx_.at(queue); }
  TxQueue& tx(uint32_t queue) override { return *tx_.at(queue); }
  PortIrqs irqs() const override { return irqs_; }

  void start() override {
    transport_->let_loose(true);
    const char* const problem = transport_->present() ? bring_up() : nullptr;
    if (!transport_->present()) return wait_for_device();
    if (problem != nullptr) {
      set_state(PortState::failed);
      say(problem);
      close();
      refuse(problem, "another device or firmware");
    }
    look_at_link();
  }

  int control_fd() const override { return transport_->control_fd(); }
  void interrupt() noexcept override {
    if (transport_->control_fd() >= 0) return service();
    if (step_ == Step::running) look_at_link();
  }

  void service() noexcept override {
    if (!closed_) transport_->attend();
    switch (step_) {
      case Step::running:
        return watch();
      case Step::stopping:
        return when_stopped();
      case Step::resetting:
        return when_reset();
      case Step::draining:
        return when_drained();
      case Step::down:
        return;
    }
  }

  void retire() noexcept override {
    step_ = Step::down;
    for (const Slot& slot : slots_)
      if (slot.face != nullptr) slot.face->tenure.stop();
  }
  bool retired() const noexcept override {
    return std::all_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
      return slot.face == nullptr || slot.face->tenure.stopped();
    });
  }
  void release() noexcept override {
    for (const Slot& slot : slots_)
      if (slot.face != nullptr) slot.face->tenure.release();
  }

  void close() noexcept override {
    if (closed_) return;
    closed_ = true;
    step_ = Step::down;
    try {
      transport_->set_status(0);
      wait_for_reset();
      transport_->let_loose(false);
    } catch (const std::exception&) {
      // Gone: whoever made the device ends it.
    }
  }

  std::string error() const override {
    const std::lock_guard lock(text_mutex_);
    return text_;
  }

 private:
  struct Slot {
    uint16_t number;
    uint16_t vector;
    virtio::SharedMemory memory;
    virtio::QueuePlace place;
    NetQueue* face;  // null: the device has the queue, and no shard
  };
  // running -> stopping -> resetting -> draining -> running, when the device or a queue is made
  // anew; each step is one look by service().
  enum class Step : uint8_t { running, stopping, resetting, draining, down };

  [[noreturn]] void refuse(const std::string& what, const std::string& hint) const {
    throw Error("VANITY_E_PORT_DEVICE", "port " + options_.name + ": the device " + what, hint);
  }

  // ---- before the start
  bool wait_for_reset() noexcept {
    const uint64_t end = monotonic_ns() + kResetNsMax;
    for (;;) {
      const uint8_t now = transport_->status();
      if (now == 0 || now == kGone) return true;
      if (monotonic_ns() > end) return false;
      nap_ns(kResetLookNs);
    }
  }
  void reset() {
    transport_->set_status(0);
    if (!wait_for_reset()) refuse("does not finish its reset", "take its power away for a moment");
  }
  // §3.1.1; false: the device did not take the bit.
  bool set_status(uint8_t more) noexcept {
    status_ |= more;
    transport_->set_status(status_);
    return transport_->status() == status_;
  }
  bool own_address() const noexcept { return options_.mac != std::array<uint8_t, 6>{}; }
  bool has(unsigned feature) const noexcept { return (features_ & bit(feature)) != 0; }

  void negotiate() {
    namespace ring = virtio::feature;
    status_ = 0;
    set_status(status::kAcknowledge);
    set_status(status::kDriver);
    const uint64_t offered = transport_->offered();
    const auto offers = [&](unsigned feature) { return (offered & bit(feature)) != 0; };
    uint64_t wanted = bit(ring::kVersion1) | bit(ring::kAccessPlatform) | bit(ring::kEventIndex) |
                      bit(ring::kOrderPlatform) | bit(ring::kNotificationData) |
                      bit(ring::kRingReset);
    using namespace virtio_net::feature;
    wanted |= bit(kChecksum) | bit(kGuestChecksum) | bit(kMac) | bit(kStatus);
    if (!offers(ring::kVersion1)) refuse("is older than VIRTIO 1.0", "disable-legacy=on, in QEMU");
    if (!offers(ring::kAccessPlatform) && transport_->translates())
      refuse("would pass by the IOMMU (no VIRTIO_F_ACCESS_PLATFORM)", "iommu_platform=on, in QEMU");
    if (options_.packed != PackedRings::no) wanted |= bit(ring::kRingPacked);
    if (options_.packed == PackedRings::yes && !offers(ring::kRingPacked))
      refuse("has no packed rings", "packed = \"auto\"; in QEMU packed=on");

    uint32_t mtu = kUsualMtu;
    if (offers(kMtu) && transport_->config(config::kMtu, 2) >= kMtuMin) {
      wanted |= bit(kMtu);
      mtu = transport_->config(config::kMtu, 2);
      frame_bytes_max_ = mtu + kEthernetHeader + kVlanTag;
    }
    // Frames that lie in one buffer need no look at how many they lie in.
    const uint32_t room = options_.buffer_bytes - kRxFrameOffset;
    if (mtu + kEthernetHeader + kVlanTag > room) wanted |= bit(kMergeableBuffers);

    if (offers(kControlQueue)) wanted |= bit(kControlQueue) | bit(kControlRx);
    if (own_address()) {
      if (!offers(kControlQueue) || !offers(kControlMac))
        refuse("can't be given another address", "the port without mac");
      wanted |= bit(kControlMac);
    }
    uint32_t pairs_max = 1;
    if (offers(kMultiQueue) && (offers(kControlQueue) || transport_->enables_pairs())) {
      // Not the transport's number of queues, which may count the first pair only until this is
      // negotiated.
      pairs_max = transport_->config(config::kPairsMax, 2);
      if (pairs_max == 0 || pairs_max > kPairsMax) pairs_max = 1;
      if (pairs_ > 1) wanted |= bit(kMultiQueue);
    }
    if (pairs_ > pairs_max) {
      refuse("has " + std::to_string(pairs_max) + " pairs of queues, and the port asks for " +
                 std::to_string(pairs_),
             "fewer shards in rx and tx; in QEMU mq=on and queues=");
    }
    features_ = offered & wanted;
    transport_->accept(features_);
    control_number_ = static_cast<uint16_t>(has(kMultiQueue) ? 2 * pairs_max : 2);
  }

  // There was no device yet: it comes, and everything is set up by service().
  void wait_for_device() noexcept {
    whole_ = true;
    choose_whom_to_renew(true);
    step_ = Step::draining;
    go_down(transport_->absence().c_str());
  }

  void choose_interrupts(std::optional<IrqKind> kind) {
    if (!options_.interrupts || options_.rx_queues == 0) return;
    const uint32_t vectors = transport_->vectors();
    if (kind != IrqKind::intx && vectors >= options_.rx_queues) {
      irqs_.kind = IrqKind::msix;
      for (uint32_t i = 0; i < options_.rx_queues; ++i) irqs_.queue_of_vector.push_back(i);
      if (vectors > options_.rx_queues) irqs_.queue_of_vector.push_back(PortIrqs::kPortVector);
      for (uint32_t i = 0; transport_->vector_fd(i) >= 0;) {
        irqs_.fds.push_back(transport_->vector_fd(i));
        if (++i == vectors) break;
      }
    } else if (kind != IrqKind::msix && transport_->has_level()) {
      irqs_.kind = IrqKind::intx;
      irqs_.queue_of_vector = {0};
    }
  }
  uint16_t vector_of(uint32_t queue) const noexcept {
    if (irqs_.kind != IrqKind::msix) return virtio::kNoVector;
    const auto& all = irqs_.queue_of_vector;
    const auto found = std::find(all.begin(), all.end(), queue);
    return found == all.end() ? virtio::kNoVector : static_cast<uint16_t>(found - all.begin());
  }

  virtio::RingFeatures ring_features() const noexcept {
    return {has(virtio::feature::kEventIndex), has(virtio::feature::kOrderPlatform)};
  }
  bool packed() const noexcept { return packed_; }
  Agreed agreed() const noexcept {
    return {ring_features(), has(virtio_net::feature::kMergeableBuffers),
            has(virtio_net::feature::kGuestChecksum), has(virtio_net::feature::kChecksum),
            frame_bytes_max_};
  }

  Slot make_slot(uint16_t number, uint32_t size_wanted, uint32_t more_bytes = 0) {
    const uint32_t max = transport_->queue_size_max(number);
    if (max < 4) refuse("has no queue " + std::to_string(number), "another device or firmware");
    const uint16_t size =
        static_cast<uint16_t>(std::bit_floor(std::min({size_wanted, max, limits::kRingMax})));
    const auto layout = virtio::RingLayout::of(packed(), size);
    Slot slot{
        number, virtio::kNoVector, transport_->memory(layout.bytes + more_bytes), {}, nullptr};
    slot.place = {slot.memory.address + layout.descriptors, slot.memory.address + layout.driver,
                  slot.memory.address + layout.device, size};
    return slot;
  }

  void make_queues(const PortRecords& records) {
    for (uint32_t i = 0; i < pairs_; ++i) {
      for (const bool out : {false, true}) {
        Slot slot = make_slot(static_cast<uint16_t>(2 * i + out), options_.ring);
        if (!out && i < options_.rx_queues) {
          slot.vector = vector_of(i);
          slot.face = make_rx(records.rx.at(i), slot, i);
        }
        if (out && i < options_.tx_queues) slot.face = make_tx(records.tx.at(i), slot);
        slots_.push_back(slot);
      }
    }
    renewed_.reserve(slots_.size());
    if (has(virtio_net::feature::kControlQueue)) {
      control_slot_ = make_slot(control_number_, ControlQueue::kSize, ControlQueue::kScratchBytes);
    }
  }
  NetQueue* make_rx(QueueRecord* record, const Slot& slot, uint32_t index) {
    RxSetup setup{slot.number,          slot.place.size,     options_.index, options_.buffer_bytes,
                  options_.poll_ns_max, options_.interrupts, &buffers_,      std::nullopt};
    if (irqs_.kind == IrqKind::intx && index == 0) setup.level = transport_->level_state();
    return packed() ? keep(rx_, std::make_unique<NetRx<virtio::PackedRing>>(record, setup))
                    : keep(rx_, std::make_unique<NetRx<virtio::SplitRing>>(record, setup));
  }
  NetQueue* make_tx(QueueRecord* record, const Slot& slot) {
    const TxSetup setup{slot.number, slot.place.size, blank_header_, &buffers_};
    return packed() ? keep(tx_, std::make_unique<NetTx<virtio::PackedRing>>(record, setup))
                    : keep(tx_, std::make_unique<NetTx<virtio::SplitRing>>(record, setup));
  }
  template <class Queues, class Queue>
  static NetQueue* keep(Queues& queues, std::unique_ptr<Queue> queue) {
    NetQueue* const face = queue.get();
    queues.push_back(std::move(queue));
    return face;
  }

  // ---- to the start, the first and every other
  bool place(const Slot& slot) {
    const uint32_t bytes = virtio::RingLayout::of(packed(), slot.place.size).bytes;
    virtio::HardwareBus::clear(slot.memory.data, bytes);
    if (!transport_->set_up(slot.number, slot.place, slot.vector)) return false;
    if (slot.face != nullptr)
      slot.face->renew(slot.memory.data, transport_->notifier(slot.number), agreed());
    transport_->enable(slot.number);
    return true;
  }
  // What is wrong with the device, or null. From FEATURES_OK to packets.
  const char* bring_up() {
    if (irqs_.queue_of_vector.size() > options_.rx_queues && irqs_.kind == IrqKind::msix &&
        !transport_->set_config_vector(vector_of(PortIrqs::kPortVector)))
      return "does not take a vector for changes of its configuration";
    for (const Slot& slot : slots_)
      if (!place(slot)) return "does not take its queues";
    if (control_slot_ && !place(*control_slot_)) return "does not take its control queue";
    if (!set_status(status::kDriverOk)) return "does not go to work (DRIVER_OK)";
    if (const char* const problem = command()) return problem;
    for (const Slot& slot : slots_)
      if (slot.face != nullptr) slot.face->tenure.revive();
    step_ = Step::running;
    return nullptr;
  }
  const char* command() {
    if (!control_slot_) return nullptr;
    const virtio::Notifier notify = transport_->notifier(control_number_);
    const auto& slot = *control_slot_;
    if (packed()) {
      control_ = std::make_unique<ControlRing<virtio::PackedRing>>(
          slot.number, slot.place.size, slot.memory, ring_features(), notify);
    } else {
      control_ = std::make_unique<ControlRing<virtio::SplitRing>>(
          slot.number, slot.place.size, slot.memory, ring_features(), notify);
    }
    if (has(virtio_net::feature::kMultiQueue)) {
      const uint16_t pairs = static_cast<uint16_t>(pairs_);
      if (control_->send(kSetPairs, &pairs, sizeof pairs) != Answer::accepted)
        return "does not switch on the pairs of queues that it has";
    }
    if (own_address()) {
      if (control_->send(kSetMac, options_.mac.data(), 6) != Answer::accepted)
        return "does not take the address that it is given";
    }
    if (has(virtio_net::feature::kControlRx)) {
      const uint8_t on = options_.promiscuous;
      if (control_->send(kPromiscuous, &on, sizeof on) != Answer::accepted)
        return "does not do as its control queue is told";
    }
    return nullptr;
  }

  // ---- while it runs
  void watch() noexcept {
    const uint8_t now = transport_->status();
    if (now == kGone) return;  // whoever gave the device sees to that
    const bool lies = std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
      return slot.face != nullptr && slot.face->tenure.trouble();
    });
    // It may set DEVICE_NEEDS_RESET (§2.1.2); to anything else it came by a reset of its own.
    const bool lost = now != status_;
    if (!lies && !lost) return look_at_link();
    record_->errors.add(1);
    if (lies) transport_->distrust();
    go_down(!transport_->present() ? transport_->absence().c_str()
            : lost                 ? "the device asks for a reset"
                                   : "the device said what cannot be, and is reset");
    choose_whom_to_renew(lost);
    for (const Slot* slot : renewed_)
      if (slot->face != nullptr) slot->face->tenure.stop();
    step_ = Step::stopping;
  }
  // One queue alone, where the device can do that (§2.6.1); else everything.
  void choose_whom_to_renew(bool all) noexcept {
    renewed_.clear();
    whole_ = all || !has(virtio::feature::kRingReset);
    for (const Slot& slot : slots_)
      if (whole_ || (slot.face != nullptr && slot.face->tenure.trouble()))
        renewed_.push_back(&slot);
  }
  template <class Test>
  bool all_renewed(Test test) const noexcept {
    return std::all_of(renewed_.begin(), renewed_.end(), [&](const Slot* slot) {
      return slot->face == nullptr || test(slot->face->tenure);
    });
  }
  void when_stopped() noexcept {
    if (!all_renewed([](const Tenure& tenure) { return tenure.stopped(); })) return;
    if (whole_) {
      transport_->set_status(0);
    } else {
      for (const Slot* slot : renewed_) transport_->reset_queue(slot->number);
    }
    deadline_ns_ = monotonic_ns() + kResetNsMax;
    step_ = Step::resetting;
    when_reset();
  }
  void when_reset() noexcept {
    const bool done = whole_ ? transport_->status() == 0
                             : std::all_of(renewed_.begin(), renewed_.end(), [&](const Slot* slot) {
                                 return transport_->reset_done(slot->number);
                               });
    if (!done && monotonic_ns() < deadline_ns_) return;
    if (!done) return fail("the device does not finish its reset");
    for (const Slot* slot : renewed_)
      if (slot->face != nullptr) slot->face->tenure.release();
    step_ = Step::draining;
  }
  void when_drained() noexcept {
    if (!all_renewed([](const Tenure& tenure) { return tenure.drained(); })) return;
    if (!transport_->present()) return say(transport_->absence().c_str());
    std::string problem;
    try {
      const char* const found = whole_ ? start_over() : renew_queues();
      if (found != nullptr) problem = found;
    } catch (const std::exception& error) {
      problem = error.what();
    }
    if (!transport_->present()) {  // gone again meanwhile; everything is to be begun anew
      choose_whom_to_renew(true);
      return;
    }
    if (!problem.empty()) return fail(problem.c_str());
    look_at_link();
  }
  const char* start_over() {
    const uint64_t before = features_;
    negotiate();
    if (features_ != before && !transport_->may_change())
      return "the device offers other features than before its reset";
    if (has(virtio::feature::kRingPacked) != packed_)
      return "the device has another kind of rings than the port was made for (packed)";
    if (!set_status(status::kFeaturesOk)) return "the device does not agree to its own features";
    return bring_up();
  }
  const char* renew_queues() {
    for (const Slot* slot : renewed_) {
      if (!place(*slot)) return "the device does not take its queue";
      slot->face->tenure.revive();
    }
    step_ = Step::running;
    return nullptr;
  }
  // For good. Without bus mastering it reaches nothing, so what it has can go home.
  void fail(const char* why) noexcept {
    step_ = Step::down;
    say(why);
    set_state(PortState::failed);
    for (const Slot& slot : slots_)
      if (slot.face != nullptr) slot.face->tenure.stop();
    try {
      transport_->let_loose(false);
    } catch (const std::exception&) {
      return;  // it may still write: what it has, it keeps
    }
    for (const Slot& slot : slots_)
      if (slot.face != nullptr) slot.face->tenure.release();
  }

  void look_at_link() noexcept {
    if (!has(virtio_net::feature::kStatus) ||
        (transport_->config(config::kStatus, 2) & config::kLinkUp) != 0) {
      say("");
      set_state(PortState::up);
    } else {
      go_down("the link is down");
    }
  }
  void go_down(const char* why) noexcept {
    if (state() == PortState::up) record_->downs.add(1);
    say(why);
    set_state(PortState::down);
  }
  void say(const char* text) noexcept {
    const std::lock_guard lock(text_mutex_);
    text_ = *text == 0 ? std::string() : options_.name + ": " + text;
  }

  std::unique_ptr<virtio::Transport> transport_;
  const BufferMap& buffers_;
  PortOptions options_;
  PortIrqs irqs_;
  uint32_t pairs_;
  uint64_t features_ = 0;
  bool packed_ = false;
  uint8_t status_ = 0;
  uint32_t frame_bytes_max_ = 0xffff;
  uint64_t blank_header_ = 0;
  uint16_t control_number_ = 2;
  std::vector<std::unique_ptr<RxQueue>> rx_;
  std::vector<std::unique_ptr<TxQueue>> tx_;
  std::vector<Slot> slots_;
  std::optional<Slot> control_slot_;
  std::unique_ptr<ControlQueue> control_;

  Step step_ = Step::down;
  bool closed_ = false;
  bool whole_ = true;
  std::vector<const Slot*> renewed_;
  uint64_t deadline_ns_ = 0;
  mutable std::mutex text_mutex_;  // control path only
  std::string text_;
};

}  // namespace

std::unique_ptr<Port> create_virtio_net_port(std::unique_ptr<virtio::Transport> transport,
                                             const BufferMap& buffers, const PortOptions& options,
                                             const PortRecords& records,
                                             std::optional<IrqKind> kind) {
  return std::make_unique<VirtioNetPort>(std::move(transport), buffers, options, records, kind);
}

}  // namespace vanity
