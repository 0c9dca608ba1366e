// native/port/virtio_net against QEMU's virtio-net: its NIC is on one wire with one of the
// kernel's. Runs inside the guest only (test/guest/jobs/virtio.sh), as root.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../native/check.hpp"
#include "device/vfio.hpp"
#include "nic_fixture.hpp"
#include "packet/checksum.hpp"
#include "platform/error.hpp"
#include "port/virtio_net/net_header.hpp"
#include "port/virtio_net/pci_transport.hpp"
#include "port/virtio_net/virtio_net_port.hpp"
#include "virtio/queue.hpp"

using namespace vanity;
namespace feature = virtio::feature;

namespace {

// The shipping transport, which tells what went over it, and can be told to say less.
class Watched final : public virtio_net::PciTransport {
 public:
  struct Seen {
    uint64_t offered = 0;
    uint64_t accepted = 0;
    uint64_t hidden = 0;  // features that are not offered
    std::vector<virtio::SharedMemory> memory;
    uint32_t resets = 0, queue_resets = 0;
  };
  Watched(VfioDevice& device, Seen& seen) : PciTransport(device, 1), seen_(seen) {}

  uint64_t offered() override {
    seen_.offered = PciTransport::offered();
    return seen_.offered & ~seen_.hidden;
  }
  void accept(uint64_t features) override {
    seen_.accepted = features;
    PciTransport::accept(features);
  }
  void set_status(uint8_t status) override {
    seen_.resets += status == 0;
    PciTransport::set_status(status);
  }
  void reset_queue(uint16_t queue) override {
    ++seen_.queue_resets;
    PciTransport::reset_queue(queue);
  }
  virtio::SharedMemory memory(uint32_t bytes) override {
    seen_.memory.push_back(PciTransport::memory(bytes));
    return seen_.memory.back();
  }

 private:
  Seen& seen_;
};

struct Options : NicOptions {
  PackedRings packed;
  uint64_t hidden = 0;
  std::array<uint8_t, 6> mac{};
  Options(PackedRings kind_of_rings = PackedRings::no) : packed(kind_of_rings) {}
};

// A base before the rig, for the port tells it until its end.
struct Watch {
  Watched::Seen seen;
  explicit Watch(uint64_t hidden) { seen.hidden = hidden; }
};

struct Rig : Watch, NicRig {
  explicit Rig(const Options& given)
      : Watch(given.hidden),
        NicRig(given, [&](NicRig& rig, PortOptions& port_options, const PortRecords& records) {
          port_options.driver = "virtio-net";
          port_options.packed = given.packed;
          port_options.mac = given.mac;
          return create_virtio_net_port(std::make_unique<Watched>(rig.device, seen),
                                        rig.host.buffers, port_options, records, given.kind);
        }) {}

