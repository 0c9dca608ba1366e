#include "port/vhost_user/vhost_user_port.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "platform/error.hpp"
#include "platform/fd.hpp"
#include "port/vhost_user/queue.hpp"
#include "vhost/back_end.hpp"
#include "vhost/socket.hpp"

namespace vanity {
namespace {

using namespace vhost_user;
using vhost::BackEnd;
using virtio::bit;
using Clock = std::chrono::steady_clock;

// While a message waits for a shard.
constexpr long kMomentNs = 1'000'000;
// Between two looks for a peer that listens.
constexpr std::chrono::seconds kAgain{1};
constexpr int kEvents = 16;

uint64_t features_of(const PortOptions& options) {
  namespace ring = virtio::feature;
  namespace net = virtio_net::feature;
  // Buffers go back in the order they came, each by itself; drivers that know it do less.
  uint64_t features = bit(ring::kVersion1) | bit(ring::kEventIndex) | bit(ring::kInOrder) |
                      bit(net::kMergeableBuffers) | bit(net::kChecksum) | bit(net::kGuestChecksum) |
                      bit(net::kMtu);
  if (options.packed != PackedRings::no) features |= bit(ring::kRingPacked);
  if (std::max(options.rx_queues, options.tx_queues) > 1) features |= bit(net::kMultiQueue);
  return features;
}

class VhostUserPort final : public Port, private vhost::BackEndQueues {
 public:
  VhostUserPort(const PortOptions& options, const PortRecords& records)
      : Port(records.port),
        options_(options),
        who_("port " + options.name),
        rule_{options.peer_uid},
        pairs_(std::max({options.rx_queues, options.tx_queues, 1u})),
        back_end_({features_of(options), pairs_}, *this),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
    if (!epoll_ || !timer_) throw system_error("VANITY_E_SYSTEM", "epoll or a timer", errno);
    add(timer_.get(), EPOLLIN, kTimer);
    slots_.resize(size_t{2} * pairs_);
    for (uint32_t i = 0; i < options.rx_queues; ++i) {
      rx_.push_back(std::make_unique<VhostRx>(
          records.rx.at(i), RxSetup{options.index, options.poll_ns_max, options.interrupts}));
      slots_[2 * i + 1].face = rx_.back().get();
      bells_.emplace_back(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      if (!bells_.back()) throw system_error("VANITY_E_SYSTEM", "an eventfd", errno);
    }
    for (uint32_t i = 0; i < options.tx_queues; ++i) {
      tx_.push_back(std::make_unique<VhostTx>(records.tx.at(i)));
      slots_[2 * i].face = tx_.back().get();
    }
    if (options.server) listener_.emplace(options.socket, who_);
  }
  ~VhostUserPort() override { close(); }

  RxQueue& rx(uint32_t queue) override { return *rx_.at(queue); }
  TxQueue& tx(uint32_t queue) override { return *tx_.at(queue); }

  PortIrqs irqs() const override {
    PortIrqs irqs;
    for (uint32_t i = 0; options_.interrupts && i < bells_.size(); ++i) {
      irqs.queue_of_vector.push_back(i);
      irqs.fds.push_back(bells_[i].get());
    }
    return irqs;
  }
  int control_fd() const override { return epoll_.get(); }

  void start() override {
    set_state(PortState::down);
    say("nobody is there yet");
    step_ = Step::alone;
    look_for_peer();
  }

  void interrupt() noexcept override {
    epoll_event events[kEvents];
    const int count = epoll_wait(epoll_.get(), events, kEvents, 0);
    for (int i = 0; i < count; ++i) {
      const uint32_t what = events[i].data.u32;
      if (what < slots_.size()) ring_bell(what);
      if (what == kTimer) {
        uint64_t times;
        static_cast<void>(read(timer_.get(), &times, sizeof times));
      }
    }
    go_on();
  }

