// A virtio device at the other end of a socket (Vhost-user Protocol, front-end): its rings and
// buffers are this process's memory, its doorbells and interrupts are eventfds.
//
// The peer may come later, go, and come back: present() says so. Whatever it does, a call here ends
// within kAnswerMs for each message; a peer that does not answer, or answers with nonsense, is let
// go, and tried again after kAgainMs. What a peer that is gone still has mapped it can still write
// (nobody can take memory back from a process), so a connection that ends costs the same distrust
// as a device that lies: rings are made anew, and no word in them is believed.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "memory/arena.hpp"
#include "vhost/shared.hpp"
#include "vhost/socket.hpp"
#include "virtio/transport.hpp"

namespace vanity::vhost {

struct FrontEndOptions {
  std::string who = {};  // begins messages: "port wan"
  std::string path = {};
  bool server = false;
  PeerRule peer = {};
  uint32_t pairs = 1;       // of queues
  uint32_t vectors = 0;     // receive queues with an interrupt
  uint32_t ring_bytes = 0;  // of all memory() together
};

class FrontEnd final : public virtio::Transport {
 public:
  static constexpr int kAnswerMs = 500;
  static constexpr int kAgainMs = 1000;

  // `shared` is read at every connection, and stays the caller's. A peer that is not there is no
  // error. Throws VANITY_E_PORT_PEER for a path that can't be listened on, VANITY_E_MEMORY.
  FrontEnd(const FrontEndOptions& options, const SharedRegions& shared);

  bool present() const override { return static_cast<bool>(connection_); }
  std::string absence() const override { return absence_; }
  bool may_change() const override { return true; }
  int control_fd() const override { return epoll_.get(); }
  void attend() override;
  void distrust() override { drop("the back-end wrote into a ring what cannot be"); }
  bool enables_pairs() const override { return true; }
  int vector_fd(uint32_t vector) const override { return calls_.at(vector).get(); }

  uint64_t offered() override;
  void accept(uint64_t features) override { accepted_ = features; }
  uint8_t status() override;
  void set_status(uint8_t status) override;
  uint32_t config(uint32_t offset, uint32_t bytes) override;
  uint16_t queue_size_max(uint16_t queue) override;
  bool set_up(uint16_t queue, const virtio::QueuePlace& place, uint16_t vector) override;
  void enable(uint16_t queue) override;
  bool set_config_vector(uint16_t) override { return false; }
  void reset_queue(uint16_t) override {}  // never negotiated
  bool reset_done(uint16_t) override { return true; }
  virtio::Notifier notifier(uint16_t queue) override;
  uint32_t vectors() override { return static_cast<uint32_t>(calls_.size()); }
  bool has_level() override { return false; }
  virtio::LevelState level_state() override { return {}; }
  virtio::SharedMemory memory(uint32_t bytes) override;
  bool translates() override { return false; }
  void let_loose(bool on) override;

 private:
  using Clock = std::chrono::steady_clock;

  void watch(int fd) const;
  void look_for_peer() noexcept;
  bool greet() noexcept;
  bool open_back_channel() noexcept;
  bool share_memory() noexcept;
  void hear_peer() noexcept;
  void hear_back_channel() noexcept;
  void stop_rings() noexcept;
  void drop(const std::string& why) noexcept;

  // Each false: the peer has been let go.
  bool say(Request request, const void* payload, uint32_t bytes, const int* fds = nullptr,
           uint32_t fd_count = 0) noexcept;
  bool say(Request request, uint64_t value) noexcept { return say(request, &value, sizeof value); }
  bool say_ring(Request request, uint32_t queue, uint32_t value) noexcept {
    const RingState state{queue, value};
    return say(request, &state, sizeof state);
  }
  bool say_fd(Request request, uint32_t queue, int fd) noexcept;
  bool ask(Request request, const void* payload, uint32_t bytes, Message& answer,
           uint32_t answer_bytes) noexcept;
  bool ask(Request request, uint64_t& value) noexcept;

  const FrontEndOptions options_;
  const SharedRegions& shared_;
  Arena rings_;
  Fd epoll_;
  std::optional<Listener> listener_;
  Connection connection_;
  Connection back_channel_;
  Fd error_;                // counts what the peer found wrong with a ring
  std::vector<Fd> kicks_;   // by queue; the notifiers point at them
  std::vector<Fd> calls_;   // by vector
  std::vector<bool> runs_;  // by queue: the peer may touch its ring
  uint64_t offered_ = 0;    // by the peer, as it said
  uint64_t protocol_ = 0;
  uint64_t accepted_ = 0;
  uint32_t pairs_max_ = 1;
  uint8_t status_ = 0;
  bool memory_shared_ = false;
  bool wants_reset_ = false;
  bool closed_ = false;
  Clock::time_point again_{};
  std::string absence_;
};

}  // namespace vanity::vhost
