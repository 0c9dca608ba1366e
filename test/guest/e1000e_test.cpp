// native/port/e1000e against QEMU's e1000e: its NIC is on one wire with one of the kernel's. Runs
// inside the guest only (test/guest/jobs/e1000e.sh), as root.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../native/check.hpp"
#include "device/irq_line.hpp"
#include "device/vfio.hpp"
#include "memory/arena.hpp"
#include "platform/error.hpp"
#include "port/e1000e/device.hpp"
#include "port/e1000e/e1000e_port.hpp"
#include "port/e1000e/registers.hpp"
#include "port/nic.hpp"

using namespace vanity;
using namespace vanity::e1000e;

namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<uint8_t>;
constexpr auto kSoon = std::chrono::seconds(5);          // for what must come
constexpr auto kQuiet = std::chrono::milliseconds(150);  // for what must not
constexpr uint16_t kOurType = 0x88b5;  // IEEE 802 local experimental: the kernel sends none

std::string variable(const char* name) {
  const char* const text = std::getenv(name);
  if (text == nullptr) throw std::runtime_error(std::string("no $") + name);
  return text;
}

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

// Everything a system would make for one port.
struct Rig {
  struct Options {
    uint32_t rx = 1;
    uint32_t tx = 1;
    uint32_t ring = 64;
    uint32_t buffers = 512;
    uint32_t buffer_bytes = 2048;
    bool promiscuous = true;
    bool reachable = true;
    std::optional<IrqKind> kind = std::nullopt;
  };

  VfioDevice device;
  NicHost host;
  Arena arena;
  uint64_t pool_address = 0;
  std::vector<std::unique_ptr<Pool>> pools;  // one a receive queue, as one a shard
  PoolTable table;
  std::unique_ptr<PortRecord> port_record = std::make_unique<PortRecord>();
  std::vector<std::unique_ptr<QueueRecord>> queue_records;
  std::vector<std::unique_ptr<VectorRecord>> vector_records;
  std::unique_ptr<Port> port;
  Irq* irq = nullptr;
  std::vector<std::unique_ptr<IrqLine>> lines;  // one a vector
  std::vector<uint64_t> pool_addresses;
  Options options;