  void service() noexcept override {
    if (step_ == Step::together) {
      if (any_lies()) {
        part("its driver wrote into a ring what cannot be");
      } else if (!back_end_.look_after()) {
        part(back_end_.why());
      }
    }
    go_on();
  }

  void close() noexcept override {
    if (step_ == Step::closed) return;
    step_ = Step::closed;
    // The shards are gone, so all that is asked to stop has.
    for (Slot& slot : slots_) slot.orphaned = true;
    back_end_.let_go();
    listener_.reset();
  }

  std::string error() const override {
    const std::lock_guard lock(text_mutex_);
    return text_;
  }

 private:
  // alone -> together, when a peer comes; parting, when it is to go, or has, until no shard works
  // its rings any more; then alone.
  enum class Step : uint8_t { closed, alone, together, parting };
  enum : uint32_t { kListener = 0x10000, kPeer, kTimer };  // in events; below: the queue

  struct Slot {
    VhostQueue* face = nullptr;  // null: the driver has the queue, and no shard
    uint32_t base = 0;           // where the driver's is then
    int kick = -1;
    bool orphaned = false;
  };

  // ---- vhost::BackEndQueues
  void run(uint32_t queue, const vhost::RingStart& start) override {
    Slot& slot = slots_[queue];
    slot.base = start.base;
    if (slot.face == nullptr) return;
    slot.face->renew(start);
    slot.face->tenure.revive();
    ring_bell(queue);  // its shard may sleep, and what waits brings no kick
  }
  void stop(uint32_t queue) noexcept override {
    VhostQueue* const face = slots_[queue].face;
    if (face == nullptr) return;
    // A shard that waits for room is to wait for what its driver changes, and not for one that
    // goes.
    face->pauses.store(step_ == Step::together, std::memory_order_relaxed);
    face->tenure.stop();
  }
  bool stopped(uint32_t queue) noexcept override {
    const Slot& slot = slots_[queue];
    return slot.face == nullptr || slot.orphaned || slot.face->tenure.stopped();
  }
  uint32_t base(uint32_t queue) noexcept override {
    return slots_[queue].face == nullptr ? slots_[queue].base : slots_[queue].face->base();
  }
  void watch(uint32_t queue, int fd) override {
    if (queue % 2 == 0) return;  // of buffers to fill nobody waits
    // By its edges: a count that is not read is none that could be waited for.
    add(fd, EPOLLIN | EPOLLET, queue);
    slots_[queue].kick = fd;
  }
  void unwatch(uint32_t queue) noexcept override {
    const int fd = std::exchange(slots_[queue].kick, -1);
    if (fd >= 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  }

  // ---- the peer
  void look_for_peer() noexcept {
    if (step_ != Step::alone) return;
    try {
      vhost::Connection connection;
      if (listener_) {
        watch_listener(true);
        connection = listener_->accept(rule_);
        if (!connection) return;
      } else {
        if (Clock::now() < again_) return;
        again_ = Clock::now() + kAgain;
        connection = vhost::connect(options_.socket, who_, rule_);
      }
      watch_listener(false);  // whoever comes now waits for this one to go
      add(connection.fd(), EPOLLIN, kPeer);
      back_end_.greet(std::move(connection));
      heard_ = true;
      step_ = Step::together;
      say("its driver is not there yet");
    } catch (const Error& error) {
      if (listener_) record_->errors.add(1);
      say(error.what());
    } catch (const std::exception&) {
      // Without memory for it: again in a moment.
    }
  }

  void go_on() noexcept {
    if (step_ == Step::alone) look_for_peer();
    if (step_ == Step::together) listen_to_peer();
    if (step_ == Step::parting && back_end_.let_go()) {
      hurry(false);
      step_ = Step::alone;
      look_for_peer();
    }
  }

  void listen_to_peer() noexcept {
    switch (back_end_.hear()) {
      case BackEnd::Hearing::all:
        hear_peer(true);
        end_pauses();
        return show_link();
      case BackEnd::Hearing::waits:
        return hear_peer(false);
      case BackEnd::Hearing::over:
        return part(back_end_.why());
    }
  }
  void part(const std::string& why) noexcept {
    if (!why.empty()) record_->errors.add(1);
    hear_peer(false);
    step_ = Step::parting;
    end_pauses();
    go_down();
    try {
      say(why.empty() ? "its peer is gone" : "its peer was let go: " + why);
    } catch (const std::exception&) {
      say("");
    }
  }
  void end_pauses() noexcept {
    for (const Slot& slot : slots_)
      if (slot.face != nullptr) slot.face->pauses.store(false, std::memory_order_relaxed);
  }
  bool any_lies() const noexcept {
    return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
      return slot.face != nullptr && slot.face->tenure.trouble();
    });
  }

