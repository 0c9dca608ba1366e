// A port of a NIC under test, with all that a system would make for it, and a peer on its wire:
// what the tests of the NIC drivers share. $VANITY_NIC is the device, $VANITY_PEER the interface.
#pragma once

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../native/check.hpp"
#include "device/irq_line.hpp"
#include "device/vfio.hpp"
#include "environment.hpp"
#include "memory/arena.hpp"
#include "port/nic.hpp"
#include "port/port.hpp"

namespace vanity {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<uint8_t>;
constexpr auto kSoon = std::chrono::seconds(5);          // for what must come
constexpr auto kQuiet = std::chrono::milliseconds(150);  // for what must not
constexpr uint16_t kOurType = 0x88b5;  // IEEE 802 local experimental: the kernel sends none

// The kernel's NIC on the wire.
class Peer {
 public:
  explicit Peer(uint16_t type = kOurType) : fd_(socket(AF_PACKET, SOCK_RAW, htons(type))) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(type);
    address.sll_ifindex = static_cast<int>(if_nametoindex(variable("VANITY_PEER").c_str()));
    packet_mreq all{};
    all.mr_ifindex = address.sll_ifindex;
    all.mr_type = PACKET_MR_PROMISC;
    const int large = 8 << 20;
    if (fd_ < 0 || bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        setsockopt(fd_, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) != 0 ||
        setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large) != 0)
      throw std::runtime_error("no packet socket on the peer");
  }
  ~Peer() { close(fd_); }

  bool send(const Bytes& frame) {
    return ::send(fd_, frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size());
  }
  // Where nobody takes the frames at the other end, who waits for room waits for ever.
  void offer(const Bytes& frame) { ::send(fd_, frame.data(), frame.size(), MSG_DONTWAIT); }
  std::optional<Bytes> receive(std::chrono::milliseconds patience = kSoon) {
    for (;;) {
      pollfd wait{fd_, POLLIN, 0};
      if (poll(&wait, 1, static_cast<int>(patience.count())) != 1) return std::nullopt;
      Bytes frame(20000);
      sockaddr_ll from{};
      socklen_t size = sizeof from;
      const ssize_t n =
          recvfrom(fd_, frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (n < 0) return std::nullopt;
      if (from.sll_pkttype == PACKET_OUTGOING) continue;
      frame.resize(static_cast<size_t>(n));
      return frame;
    }
  }

 private:
  int fd_;
};

struct NicOptions {
  const char* nic = "VANITY_NIC";
  uint32_t rx = 1;
  uint32_t tx = 1;
  uint32_t ring = 64;
  uint32_t buffers = 512;
  uint32_t buffer_bytes = 2048;
  bool promiscuous = true;
  bool reachable = true;
  std::optional<IrqKind> kind = std::nullopt;
};

// Everything a system would make for one port.
struct NicRig {
  // What differs: which driver the port is of, and with which options.
  using Create = std::function<std::unique_ptr<Port>(NicRig&, PortOptions&, const PortRecords&)>;

  NicOptions options;
  VfioDevice device;
  NicHost host;
  Arena arena;
  std::vector<uint64_t> pool_addresses;
  std::vector<std::unique_ptr<Pool>> pools;  // one a receive queue, as one a shard; the last sends
  PoolTable table;
  std::unique_ptr<PortRecord> port_record = std::make_unique<PortRecord>();
  std::vector<std::unique_ptr<QueueRecord>> queue_records;
  std::vector<std::unique_ptr<VectorRecord>> vector_records;
  std::unique_ptr<Port> port;
  Irq* irq = nullptr;
  std::vector<std::unique_ptr<IrqLine>> lines;  // one a vector

  NicRig(const NicOptions& given, const Create& create)
      : options(given),
        device(PciAddress::parse(variable(given.nic))),
        host{device, {}},
        arena((given.rx + 1) * Pool::memory_bytes(given.buffers, given.buffer_bytes) + 4096) {
    PortRecords records;
    records.port = port_record.get();
    for (uint32_t i = 0; i < given.rx + given.tx; ++i) {
      queue_records.push_back(std::make_unique<QueueRecord>());
      (i < given.rx ? records.rx : records.tx).push_back(queue_records.back().get());
    }
    PortOptions port_options;
    port_options.name = "wan";
    port_options.index = 7;
    port_options.rx_queues = given.rx;
    port_options.tx_queues = given.tx;
    port_options.promiscuous = given.promiscuous;
    port_options.buffer_bytes = given.buffer_bytes;
    port_options.ring = given.ring;
    port_options.poll_ns_max = 0;
    port = create(*this, port_options, records);
    CHECK(!device.bus_master());

    DmaRegion& region = device.dma(arena, 64);
    pool_addresses.reserve(given.rx + 1);
    for (uint32_t i = 0; i < given.rx + 1; ++i) {
      void* const memory =
          arena.allocate(Pool::memory_bytes(given.buffers, given.buffer_bytes), 64);
      pools.push_back(std::make_unique<Pool>(i, given.buffers, given.buffer_bytes, memory));
      table.add(*pools.back());
      const auto offset = static_cast<uint64_t>(static_cast<std::byte*>(memory) - region.data());
      pool_addresses.push_back(region.view().address(offset));
      if (i < given.rx || given.reachable) host.buffers.add(*pools.back(), &pool_addresses[i], 63);
    }
    const PortIrqs irqs = port->irqs();
    if (!irqs.queue_of_vector.empty()) {
      irq = &device.arm(irqs.kind, static_cast<uint32_t>(irqs.queue_of_vector.size()));
      for (uint32_t i = 0; i < irqs.queue_of_vector.size(); ++i) {
        vector_records.push_back(std::make_unique<VectorRecord>());
        lines.push_back(std::make_unique<IrqLine>(
            vector_records.back().get(), irqs.kind == IrqKind::intx ? irq->unmask_fd(i) : -1));
        if (irqs.queue_of_vector[i] != PortIrqs::kPortVector)
          port->rx(irqs.queue_of_vector[i]).set_line(lines.back().get());
      }
    }
    port->start();
    for (uint32_t i = 0; i < given.rx; ++i) CHECK_EQ(receive(i, 0).size(), 0u);  // posts buffers
    const auto until = Clock::now() + kSoon;
    while (port->state() != PortState::up && Clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      port->service();
    }
    CHECK(port->state() == PortState::up);
  }