  bool has(unsigned bit) const { return (seen.accepted & virtio::bit(bit)) != 0; }
};

const PackedRings kBothKinds[] = {PackedRings::no, PackedRings::yes};

// As service() of the kernel, until the port runs again.
void serve(Rig& rig) {
  const auto until = Clock::now() + kSoon;
  do {
    rig.port->service();
    for (uint32_t i = 0; i < rig.options.rx; ++i) {
      rig.receive(i);
      rig.take_completed(i);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  } while (rig.port->state() != PortState::up && Clock::now() < until);
  CHECK(rig.port->state() == PortState::up);
}

}  // namespace

TEST(features_are_what_the_device_and_the_driver_have) {
  Rig split(Options{});
  std::printf("# offered %016llx, accepted %016llx\n",
              static_cast<unsigned long long>(split.seen.offered),
              static_cast<unsigned long long>(split.seen.accepted));
  CHECK(split.has(feature::kVersion1));
  CHECK(split.has(feature::kAccessPlatform));
  CHECK(!split.has(feature::kRingPacked));
  CHECK(!split.has(virtio_net::feature::kMergeableBuffers));
  CHECK_EQ(split.has(feature::kRingReset), (split.seen.offered >> feature::kRingReset & 1) != 0);
  split.stop();
}

TEST(frames_from_the_peer_arrive_byte_by_byte) {
  for (const PackedRings packed : kBothKinds) {
    Rig rig(packed);
    CHECK_EQ(rig.has(feature::kRingPacked), packed == PackedRings::yes);
    Peer peer;
    for (uint32_t i = 0; i < 300; ++i) comes_in(rig, peer, nth_frame(i, 300));
    CHECK(rig.rx_record().packets.get() >= 300);
    CHECK_EQ(rig.rx_record().invalid.get(), 0u);
    rig.stop();
  }
}

TEST(frames_to_the_peer_arrive_byte_by_byte) {
  for (const PackedRings packed : kBothKinds) {
    Rig rig(packed);
    Peer peer;
    for (uint32_t i = 0; i < 300; ++i) goes_out(rig, peer, nth_frame(i, 300));
    CHECK(rig.all_sent());
    CHECK_EQ(rig.tx_record().packets.get(), 300u);
    CHECK_EQ(rig.tx_record().bursts.get(), 300u);
    rig.stop();
  }
}

TEST(bursts_go_out_whole) {
  for (const PackedRings packed : kBothKinds) {
    Options options(packed);
    options.ring = 256;
    options.hidden = virtio::bit(feature::kEventIndex);
    Rig rig(options);
    Peer peer;
    for (uint32_t lap = 0; lap < 50; ++lap) {
      vanity_packet packets[32];
      rig.take_completed(0);
      for (uint32_t i = 0; i < 32; ++i) packets[i] = rig.packet_of(frame_of(100, lap * 32 + i));
      CHECK_EQ(rig.port->tx(0).transmit(rig.table, packets, 32), 32u);
      for (uint32_t i = 0; i < 32; ++i) {
        const auto got = peer.receive();
        CHECK(got);
        CHECK(*got == frame_of(100, lap * 32 + i));
      }
    }
    CHECK(rig.all_sent());
    CHECK_EQ(rig.tx_record().bursts.get(), 50u);
    rig.stop();
  }
}

// 256 bytes a buffer: what is longer lies in several, and is counted; nothing leaks.
TEST(frames_that_no_buffer_holds_are_counted) {
  for (const PackedRings packed : kBothKinds) {
    Options options(packed);
    options.buffer_bytes = 256;
    Rig rig(options);
    CHECK(rig.has(virtio_net::feature::kMergeableBuffers));
    Peer peer;
    for (uint32_t i = 0; i < 100; ++i) {
      CHECK(peer.send(frame_of(1000, i)));
      comes_in(rig, peer, frame_of(60 + i / 2, i));  // 116 bytes fit
    }
    CHECK(rig.rx_record().oversize.get() >= 100);
    rig.stop();
  }
}

TEST(an_empty_queue_is_woken_by_its_vector) {
  for (const PackedRings packed : kBothKinds) {
    for (const bool event_index : {true, false}) {
      for (const IrqKind kind : {IrqKind::msix, IrqKind::intx}) {
        Options options(packed);
        options.kind = kind;
        if (!event_index) options.hidden = virtio::bit(feature::kEventIndex);
        Rig rig(options);
        CHECK_EQ(rig.has(feature::kEventIndex), event_index);
        CHECK(rig.port->irqs().kind == kind);
        Peer peer;
        for (uint32_t i = 0; i < 20; ++i) {
          rig.receive(0);
          uint64_t sleep = 0;
          for (int look = 0; look < 1000 && (sleep = rig.port->rx(0).sleep_ns_max()) == 0; ++look)
            rig.receive(0);
          CHECK(sleep != 0);
          CHECK(rig.port->rx(0).rings());
          CHECK(peer.send(frame_of(60, i)));
          CHECK(rig.fired(0, kSoon));
          const auto got = rig.next();
          CHECK(got);
          CHECK(*got == frame_of(60, i));
          CHECK(!rig.port->rx(0).rings());
          rig.fired(0, std::chrono::milliseconds(0));
        }
        // Polled: quiet.
        for (uint32_t i = 0; i < 20; ++i) {
          CHECK(peer.send(frame_of(60, i)));
          CHECK(rig.next());
        }
        CHECK(!rig.fired(0, kQuiet));
        rig.stop();
      }
    }
  }
}

TEST(other_stations_frames_come_in_promiscuous_mode_only) {
  for (const bool promiscuous : {true, false}) {
    Options options;
    options.promiscuous = promiscuous;
    Rig rig(options);
    CHECK(rig.has(virtio_net::feature::kControlRx));
    Peer peer;
    Bytes broadcast = frame_of(60, 2);
    std::memset(broadcast.data(), 0xff, 6);
    CHECK(peer.send(frame_of(60, 1)));
    CHECK(peer.send(broadcast));
    if (promiscuous) CHECK(rig.next() == frame_of(60, 1));
    CHECK(rig.next() == broadcast);
    rig.stop();
  }
}

TEST(a_station_hears_what_is_for_the_address_that_it_was_given) {
  Options options;
  options.promiscuous = false;
  options.mac = {2, 0, 0, 0, 0, 9};
  Rig rig(options);
  Peer peer;
  Bytes ours = frame_of(60, 2);
  std::copy(options.mac.begin(), options.mac.end(), ours.begin());
  CHECK(peer.send(frame_of(60, 1)));
  CHECK(peer.send(ours));
  CHECK(rig.next() == ours);
  rig.stop();
}

TEST(a_checksum_that_is_left_to_the_device_is_right_on_the_wire) {
  for (const PackedRings packed : kBothKinds) {
    Rig rig(packed);
    Peer peer;
    Bytes frame = frame_of(200, 3);
    frame[50] = 0x12;
    frame[51] = 0x34;
    vanity_packet packet = rig.packet_of(frame);
    packet.flags = VANITY_PACKET_CHECKSUM_PARTIAL;
    const vanity_packet_offload offload{VANITY_FRAME_OFFSET + 34, VANITY_FRAME_OFFSET + 50};
    std::memcpy(rig.table.buffer(packet.buffer) + VANITY_OFFLOAD_OFFSET, &offload, sizeof offload);
    CHECK_EQ(rig.port->tx(0).transmit(rig.table, &packet, 1), 1u);
    CHECK(complete_checksum(frame.data(), 200, 34, 16));
    CHECK(peer.receive() == frame);
    CHECK(rig.all_sent());
    rig.stop();
  }
}

TEST(what_others_read_too_is_sent_untouched) {
  for (const PackedRings packed : kBothKinds) {
    Rig rig(packed);
    Peer peer;
    for (uint32_t i = 0; i < 100; ++i) {
      const Bytes frame = frame_of(80 + i, i);
      vanity_packet packet = rig.packet_of(frame);
      rig.table.share(packet, 2);
      uint8_t before[VANITY_FRAME_OFFSET];
      std::memcpy(before, rig.table.buffer(packet.buffer), sizeof before);
      CHECK_EQ(rig.port->tx(0).transmit(rig.table, &packet, 1), 1u);
      CHECK(peer.receive() == frame);
      CHECK_EQ(std::memcmp(before, rig.table.buffer(packet.buffer), sizeof before), 0);
      rig.take_completed(0);
    }
    CHECK(rig.all_sent());
    rig.stop();
  }
}

TEST(what_the_device_may_not_read_is_not_sent) {
  Options options;
  options.reachable = false;
  Rig rig(options);
  CHECK(rig.send(frame_of(60, 1)));
  CHECK_EQ(rig.tx_record().dropped.get(), 1u);
  CHECK(rig.all_sent());
  rig.stop();
}

// The test says in the device's name that more came back than was out.
TEST(a_queue_that_the_device_lied_in_is_made_anew) {
  for (const PackedRings packed : kBothKinds) {
    for (const bool alone : {true, false}) {
      Options options(packed);
      if (!alone) options.hidden = virtio::bit(feature::kRingReset);
      Rig rig(options);
      Peer peer;
      for (uint32_t lap = 0; lap < 3; ++lap) {
        CHECK(peer.send(frame_of(60, lap)));
        CHECK(rig.next());
        CHECK(rig.send(frame_of(60, lap)));
        CHECK(peer.receive() == frame_of(60, lap));
        const uint32_t resets = rig.seen.resets, queue_resets = rig.seen.queue_resets;
        // The first memory is that of the blank header, then come the queues.
        std::byte* const ring = rig.seen.memory[1].data;
        const auto layout = virtio::RingLayout::of(packed == PackedRings::yes, 64);
        if (packed == PackedRings::yes) {
          for (uint32_t i = 0; i < 64; ++i) ring[16 * i + 13] = std::byte{0x7f};  // ids
          CHECK(peer.send(frame_of(60, 99)));
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
          for (uint32_t i = 0; i < 64; ++i) ring[16 * i + 13] = std::byte{0x7f};
        } else {
          ring[layout.device + 3] ^= std::byte{0x40};  // the used index
        }
        rig.receive(0);
        rig.port->service();
        CHECK(rig.port->state() == PortState::down);
        CHECK(!rig.port->error().empty());
        serve(rig);
        CHECK_EQ(rig.seen.resets - resets, alone ? 0u : 1u);
        CHECK_EQ(rig.seen.queue_resets - queue_resets, alone ? 1u : 0u);
        CHECK_EQ(rig.port_record->errors.get(), lap + 1);
      }
      CHECK(peer.send(frame_of(60, 77)));
      CHECK(rig.next() == frame_of(60, 77));
      rig.stop();
    }
  }
}

TEST(a_queue_is_taken_away_and_gives_back_what_it_held) {
  for (const PackedRings packed : kBothKinds) {
    Rig rig(packed);
    CHECK(rig.send(frame_of(60, 1)));
    CHECK(rig.pools[0]->missing() != 0);
    rig.port->retire();
    CHECK(!rig.port->retired());
    rig.receive(0);
    rig.take_completed(0);
    CHECK(rig.port->retired());
    rig.device.quiesce();
    rig.port->release();
    rig.receive(0);
    rig.take_completed(0);
    for (const auto& pool : rig.pools) CHECK_EQ(pool->missing(), 0u);
    // A busy device may have had no time for the first one, which then counts as dropped too.
    const uint64_t before = rig.tx_record().dropped.get();
    CHECK(rig.send(frame_of(60, 1)));
    CHECK_EQ(rig.tx_record().dropped.get(), before + 1);
    rig.stop();
  }
}

TEST(a_second_owner_finds_the_device_clean) {
  for (uint32_t i = 0; i < 3; ++i) {
    Rig rig(Options{});
    Peer peer;
    CHECK(peer.send(frame_of(60, i)));
    CHECK(rig.next());
    if (i != 1) rig.stop();
  }
}

TEST(more_queues_than_the_device_has_are_refused) {
  Options options;
  options.rx = options.tx = 2;
  try {
    Rig rig(options);
    CHECK(false);
  } catch (const Error& error) {
    CHECK_EQ(std::string(error.code()), "VANITY_E_PORT_DEVICE");
    CHECK(std::string(error.what()).find("1 pairs of queues") != std::string::npos);
  }
}

TEST(a_device_that_would_pass_by_the_iommu_is_refused) {
  Options options;
  options.hidden = virtio::bit(feature::kAccessPlatform);
  try {
    Rig rig(options);
    CHECK(false);
  } catch (const Error& error) {
    CHECK_EQ(std::string(error.code()), "VANITY_E_PORT_DEVICE");
  }
}

// ---- a device of four pairs, on a tap of the host with four queues

namespace {

constexpr uint8_t kHost[4] = {198, 18, 0, 1};  // test/guest/tap.sh

Bytes arp_request(uint8_t station) {
  Bytes frame(60);
  std::memset(frame.data(), 0xff, 6);
  const uint8_t rest[] = {0x02, 0, 0, 0,       0,   station,  0x08,     0x06,     0,
                          1,    8, 0, 6,       4,   0,        1,        0x02,     0,
                          0,    0, 0, station, 198, 18,       0,        station,  0,
                          0,    0, 0, 0,       0,   kHost[0], kHost[1], kHost[2], kHost[3]};
  std::memcpy(frame.data() + 6, rest, sizeof rest);
  return frame;
}

void put_checksum(uint8_t* from, uint32_t bytes, uint8_t* to) {
  const uint16_t sum = static_cast<uint16_t>(~checksum::fold(checksum::sum(from, bytes)));
  to[0] = static_cast<uint8_t>(sum >> 8);
  to[1] = static_cast<uint8_t>(sum);
}

Bytes echo_request(const uint8_t* host_mac, uint8_t station, uint16_t number) {
  Bytes frame(98);
  std::memcpy(frame.data(), host_mac, 6);
  const uint8_t rest[] = {0x02,     0, 0,   0,  0, station, 0x08,     0,        0x45,
                          0,        0, 84,  0,  0, 0,       0,        64,       1,
                          0,        0, 198, 18, 0, station, kHost[0], kHost[1], kHost[2],
                          kHost[3], 8, 0,   0,  0, 0,       station};
  std::memcpy(frame.data() + 6, rest, sizeof rest);
  frame[40] = static_cast<uint8_t>(number >> 8);
  frame[41] = static_cast<uint8_t>(number);
  put_checksum(frame.data() + 14, 20, frame.data() + 24);
  put_checksum(frame.data() + 34, 64, frame.data() + 36);
  return frame;
}

// The queue on which a frame came for which `is` says yes; 99: none.
uint32_t queue_of(Rig& rig, const std::function<bool(const Bytes&)>& is, Bytes* found = nullptr) {
  const auto until = Clock::now() + std::chrono::seconds(2);
  while (Clock::now() < until) {
    for (uint32_t queue = 0; queue < rig.options.rx; ++queue) {
      for (const Bytes& frame : rig.receive(queue)) {
        if (!is(frame)) continue;
        if (found != nullptr) *found = frame;
        return queue;
      }
    }
  }
  return 99;
}

}  // namespace

TEST(four_pairs_carry_their_flows) {
  for (const PackedRings packed : kBothKinds) {
    Options options(packed);
    options.nic = "VANITY_MULTI";
    options.rx = options.tx = 4;
    Rig rig(options);
    std::printf("# offered %016llx, accepted %016llx\n",
                static_cast<unsigned long long>(rig.seen.offered),
                static_cast<unsigned long long>(rig.seen.accepted));
    CHECK(rig.has(virtio_net::feature::kMultiQueue));
    CHECK(rig.has(virtio_net::feature::kChecksum));
    CHECK_EQ(rig.port->irqs().queue_of_vector.size(), 5u);
    for (uint8_t queue = 0; queue < 4; ++queue) {
      const uint8_t station = static_cast<uint8_t>(10 + queue);
      Bytes reply;
      CHECK(rig.send(arp_request(station), queue));
      CHECK(queue_of(
                rig,
                [&](const Bytes& frame) {
                  return frame[12] == 0x08 && frame[13] == 0x06 && frame[21] == 2 &&
                         frame[5] == station;
                },
                &reply) != 99);
      // The tap answers a flow on the queue that it came from.
      uint32_t right = 0;
      for (uint16_t number = 0; number < 50; ++number) {
        CHECK(rig.send(echo_request(reply.data() + 6, station, number), queue));
        const uint32_t came = queue_of(rig, [&](const Bytes& frame) {
          return frame.size() == 98 && frame[34] == 0 && frame[39] == station &&
                 (frame[40] << 8 | frame[41]) == number;
        });
        CHECK(came != 99);
        right += came == queue;
      }
      CHECK(right >= 45);
      CHECK(rig.rx_record(queue).packets.get() >= 45);
      CHECK(rig.all_sent(queue));
      std::printf("# queue %u: %u of 50 answers\n", queue, right);
    }
    rig.stop();
  }
}
