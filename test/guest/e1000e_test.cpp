// native/port/e1000e against QEMU's e1000e: its NIC is on one wire with one of the kernel's. Runs
// inside the guest only (test/guest/jobs/e1000e.sh), as root.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../native/check.hpp"
#include "device/vfio.hpp"
#include "kernel/interrupts.hpp"
#include "nic_fixture.hpp"
#include "platform/error.hpp"
#include "port/e1000e/device.hpp"
#include "port/e1000e/e1000e_port.hpp"
#include "port/e1000e/registers.hpp"

using namespace vanity;
using namespace vanity::e1000e;

namespace {

struct Rig : NicRig {
  explicit Rig(const NicOptions& given = {})
      : NicRig(given, [](NicRig& rig, PortOptions& port_options, const PortRecords& records) {
          port_options.driver = "e1000e";
          port_options.nic = &rig.host;
          return create_e1000e_port(port_options, records, rig.options.kind);
        }) {}

  MmioView registers() { return device.mmio(0, 0, kRegisterBytes); }
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
  for (uint32_t i = 0; i < 100; ++i) comes_in(rig, peer, nth_frame(i, 100));
  CHECK(rig.rx_record(0).packets.get() >= 100);
  CHECK_EQ(rig.rx_record(0).invalid.get(), 0u);
  CHECK_EQ(rig.rx_record(0).oversize.get(), 0u);
  rig.stop();
}

TEST(frames_to_the_peer_arrive_byte_by_byte) {
  Rig rig;
  Peer peer;
  for (uint32_t i = 0; i < 100; ++i) goes_out(rig, peer, nth_frame(i, 100));
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
  for (uint32_t i = 0; i < 60; ++i) goes_out(rig, peer, frame_of(100, i), i % 2);
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

// A card gone mad: it raises its line again whenever it was let go.
TEST(a_line_that_is_raised_without_end_is_held_back_and_frames_come) {
  Rig rig({.kind = IrqKind::intx});
  Peer peer;
  ShardLine shard;
  const VectorRecord& record = *rig.vector_records[0];
  std::vector<std::string> warnings;
  StormLimits limits;
  limits.in_window = 50;  // of 100 ms: an emulated card on a busy host is no faster
  Interrupts interrupts([&](const std::string& text) { warnings.push_back(text); }, limits);
  VectorSpec spec;
  spec.fd = rig.irq->fd(0);
  spec.unmask_fd = rig.irq->unmask_fd(0);
  spec.record = rig.vector_records[0].get();
  spec.shard = &shard;
  spec.shard_name = "rx";
  RxQueue& queue = rig.port->rx(0);
  queue.set_line(&interrupts.add(spec));
  std::atomic<bool> over{false};
  std::thread kernel([&] {
    while (!over.load()) interrupts.wait(1'000'000);
  });
  std::thread mad([&, registers = rig.registers()] {
    while (!over.load()) registers.write32(kIcs, kCauseRxTimer);
  });
  uint32_t came = 0;
  const auto began = Clock::now();
  const auto goes_on = [&](uint32_t seconds) {
    return Clock::now() < began + std::chrono::seconds(seconds);
  };
  while (goes_on(3) || (came < 100 && goes_on(20))) {
    if (came < 100) peer.offer(frame_of(64, came));
    for (const Bytes& frame : rig.receive(0)) came += frame == frame_of(64, came);
    queue.sleep_ns_max();  // arms
  }
  over.store(true);
  kernel.join();
  mad.join();
  const auto windows =
      static_cast<uint64_t>((Clock::now() - began) / std::chrono::milliseconds(100));
  std::printf("# %llu interrupts in %llu.%llu s, %llu held back, %llu storms\n",
              static_cast<unsigned long long>(record.raised.get()),
              static_cast<unsigned long long>(windows / 10),
              static_cast<unsigned long long>(windows % 10),
              static_cast<unsigned long long>(record.suppressed.get()),
              static_cast<unsigned long long>(record.storms.get()));
  CHECK_EQ(came, 100u);
  CHECK(record.storms.get() > 0);
  CHECK(record.suppressed.get() > 0);
  CHECK(record.raised.get() <= (windows + 2) * limits.in_window);
  CHECK(!warnings.empty());
  rig.stop();
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
    comes_in(rig, peer, frame);
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
    comes_in(rig, peer, frame_of(100, round));
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
    comes_in(rig, peer, frame);
    goes_out(rig, peer, frame);
  }
  CHECK_EQ(rig.rx_record(0).oversize.get(), 0u);
  rig.stop();
}

TEST(frames_longer_than_a_buffer_are_counted_and_the_next_ones_are_whole) {
  Rig rig({.buffer_bytes = 640});  // the device takes it for 512
  Peer peer;
  for (uint32_t i = 0; i < 20; ++i) {
    CHECK(peer.send(frame_of(1514, i)));
    comes_in(rig, peer, frame_of(512 - i, i));
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
  const auto refused = [](const NicOptions& options) -> std::string {
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