  QueueRecord& rx_record(uint32_t queue = 0) { return *queue_records[queue]; }
  QueueRecord& tx_record(uint32_t queue = 0) { return *queue_records[options.rx + queue]; }
  Pool& send_pool() { return *pools[options.rx]; }

  // The kernel core's part: true when the vector fired.
  bool fired(uint32_t vector, std::chrono::milliseconds patience) {
    pollfd wait{irq->fd(vector), POLLIN, 0};
    if (poll(&wait, 1, static_cast<int>(patience.count())) != 1) return false;
    const uint64_t times = irq->take(vector);
    if (times != 0) lines[vector]->raise(now_ticks(), times);
    return times != 0;
  }

  // What is there now, as frames; the buffers go home.
  std::vector<Bytes> receive(uint32_t queue, uint32_t n = 64) {
    vanity_packet packets[64];
    const uint32_t got = port->rx(queue).receive(*pools[queue], packets, n);
    std::vector<Bytes> frames;
    for (uint32_t i = 0; i < got; ++i) {
      CHECK_EQ(packets[i].port, 7);
      CHECK_EQ(table.meta(packets[i]).wire_length, packets[i].length);
      const uint8_t* const data = table.data(packets[i]);
      frames.emplace_back(data, data + packets[i].length);
    }
    pools[queue]->give(packets, got);
    return frames;
  }
  // The next frame of ours.
  std::optional<Bytes> next(uint32_t queue = 0) {
    const auto until = Clock::now() + kSoon;
    while (Clock::now() < until) {
      for (Bytes& frame : receive(queue, 1))
        if (frame[12] == kOurType >> 8 && frame[13] == (kOurType & 0xff)) return std::move(frame);
    }
    return std::nullopt;
  }

  vanity_packet packet_of(const Bytes& frame) {
    vanity_packet packet{};
    CHECK_EQ(send_pool().take(&packet, 1), 1u);
    packet.offset = VANITY_FRAME_OFFSET;
    packet.length = static_cast<uint16_t>(frame.size());
    std::memcpy(table.data(packet), frame.data(),
                std::min<size_t>(frame.size(), table.room(packet)));
    return packet;
  }
  void take_completed(uint32_t queue) {
    vanity_packet packets[16];
    uint32_t got;
    port->tx(queue).flush();
    while ((got = port->tx(queue).completed(packets, 16)) != 0) send_pool().give(packets, got);
  }
  bool send(const Bytes& frame, uint32_t queue = 0) {
    take_completed(queue);
    const vanity_packet packet = packet_of(frame);
    if (port->tx(queue).transmit(table, &packet, 1) == 1) return true;
    send_pool().give(&packet, 1);
    return false;
  }
  bool all_sent(uint32_t queue = 0) {
    const auto until = Clock::now() + kSoon;
    while (send_pool().missing() != 0 && Clock::now() < until) take_completed(queue);
    return send_pool().missing() == 0;
  }

  // As the kernel stops a system.
  void stop() {
    port->close();
    vanity_packet packets[16];
    uint32_t got;
    for (uint32_t i = 0; i < options.rx; ++i)
      while ((got = port->rx(i).take_back(packets, 16)) != 0) pools[i]->give(packets, got);
    for (uint32_t i = 0; i < options.tx; ++i)
      while ((got = port->tx(i).take_back(packets, 16)) != 0) send_pool().give(packets, got);
    for (const auto& pool : pools) CHECK_EQ(pool->missing(), 0u);
  }
};

constexpr uint8_t kPeerMac[6] = {0x02, 0, 0, 0, 0, 2};
constexpr uint8_t kOwnMac[6] = {0x02, 0, 0, 0, 0, 1};

inline Bytes frame_of(size_t bytes, uint32_t seed, uint16_t type = kOurType) {
  Bytes frame(bytes);
  std::memcpy(frame.data(), kOwnMac, 6);
  std::memcpy(frame.data() + 6, kPeerMac, 6);
  frame[12] = static_cast<uint8_t>(type >> 8);
  frame[13] = static_cast<uint8_t>(type);
  for (size_t i = 14; i < bytes; ++i) {
    seed = seed * 1664525 + 1013904223;
    frame[i] = static_cast<uint8_t>(seed >> 24);
  }
  return frame;
}

// One frame, from the wire to the port and the other way.
inline void comes_in(NicRig& rig, Peer& peer, const Bytes& frame) {
  CHECK(peer.send(frame));
  const auto got = rig.next();
  CHECK(got);
  CHECK(*got == frame);
}
inline void goes_out(NicRig& rig, Peer& peer, const Bytes& frame, uint32_t queue = 0) {
  CHECK(rig.send(frame, queue));
  const auto got = peer.receive();
  CHECK(got);
  CHECK(*got == frame);
}
// Frame `i` of `n`, of every length that there is without jumbo frames.
inline Bytes nth_frame(uint32_t i, uint32_t n) {
  return frame_of(60 + i * 1454 / (n - 1), i);
}

}  // namespace vanity
