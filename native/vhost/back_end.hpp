// The device's side of a vhost-user socket (Vhost-user Protocol, back-end): hears what a front-end
// says, keeps its memory and the state of its rings, and lets the queues of a port go to work.
//
// A ring that a shard works is not touched: whatever changes one, or the memory, first asks its
// queue to stop. Until that has, the message waits, and no later one is heard. So nothing here ever
// waits for a shard, or for the peer.
//
// Whatever a peer says that can't be ends the connection, with a text. On the kernel's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "vhost/message.hpp"
#include "vhost/peer_memory.hpp"
#include "vhost/socket.hpp"
#include "virtio/device_ring.hpp"

namespace vanity::vhost {

// All that a queue needs to go to work.
struct RingStart {
  uint64_t features;  // as negotiated
  virtio::RingParts parts;
  uint16_t size;
  uint32_t base;
  int call;      // eventfd; -1: the driver polls
  bool kicks;    // false: the driver says nothing when there is something
  uint32_t mtu;  // 0: the driver has said none
  const PeerMemory* memory;
};

// What the back-end asks of a port. Queue 2n is what the driver's pair n receives, 2n+1 what it
// sends.
class BackEndQueues {
 public:
  virtual void run(uint32_t queue, const RingStart& start) = 0;
  virtual void stop(uint32_t queue) noexcept = 0;  // asks
  virtual bool stopped(uint32_t queue) noexcept = 0;
  virtual uint32_t base(uint32_t queue) noexcept = 0;  // of a stopped one: where it stopped
  // Each write to this eventfd says that the driver has something. Before it is closed, unwatch().
  virtual void watch(uint32_t queue, int fd) = 0;
  virtual void unwatch(uint32_t queue) noexcept = 0;

 protected:
  ~BackEndQueues() = default;
};

struct BackEndOptions {
  uint64_t features = 0;  // of the device; those of the protocol come by themselves
  uint32_t pairs = 1;
};

class BackEnd {
 public:
  static constexpr uint32_t kRingMax = 32768;

  BackEnd(const BackEndOptions& options, BackEndQueues& queues);

  // A peer has come. Only when there is none.
  void greet(Connection connection);
  int fd() const noexcept { return connection_.fd(); }

  enum class Hearing : uint8_t {
    all,    // there is nothing more for now
    waits,  // for a queue to stop: again in a moment, whether something came or not
    over,   // why() says for which reason; let_go()
  };
  Hearing hear() noexcept;

  // Stops everything. True: nothing of the peer is left. False: again in a moment.
  bool let_go() noexcept;

  // Why the peer is let go; of a peer that just went: empty.
  const std::string& why() const noexcept { return why_; }
  // Looks at what the peer may do behind its messages. False: it is to be let go.
  bool look_after() noexcept;
  // Do any queues work?
  bool running() const noexcept;

 private:
  struct Ring {
    uint16_t size = 0;
    bool placed = false;   // its address is known
    bool started = false;  // it has been kicked, or will be
    bool enabled = false;
    bool kicks = false;
    bool running = false;  // a queue works it
    RingAddress address{};
    uint32_t base = 0;
    Fd kick;
    Fd call;
  };

  // False: a queue must stop before.
  bool handle(Message& message);
  bool set_memory(Message& message);
  bool set_up(const Message& message);
  bool enable(const Message& message);
  bool set_descriptor(Message& message);
  bool get_base(const Message& message);
  bool reset();
  void set_features(uint64_t features);

  Ring& ring_of(uint64_t index);
  bool halt(uint32_t queue) noexcept;
  bool halt_all() noexcept;
  void run_if_complete(uint32_t queue);
  void run_complete();
  virtio::RingParts place(const Ring& ring) const;
  void forget(Ring& ring, uint32_t queue) noexcept;
  void answer(const Message& message, const void* payload, uint32_t bytes);
  void answer(const Message& message, uint64_t value) { answer(message, &value, sizeof value); }
  bool has(unsigned feature) const noexcept { return (features_ >> feature & 1) != 0; }

  const BackEndOptions options_;
  BackEndQueues& queues_;
  Connection connection_;
  Message message_;
  bool held_ = false;  // message_ waits for a queue
  std::vector<Ring> rings_;
  std::unique_ptr<PeerMemory> memory_;
  uint64_t features_ = 0;
  uint64_t protocol_ = 0;
  uint64_t status_ = 0;
  uint32_t mtu_ = 0;
  std::string why_;
};

}  // namespace vanity::vhost