  // ---- what is waited for
  void add(int fd, uint32_t events, uint32_t what) const {
    epoll_event event{};
    event.events = events;
    event.data.u32 = what;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
      throw system_error("VANITY_E_SYSTEM", "epoll", errno);
  }
  void watch_listener(bool on) {
    if (!listener_ || on == listening_) return;
    if (on) {
      add(listener_->fd(), EPOLLIN, kListener);
    } else {
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_->fd(), nullptr);
    }
    listening_ = on;
  }
  // While a message waits for a shard, what comes behind it wakes nobody; the timer does.
  void hear_peer(bool on) noexcept {
    if (on == heard_) return;
    try {
      if (on) {
        add(back_end_.fd(), EPOLLIN, kPeer);
      } else {
        epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, back_end_.fd(), nullptr);
      }
      heard_ = on;
    } catch (const std::exception&) {
      return;  // with the next service()
    }
    hurry(!on);
  }
  void hurry(bool on) noexcept {
    const timespec moment{0, on ? kMomentNs : 0};
    const itimerspec times{moment, moment};
    timerfd_settime(timer_.get(), 0, &times, nullptr);
  }
  void ring_bell(uint32_t queue) noexcept {
    if (queue % 2 == 0 || queue / 2 >= bells_.size()) return;
    const uint64_t one = 1;
    if (write(bells_[queue / 2].get(), &one, sizeof one) < 0) {
      // Full: it rings.
    }
  }

  // ---- what people see
  void show_link() noexcept {
    if (back_end_.running()) {
      if (state() == PortState::up) return;
      say("");
      set_state(PortState::up);
    } else if (state() == PortState::up) {
      go_down();
      say("its driver has stopped");
    }
  }
  void go_down() noexcept {
    if (state() == PortState::up) record_->downs.add(1);
    set_state(PortState::down);
  }
  void say(const std::string& text) noexcept {
    try {
      std::string whole = text.empty() || text.rfind(who_, 0) == 0 ? text : who_ + ": " + text;
      const std::lock_guard lock(text_mutex_);
      text_ = std::move(whole);
    } catch (const std::exception&) {
      // Without memory for it the state has to do.
    }
  }

  const PortOptions options_;
  const std::string who_;
  const vhost::PeerRule rule_;
  const uint32_t pairs_;
  BackEnd back_end_;
  Fd epoll_;
  Fd timer_;
  std::optional<vhost::Listener> listener_;
  std::vector<std::unique_ptr<VhostRx>> rx_;
  std::vector<std::unique_ptr<VhostTx>> tx_;
  std::vector<Fd> bells_;    // by receive queue: ring its shard's doorbell
  std::vector<Slot> slots_;  // by queue of the driver
  Step step_ = Step::closed;
  bool listening_ = false;
  bool heard_ = false;
  Clock::time_point again_{};
  mutable std::mutex text_mutex_;  // control path only
  std::string text_;
};

}  // namespace

std::unique_ptr<Port> create_vhost_user_port(const PortOptions& options,
                                             const PortRecords& records) {
  return std::make_unique<VhostUserPort>(options, records);
}

}  // namespace vanity