  explicit Rig(const Options& given)
      : device(PciAddress::parse(variable("VANITY_NIC"))),
        host{device, {}},
        arena((given.rx + 1) * Pool::memory_bytes(given.buffers, given.buffer_bytes) + 4096),
        options(given) {
    PortRecords records;
    records.port = port_record.get();
    for (uint32_t i = 0; i < given.rx + given.tx; ++i) {
      queue_records.push_back(std::make_unique<QueueRecord>());
      (i < given.rx ? records.rx : records.tx).push_back(queue_records.back().get());
    }
    PortOptions port_options;
    port_options.name = "wan";
    port_options.driver = "e1000e";
    port_options.index = 7;
    port_options.rx_queues = given.rx;
    port_options.tx_queues = given.tx;
    port_options.promiscuous = given.promiscuous;
    port_options.buffer_bytes = given.buffer_bytes;
    port_options.nic = &host;
    port_options.ring = given.ring;
    port_options.poll_ns_max = 0;
    port = create_e1000e_port(port_options, records, given.kind);
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
  Rig() : Rig(Options()) {}

  MmioView registers() { return device.mmio(0, 0, kRegisterBytes); }
  QueueRecord& rx_record(uint32_t queue) { return *queue_records[queue]; }
  QueueRecord& tx_record(uint32_t queue) { return *queue_records[options.rx + queue]; }
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

// As an operator at the monitor; the answer is not waited for (QMP, on a serial line of the guest).
void tell_qemu(const std::string& command, const std::string& arguments) {
  const int fd = open("/dev/ttyS2", O_RDWR | O_NOCTTY | O_CLOEXEC);
  termios raw{};
  cfmakeraw(&raw);
  raw.c_cflag |= CREAD | CLOCAL;
  const std::string text = "\n{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"" + command +
                           "\", \"arguments\": " + arguments + "}\n";
  CHECK(fd >= 0);
  CHECK(tcsetattr(fd, TCSANOW, &raw) == 0);
  CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  tcdrain(fd);
  close(fd);
}

constexpr uint8_t kPeerMac[6] = {0x02, 0, 0, 0, 0, 2};
constexpr uint8_t kOwnMac[6] = {0x02, 0, 0, 0, 0, 1};

Bytes frame_of(size_t bytes, uint32_t seed, uint16_t type = kOurType) {
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

// IPv4 and UDP, from a flow's one end to the other; checksums are nobody's business here.
Bytes flow_frame(uint8_t from, uint8_t to) {
  Bytes frame = frame_of(60, from, 0x0800);
  const uint8_t ip[] = {0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 7, 0, from, 10, 7, 0, to};
  std::memcpy(frame.data() + 14, ip, sizeof ip);
  uint32_t sum = 0;
  for (size_t i = 14; i < 34; i += 2) sum += static_cast<uint32_t>(frame[i] << 8 | frame[i + 1]);
  sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
  frame[24] = static_cast<uint8_t>(sum >> 8);
  frame[25] = static_cast<uint8_t>(sum);
  return frame;
}

}  // namespace

TEST(frames_from_the_peer_arrive_byte_by_byte) {
  Rig rig;
  Peer peer;
  for (uint32_t i = 0; i < 100; ++i) {
    const Bytes sent = frame_of(60 + i * 1454 / 99, i);
    CHECK(peer.send(sent));
    const auto got = rig.next();
    CHECK(got);
    CHECK(*got == sent);
  }
  CHECK(rig.rx_record(0).packets.get() >= 100);
  CHECK_EQ(rig.rx_record(0).invalid.get(), 0u);
  CHECK_EQ(rig.rx_record(0).oversize.get(), 0u);
  rig.stop();
}

TEST(frames_to_the_peer_arrive_byte_by_byte) {
  Rig rig;
  Peer peer;
  for (uint32_t i = 0; i < 100; ++i) {
    const Bytes sent = frame_of(60 + i * 1454 / 99, i);
    CHECK(rig.send(sent));
    const auto got = peer.receive();
    CHECK(got);
    CHECK(*got == sent);
  }
  CHECK(rig.all_sent());
  CHECK_EQ(rig.tx_record(0).packets.get(), 100u);
  rig.stop();
}

// 802.1Q tags are the sender's business in both directions.
TEST(tagged_frames_keep_their_tag) {
  Rig rig;
  Peer peer(ETH_P_ALL);
  Bytes frame = frame_of(200, 1);
  const uint8_t tag[] = {0x81, 0, 0x20, 5};
  frame.insert(frame.begin() + 12, std::begin(tag), std::end(tag));
  CHECK(rig.send(frame));
  std::optional<Bytes> got;
  do {
    got = peer.receive();
    CHECK(got);
  } while (got->size() < 200);
  // Linux takes the tag of a packet socket's frame into its metadata.
  CHECK(*got == frame || got->size() == frame.size() - 4);
  CHECK(peer.send(frame));
  const auto until = Clock::now() + kSoon;
  bool came = false;
  while (!came && Clock::now() < until)
    for (const Bytes& each : rig.receive(0)) came = came || each == frame;
  CHECK(came);
  rig.stop();
}

TEST(both_receive_queues_get_flows_and_a_flow_stays_where_it_is) {
  Rig rig({.rx = 2, .tx = 1});
  Peer peer;
  std::map<uint8_t, uint32_t> queue_of;
  const auto find = [&](const Bytes& sent) {
    CHECK(peer.send(sent));
    const auto until = Clock::now() + kSoon;
    while (Clock::now() < until)
      for (uint32_t queue = 0; queue < 2; ++queue)
        for (const Bytes& frame : rig.receive(queue))
          if (frame == sent) return queue;
    throw std::runtime_error("a frame is lost");
  };
  for (uint8_t end = 1; end <= 24; ++end) queue_of[end] = find(flow_frame(end, 200));
  for (uint8_t end = 1; end <= 24; ++end) {
    CHECK_EQ(find(flow_frame(end, 200)), queue_of[end]);
    CHECK_EQ(find(flow_frame(200, end)), queue_of[end]);  // and the other way
  }
  CHECK(rig.rx_record(0).packets.get() > 0);
  CHECK(rig.rx_record(1).packets.get() > 0);
  rig.stop();
}

TEST(both_transmit_queues_send) {
  Rig rig({.rx = 1, .tx = 2});
  Peer peer;
  for (uint32_t i = 0; i < 60; ++i) {
    const Bytes sent = frame_of(100, i);
    CHECK(rig.send(sent, i % 2));
    const auto got = peer.receive();
    CHECK(got);
    CHECK(*got == sent);
  }
  const auto until = Clock::now() + kSoon;
  while (rig.send_pool().missing() != 0 && Clock::now() < until)
    for (uint32_t queue = 0; queue < 2; ++queue) rig.take_completed(queue);
  CHECK_EQ(rig.send_pool().missing(), 0u);
  CHECK_EQ(rig.tx_record(0).packets.get(), 30u);
  CHECK_EQ(rig.tx_record(1).packets.get(), 30u);
  rig.stop();
}

TEST(a_burst_rings_once_and_a_full_ring_takes_what_it_can) {
  Rig rig({.ring = 64});
  Peer peer;
  vanity_packet packets[100];
  std::vector<Bytes> sent;
  for (uint32_t i = 0; i < 100; ++i) {
    sent.push_back(frame_of(64 + i, i));
    packets[i] = rig.packet_of(sent.back());
  }
  CHECK_EQ(rig.port->tx(0).transmit(rig.table, packets, 100), 63u);
  CHECK_EQ(rig.tx_record(0).bursts.get(), 1u);
  for (uint32_t i = 0; i < 63; ++i) {
    const auto got = peer.receive();
    CHECK(got);
    CHECK(*got == sent[i]);
  }
  vanity_packet back[64];
  uint32_t home = 0;
  const auto until = Clock::now() + kSoon;
  while (home < 63 && Clock::now() < until)
    home += rig.port->tx(0).completed(back + home, 64 - home);
  CHECK_EQ(home, 63u);
  for (uint32_t i = 0; i < 63; ++i) CHECK_EQ(back[i].buffer, packets[i].buffer);
  rig.send_pool().give(back, home);
  CHECK_EQ(rig.port->tx(0).transmit(rig.table, packets + 63, 37), 37u);
  CHECK(rig.all_sent());
  rig.stop();
}

TEST(every_vector_fires_and_only_its_own) {
  Rig rig({.rx = 2, .tx = 2});
  const PortIrqs irqs = rig.port->irqs();
  CHECK(irqs.kind == IrqKind::msix);
  CHECK_EQ(irqs.queue_of_vector.size(), 3u);
  const uint32_t causes[] = {kCauseRx0, kCauseRx0 << 1, kCauseLink};
  for (int round = 0; round < 3; ++round) {
    for (uint32_t queue = 0; queue < 2; ++queue) {
      const auto until = Clock::now() + kSoon;
      while (!rig.port->rx(queue).rings() && Clock::now() < until) {
        rig.receive(queue);
        rig.port->rx(queue).sleep_ns_max();
      }
      CHECK(rig.port->rx(queue).rings());
    }
    while (rig.fired(2, kQuiet)) rig.port->interrupt();
    for (uint32_t vector = 0; vector < 3; ++vector) {
      rig.registers().write32(kIcs, causes[vector]);
      CHECK(rig.fired(vector, kSoon));
      for (uint32_t other = 0; other < 3; ++other) CHECK_EQ(rig.irq->take(other), 0u);
    }
    rig.port->interrupt();
    for (uint32_t queue = 0; queue < 2; ++queue) {
      CHECK_EQ(rig.receive(queue).size(), 0u);
      CHECK(!rig.port->rx(queue).rings());
    }
  }
  CHECK_EQ(rig.vector_records[0]->taken.get(), 3u);
  rig.stop();
}

// Whatever happens between the last look and the sleep, a frame is either found or rings.
void sleep_and_wake(const std::optional<IrqKind> kind, uint32_t rounds) {
  Rig rig({.kind = kind});
  Peer peer;
  RxQueue& queue = rig.port->rx(0);
  uint32_t slept = 0;
  for (uint32_t i = 0; i < rounds; ++i) {
    const Bytes sent = frame_of(64, i);
    std::thread sender([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(i * 37 % 1500));
      peer.send(sent);
    });
    bool found = false;
    const auto until = Clock::now() + kSoon;
    while (!found && Clock::now() < until) {
      for (const Bytes& frame : rig.receive(0)) found = found || frame == sent;
      if (found || queue.sleep_ns_max() == 0) continue;
      CHECK(queue.rings());
      ++slept;
      if (!rig.fired(0, kSoon)) break;
    }
    sender.join();
    CHECK(found);
  }
  std::printf("# slept %u times for %u frames, %llu interrupts\n", slept, rounds,
              static_cast<unsigned long long>(rig.vector_records[0]->raised.get()));
  CHECK(slept >= rounds / 2);
  CHECK(rig.vector_records[0]->raised.get() <= slept + rounds);
  rig.stop();
}

TEST(a_frame_between_the_last_look_and_arming_is_found) {
  for (const IrqKind kind : {IrqKind::msix, IrqKind::intx}) {
    Rig rig({.kind = kind});
    Peer peer;
    for (uint32_t i = 0; i < 5; ++i) {
      while (!rig.receive(0).empty()) {
      }
      CHECK(peer.send(frame_of(64, i)));
      std::this_thread::sleep_for(kQuiet);
      CHECK_EQ(rig.port->rx(0).sleep_ns_max(), 0u);
      CHECK(rig.next());
      CHECK(!rig.fired(0, std::chrono::milliseconds(1)) || rig.receive(0).empty());
    }
    rig.stop();
  }
}

TEST(no_edge_is_lost_between_the_last_look_and_sleep) {
  sleep_and_wake(std::nullopt, 300);
}

TEST(intx_is_acknowledged_and_unmasked_by_the_queue) {
  sleep_and_wake(IrqKind::intx, 150);
}

TEST(with_intx_the_second_queue_is_polled) {
  Rig rig({.rx = 2, .kind = IrqKind::intx});
  CHECK_EQ(rig.port->irqs().queue_of_vector.size(), 1u);
  const uint64_t ns = rig.port->rx(1).sleep_ns_max();
  CHECK(ns > 0 && ns < 1'000'000);
  rig.stop();
}

TEST(a_stop_under_load_gives_every_buffer_back) {
  for (int round = 0; round < 4; ++round) {
    Rig rig({.rx = 2, .tx = 2, .ring = 128});
    Peer peer;
    std::atomic<bool> stop{false};
    std::thread flood([&] {
      for (uint8_t i = 0; !stop.load(); ++i) peer.offer(flow_frame(i, 200));
    });
    const auto until = Clock::now() + std::chrono::milliseconds(300);
    for (uint32_t i = 0; Clock::now() < until; ++i) {
      rig.receive(i % 2, 1 + i % 40);
      rig.send(frame_of(1514, i), i % 2);
    }
    rig.stop();
    stop = true;
    flood.join();
  }
}

TEST(a_port_is_taken_away_while_its_shard_runs) {
  Rig rig({.rx = 1, .tx = 1});
  Peer peer;
  const vanity_packet last = rig.packet_of(frame_of(100, 1));
  std::atomic<bool> stop{false};
  std::thread shard([&] {
    while (!stop.load()) {
      rig.receive(0);
      rig.take_completed(0);
      rig.port->rx(0).sleep_ns_max();
    }
  });
  for (uint32_t i = 0; i < 50; ++i) CHECK(peer.send(frame_of(100, i)));
  CHECK(!rig.port->retired());
  rig.port->retire();
  const auto until = Clock::now() + kSoon;
  while (!rig.port->retired() && Clock::now() < until) std::this_thread::yield();
  CHECK(rig.port->retired());
  rig.device.quiesce();
  CHECK(rig.pools[0]->missing() != 0);  // what the device had is not given back before
  rig.port->release();
  while (rig.pools[0]->missing() != 0 && Clock::now() < until) std::this_thread::yield();
  stop = true;
  shard.join();
  CHECK_EQ(rig.pools[0]->missing(), 0u);
  // What is sent from now on is lost, counted, and comes home.
  CHECK_EQ(rig.port->tx(0).transmit(rig.table, &last, 1), 1u);
  CHECK_EQ(rig.tx_record(0).dropped.get(), 1u);
  CHECK(rig.all_sent());
  rig.stop();
}

// The device is told of long frames behind the driver's back, and so writes lengths that it must
// not.
TEST(a_device_that_lies_is_reset_and_goes_on) {
  Rig rig({.rx = 2, .tx = 1});
  Peer peer;
  const uint32_t rctl = rig.registers().read32(kRctl);
  rig.registers().write32(kRctl, rctl | kRctlLong);
  CHECK(rig.send(frame_of(100, 1)));
  CHECK(peer.send(frame_of(1600, 1)));
  std::atomic<bool> stop{false};
  std::thread shard([&] {
    while (!stop.load()) {
      for (uint32_t queue = 0; queue < 2; ++queue) rig.receive(queue);
      rig.take_completed(0);
    }
  });
  const auto until = Clock::now() + kSoon;
  while (rig.rx_record(0).invalid.get() == 0 && Clock::now() < until) std::this_thread::yield();
  rig.port->service();
  const bool down = rig.port->state() == PortState::down;
  const std::string why = rig.port->error();
  while (rig.port->state() != PortState::up && Clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    rig.port->service();
  }
  stop = true;
  shard.join();
  CHECK(down);
  CHECK(why.find("is reset") != std::string::npos);
  CHECK(rig.port->state() == PortState::up);
  CHECK_EQ(rig.port_record->downs.get(), 1u);
  CHECK_EQ(rig.port_record->errors.get(), 1u);
  CHECK_EQ(rig.registers().read32(kRctl), rctl);
  CHECK(rig.all_sent());
  rig.receive(0);
  for (uint32_t i = 0; i < 100; ++i) {
    const Bytes frame = frame_of(64 + i, i);
    CHECK(peer.send(frame));
    const auto got = rig.next();
    CHECK(got);
    CHECK(*got == frame);
    CHECK(rig.send(frame));
  }
  CHECK(rig.all_sent());
  rig.stop();
}

TEST(the_link_goes_and_comes) {
  Rig rig;
  Peer peer;
  for (uint32_t round = 1; round <= 3; ++round) {
    while (rig.fired(1, kQuiet)) rig.port->interrupt();
    tell_qemu("set_link", R"({"name": "nic-vanity", "up": false})");
    CHECK(rig.fired(1, kSoon));
    rig.port->interrupt();
    CHECK(rig.port->state() == PortState::down);
    CHECK_EQ(rig.port->error(), "the link is down");
    CHECK_EQ(rig.port_record->downs.get(), round);
    tell_qemu("set_link", R"({"name": "nic-vanity", "up": true})");
    const auto until = Clock::now() + kSoon;
    while (rig.port->state() != PortState::up && Clock::now() < until) {
      CHECK(rig.fired(1, kSoon));
      rig.port->interrupt();
    }
    CHECK(rig.port->state() == PortState::up);
    CHECK_EQ(rig.port->error(), "");
    const Bytes frame = frame_of(100, round);
    CHECK(peer.send(frame));
    const auto got = rig.next();
    CHECK(got);
    CHECK(*got == frame);
  }
  rig.stop();
}

TEST(what_can_never_go_is_counted_and_comes_home_in_order) {
  Rig rig({.buffer_bytes = 16384});
  Peer peer;
  const Bytes good = frame_of(1000, 1);
  const vanity_packet packets[] = {rig.packet_of(frame_of(16, 1)), rig.packet_of(good),
                                   rig.packet_of(frame_of(9231, 2)), rig.packet_of(good)};
  CHECK_EQ(rig.port->tx(0).transmit(rig.table, packets, 4), 4u);
  CHECK(peer.receive());
  CHECK(peer.receive());
  CHECK(rig.all_sent());
  CHECK_EQ(rig.tx_record(0).invalid.get(), 1u);
  CHECK_EQ(rig.tx_record(0).oversize.get(), 1u);
  CHECK_EQ(rig.tx_record(0).packets.get(), 2u);
  CHECK_EQ(rig.port->tx(0).transmit(rig.table, packets, 0), 0u);
  rig.stop();
}

TEST(a_buffer_beyond_the_devices_reach_is_never_named_to_it) {
  Rig rig({.reachable = false});
  CHECK(rig.send(frame_of(100, 1)));
  CHECK(rig.all_sent());
  CHECK_EQ(rig.tx_record(0).dropped.get(), 1u);
  CHECK_EQ(rig.tx_record(0).packets.get(), 0u);
  rig.stop();
}

TEST(jumbo_frames_fit_large_buffers_both_ways) {
  Rig rig({.buffers = 128, .buffer_bytes = 9344});
  Peer peer;
  for (const size_t bytes : {1515u, 2048u, 4096u, 9000u}) {
    const Bytes frame = frame_of(bytes, static_cast<uint32_t>(bytes));
    CHECK(peer.send(frame));
    const auto got = rig.next();
    CHECK(got);
    CHECK(*got == frame);
    CHECK(rig.send(frame));
    const auto back = peer.receive();
    CHECK(back);
    CHECK(*back == frame);
  }
  CHECK_EQ(rig.rx_record(0).oversize.get(), 0u);
  rig.stop();
}

TEST(frames_longer_than_a_buffer_are_counted_and_the_next_ones_are_whole) {
  Rig rig({.buffer_bytes = 640});  // the device takes it for 512
  Peer peer;
  for (uint32_t i = 0; i < 20; ++i) {
    CHECK(peer.send(frame_of(1514, i)));
    const Bytes small = frame_of(512 - i, i);
    CHECK(peer.send(small));
    const auto got = rig.next();
    CHECK(got);
    CHECK(*got == small);
  }
  CHECK_EQ(rig.rx_record(0).oversize.get(), 20u);
  CHECK_EQ(rig.rx_record(0).invalid.get(), 0u);
  rig.stop();
}

TEST(frames_longer_than_ethernets_are_refused_by_the_device) {
  Rig rig;
  Peer peer;
  CHECK(peer.send(frame_of(1600, 1)));
  CHECK(peer.send(frame_of(60, 2)));
  CHECK(rig.next());
  rig.stop();
}

TEST(a_burst_larger_than_the_pool_is_held_up_and_then_comes) {
  Rig rig({.ring = 64, .buffers = 24});
  Peer peer;
  for (uint32_t i = 0; i < 200; ++i) CHECK(peer.send(frame_of(64, i)));
  for (uint32_t i = 0; i < 200; ++i) {
    const auto got = rig.next();
    CHECK(got);
    CHECK(*got == frame_of(64, i));
  }
  CHECK(rig.port->rx(0).sleep_ns_max() < 1'000'000);  // half a ring: buffers may come home
  rig.stop();
}

TEST(without_promiscuity_only_its_own_address_and_groups) {
  Rig rig({.promiscuous = false});
  Peer peer;
  Bytes own = frame_of(64, 1), other = frame_of(64, 2), group = frame_of(64, 3),
        all = frame_of(64, 4);
  const uint8_t mac[] = {0x52, 0x54, 0, 0, 1, 1};  // of test/guest/run's first NIC
  const uint8_t multicast[] = {1, 0, 0x5e, 0, 0, 9};
  std::memcpy(own.data(), mac, 6);
  std::memcpy(group.data(), multicast, 6);
  std::memset(all.data(), 0xff, 6);
  for (const Bytes& frame : {other, own, other, group, other, all}) CHECK(peer.send(frame));
  for (const Bytes& frame : {own, group, all}) {
    const auto got = rig.next();
    CHECK(got);
    CHECK(*got == frame);
  }
  rig.stop();
}

// What an owner that was killed could leave behind; no help from VFIO's reset.
TEST(it_resets_by_its_own_means) {
  {
    VfioDevice device(PciAddress::parse(variable("VANITY_NIC")));
    const MmioView view = device.mmio(0, 0, kRegisterBytes);
    for (uint32_t queue = 0; queue < kQueues; ++queue) {
      view.write32(kRdbal + queue * kQueueStride, 0xdead0000);
      view.write32(kRdlen + queue * kQueueStride, 4096);
      view.write32(kRdt + queue * kQueueStride, 77);
      view.write32(kTdbal + queue * kQueueStride, 0xdead0000);
      view.write32(kTdlen + queue * kQueueStride, 4096);
    }
    view.write32(kRctl, kRctlEnable | kRctlSize256);
    view.write32(kMrqc, kMrqcRss | kMrqcIp);
    view.write32(kIvar, 0xfedcb);
    view.write32(kCtrlExt, kCtrlExtIame);
    view.write32(kRal0, 0x12345602);
    view.write32(kIms, ~0u);
    view.write32(kMta, ~0u);
    e1000e::Device own(view);
    own.reset();
    CHECK_EQ(view.read32(kRctl), 0u);
    CHECK_EQ(view.read32(kIms), 0u);
    CHECK_EQ(view.read32(kRdlen), 0u);
    CHECK_EQ(view.read32(kRdt + kQueueStride), 0u);
    CHECK_EQ(view.read32(kMrqc), 0u);
    CHECK_EQ(view.read32(kMta), 0u);
    const MacAddress mac = {0x52, 0x54, 0, 0, 1, 1};
    CHECK(own.mac() == mac);
  }
  Rig rig;
  Peer peer;
  CHECK(peer.send(frame_of(100, 1)));
  CHECK(rig.next());
  rig.stop();
}

// The kernel's stack on the other side: ARP and UDP, answered here.
TEST(the_kernels_stack_talks_to_it) {
  Rig rig;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(7);
  inet_pton(AF_INET, "10.9.0.1", &to.sin_addr);
  for (uint32_t round = 0; round < 20; ++round) {
    const Bytes text = frame_of(20 + round * 70, round);
    CHECK(sendto(fd, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to) ==
          static_cast<ssize_t>(text.size()));
    Bytes answer;
    const auto until = Clock::now() + kSoon;
    while (answer.empty() && Clock::now() < until) {
      for (Bytes& frame : rig.receive(0)) {
        const uint8_t address[] = {10, 9, 0, 1};
        if (frame[12] == 8 && frame[13] == 6 && frame[21] == 1 &&
            std::equal(address, address + 4, frame.begin() + 38)) {
          std::copy_n(frame.begin() + 22, 10, frame.begin() + 32);  // who asks is told
          std::copy_n(kOwnMac, 6, frame.begin() + 22);
          std::copy_n(address, 4, frame.begin() + 28);
          frame[21] = 2;
        } else if (frame[12] == 8 && frame[13] == 0 && frame[23] == 17) {
          std::swap_ranges(frame.begin() + 26, frame.begin() + 30, frame.begin() + 30);
          std::swap_ranges(frame.begin() + 34, frame.begin() + 36, frame.begin() + 36);
        } else {
          continue;
        }
        std::copy_n(frame.begin() + 6, 6, frame.begin());
        std::copy_n(kOwnMac, 6, frame.begin() + 6);
        CHECK(rig.send(frame));
      }
      Bytes buffer(2000);
      const ssize_t n = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n > 0) answer.assign(buffer.begin(), buffer.begin() + n);
    }
    CHECK(answer == text);
  }
  close(fd);
  rig.stop();
}

TEST(what_is_wrong_is_said_before_anything_runs) {
  const auto refused = [](const Rig::Options& options) -> std::string {
    try {
      Rig rig(options);
    } catch (const Error& error) {
      return std::string(error.code()) + ' ' + error.what();
    }
    return "";
  };
  const std::string small = refused({.buffer_bytes = 256});
  CHECK(small.find("does not receive into buffers of 256 bytes") != std::string::npos);
  const std::string many = refused({.rx = 3});
  CHECK(many.find("has two queues of each direction") != std::string::npos);
}
