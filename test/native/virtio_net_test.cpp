// native/port/virtio_net against a device written from the specification (virtio_nic_model.hpp).
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "memory/arena.hpp"
#include "packet/checksum.hpp"
#include "platform/error.hpp"
#include "port/buffer_map.hpp"
#include "port/virtio_net/net_header.hpp"
#include "port/virtio_net/virtio_net_port.hpp"
#include "virtio_nic_model.hpp"

using namespace vanity;
using model::Bytes;

namespace {

constexpr uint64_t bits(std::initializer_list<unsigned> all) {
  uint64_t mask = 0;
  for (const unsigned bit : all) mask |= uint64_t{1} << bit;
  return mask;
}
// VERSION_1, ACCESS_PLATFORM, EVENT_IDX, RING_PACKED, RING_RESET; CSUM, GUEST_CSUM, MAC, MRG_RXBUF,
// STATUS, CTRL_VQ, CTRL_RX, MQ.
constexpr uint64_t kAll = bits({32, 33, 29, 34, 40, 0, 1, 5, 15, 16, 17, 18, 22});

struct Options {
  PackedRings packed = PackedRings::no;
  uint32_t pairs = 1;
  uint32_t buffers = 256;
  uint32_t buffer_bytes = 2048;
  uint64_t offered = kAll;
  std::function<void(model::Nic&)> change = nullptr;
  std::array<uint8_t, 6> mac{};
};

struct Rig {
  Options options;
  model::Nic nic;
  BufferMap map;
  std::vector<Bytes> memory;
  std::vector<uint64_t> addresses;
  std::vector<std::unique_ptr<Pool>> pools;  // one a receive queue; the last sends
  PoolTable table;
  PortRecord port_record{};
  std::vector<std::unique_ptr<QueueRecord>> records;
  std::unique_ptr<Port> port;

  explicit Rig(const Options& given) : options(given) {
    nic.offered = given.offered;
    nic.config[6] = 1;  // the link is up
    nic.config[8] = 4;  // pairs
    if (given.change) given.change(nic);
    addresses.reserve(given.pairs + 1);
    for (uint32_t i = 0; i < given.pairs + 1; ++i) {
      memory.emplace_back(Pool::memory_bytes(given.buffers, given.buffer_bytes) + 64);
      auto* const at = reinterpret_cast<uint8_t*>(
          (reinterpret_cast<uintptr_t>(memory.back().data()) + 63) / 64 * 64);
      pools.push_back(std::make_unique<Pool>(i, given.buffers, given.buffer_bytes, at));
      table.add(*pools.back());
      addresses.push_back(reinterpret_cast<uint64_t>(at));
      map.add(*pools.back(), &addresses.back(), 63);
    }
    PortRecords all;
    all.port = &port_record;
    for (uint32_t i = 0; i < 2 * given.pairs; ++i) {
      records.push_back(std::make_unique<QueueRecord>());
      (i < given.pairs ? all.rx : all.tx).push_back(records.back().get());
    }
    PortOptions port_options;
    port_options.name = "wan";
    port_options.index = 7;
    port_options.rx_queues = port_options.tx_queues = given.pairs;
    port_options.buffer_bytes = given.buffer_bytes;
    port_options.ring = 64;
    port_options.packed = given.packed;
    port_options.mac = given.mac;
    port =
        create_virtio_net_port(std::make_unique<model::NicTransport>(nic), map, port_options, all);
    CHECK(!nic.loose);
    port->start();
    for (uint32_t i = 0; i < given.pairs; ++i) receive(i);
  }

  QueueRecord& rx_record(uint32_t queue = 0) { return *records[queue]; }
  QueueRecord& tx_record(uint32_t queue = 0) { return *records[options.pairs + queue]; }
  Pool& send_pool() { return *pools[options.pairs]; }

  std::vector<vanity_packet> take(uint32_t queue = 0, uint32_t n = 64) {
    std::vector<vanity_packet> packets(n);
    for (uint16_t i = 0; i < 2 * options.pairs; i += 2)
      if (nic.up(i)) nic.show(i);
    packets.resize(port->rx(queue).receive(*pools[queue], packets.data(), n));
    return packets;
  }
  std::vector<Bytes> receive(uint32_t queue = 0) {
    std::vector<Bytes> frames;
    for (const vanity_packet& packet : take(queue)) {
      const uint8_t* const data = table.data(packet);
      frames.emplace_back(data, data + packet.length);
      CHECK_EQ(packet.port, 7);
      CHECK_EQ(table.meta(packet).wire_length, packet.length);
      pools[queue]->give(&packet, 1);
    }
    return frames;
  }
  vanity_packet packet_of(const Bytes& frame) {
    vanity_packet packet{};
    CHECK_EQ(send_pool().take(&packet, 1), 1u);
    packet.offset = VANITY_FRAME_OFFSET;
    packet.length = static_cast<uint16_t>(frame.size());
    std::memcpy(table.data(packet), frame.data(), frame.size());
    return packet;
  }
  void take_completed(uint32_t queue = 0) {
    vanity_packet packets[16];
    nic.run();
    port->tx(queue).flush();
    for (uint32_t got; (got = port->tx(queue).completed(packets, 16)) != 0;)
      send_pool().give(packets, got);
  }
  bool send(const Bytes& frame, uint32_t queue = 0) {
    const vanity_packet packet = packet_of(frame);
    const bool sent = port->tx(queue).transmit(table, &packet, 1) == 1;
    if (!sent) send_pool().give(&packet, 1);
    return sent;
  }
  // The kernel's and the shards' turns, until the port settles.
  void serve() {
    for (uint32_t i = 0; i < 20; ++i) {
      port->service();
      for (uint32_t queue = 0; queue < options.pairs; ++queue) {
        receive(queue);
        take_completed(queue);
      }
    }
  }
  void stop() {
    port->close();
    vanity_packet packets[16];
    for (uint32_t i = 0; i < options.pairs; ++i) {
      for (uint32_t got; (got = port->rx(i).take_back(packets, 16)) != 0;)
        pools[i]->give(packets, got);
      for (uint32_t got; (got = port->tx(i).take_back(packets, 16)) != 0;)
        send_pool().give(packets, got);
    }
    for (const auto& pool : pools) CHECK_EQ(pool->missing(), 0u);
  }
};

Bytes frame_of(size_t bytes, uint32_t seed) {
  Bytes frame(bytes);
  for (uint8_t& byte : frame) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(seed >> 24);
  }
  return frame;
}

template <class Body>
void with_both(Options options, Body body) {
  for (const PackedRings packed : {PackedRings::no, PackedRings::yes}) {
    options.packed = packed;
    Rig rig(options);
    CHECK_EQ(rig.nic.packed(), packed == PackedRings::yes);
    body(rig);
    rig.stop();
  }
}

std::string refusal(const Options& options) {
  try {
    Rig rig(options);
  } catch (const Error& error) {
    return std::string(error.code()) + ": " + error.what();
  }
  return "";
}
bool holds(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  std::printf("  \"%s\" does not hold \"%s\"\n", text.c_str(), part.c_str());
  return false;
}

}  // namespace

TEST(frames_come_and_go_over_many_laps) {
  with_both({}, [](Rig& rig) {
    CHECK(!rig.nic.mergeable());
    for (uint32_t i = 0; i < 3000; ++i) {
      const Bytes frame = frame_of(14 + i % 1501, i);
      CHECK(rig.nic.deliver(frame));
      const auto got = rig.receive();
      CHECK_EQ(got.size(), 1u);
      CHECK(got[0] == frame);
      CHECK(rig.send(frame));
      rig.take_completed();
      CHECK(rig.nic.sent[0].back() == frame);
      CHECK(rig.nic.headers[0].back() == Bytes(12));
    }
    CHECK_EQ(rig.rx_record().packets.get(), 3000u);
    CHECK_EQ(rig.tx_record().packets.get(), 3000u);
    CHECK_EQ(rig.rx_record().bytes.get(), rig.tx_record().bytes.get());
  });
}

TEST(a_burst_costs_one_notification) {
  with_both({}, [](Rig& rig) {
    rig.nic.listen(1, true);
    const uint32_t before = rig.nic.notifications;
    vanity_packet packets[32];
    for (uint32_t i = 0; i < 32; ++i) packets[i] = rig.packet_of(frame_of(60, i));
    CHECK_EQ(rig.port->tx(0).transmit(rig.table, packets, 32), 32u);
    CHECK_EQ(rig.nic.notifications - before, 1u);
    CHECK_EQ(rig.nic.sent[0].size(), 32u);
    CHECK(rig.port->tx(0).holding());
    rig.take_completed();
    CHECK(!rig.port->tx(0).holding());
    CHECK_EQ(rig.send_pool().missing(), 0u);
  });
}

TEST(a_full_ring_takes_no_more_and_goes_on_later) {
  Options options;
  options.change = [](model::Nic& nic) { nic.answers = true; };
  with_both(options, [](Rig& rig) {
    rig.nic.listen(1, false);
    vanity_packet packets[100];
    for (uint32_t i = 0; i < 100; ++i) packets[i] = rig.packet_of(frame_of(60, i));
    const uint32_t sent = rig.port->tx(0).transmit(rig.table, packets, 100);
    CHECK(sent >= 63 && sent <= 64);
    rig.take_completed();
    CHECK_EQ(rig.port->tx(0).transmit(rig.table, packets + sent, 100 - sent), 100 - sent);
    rig.take_completed();
    CHECK_EQ(rig.nic.sent[0].size(), 100u);
    CHECK(rig.nic.sent[0][99] == frame_of(60, 99));
  });
}

TEST(a_frame_in_several_buffers_is_gathered_if_it_fits) {
  Options options;
  options.buffer_bytes = 1024;  // the MTU doesn't fit
  with_both(options, [](Rig& rig) {
    CHECK(rig.nic.mergeable());
    uint32_t oversize = 0;
    for (uint32_t i = 0; i < 1000; ++i) {
      const size_t bytes = 14 + i * 7 % 1500;
      const uint32_t cut = i % 3 == 0 ? 1u << 20 : 200 + i % 300;
      const Bytes frame = frame_of(bytes, i);
      CHECK(rig.nic.deliver(frame, 0, 0, 0, 0, cut));
      const auto got = rig.receive();
      if (bytes > 1024 - virtio_net::kRxFrameOffset) {
        CHECK_EQ(got.size(), 0u);
        CHECK_EQ(rig.rx_record().oversize.get(), ++oversize);
      } else {
        CHECK_EQ(got.size(), 1u);
        CHECK(got[0] == frame);
      }
    }
    CHECK(oversize > 100);
    // The rest of a frame may come later than its beginning was looked at.
    const Bytes frame = frame_of(880, 1);
    CHECK(rig.nic.deliver(frame, 0, 0, 0, 0, 250));
    CHECK_EQ(rig.take(0, 1).size(), 0u);
    CHECK_EQ(rig.take(0, 1).size(), 0u);
    CHECK_EQ(rig.take(0, 1).size(), 0u);
    const auto last = rig.take(0, 1);
    CHECK_EQ(last.size(), 1u);
    CHECK(Bytes(rig.table.data(last[0]), rig.table.data(last[0]) + 880) == frame);
    rig.pools[0]->give(last.data(), 1);
    // And may never come.
    CHECK(rig.nic.deliver(frame, 0, 0, 0, 0, 250));
    CHECK_EQ(rig.take(0, 2).size(), 0u);
  });
}

TEST(checksums_travel_with_the_packet) {
  with_both({}, [](Rig& rig) {
    const Bytes frame = frame_of(200, 1);
    CHECK(rig.nic.deliver(frame, 0, 1, 34, 16));
    auto got = rig.take();
    CHECK_EQ(got.size(), 1u);
    CHECK_EQ(got[0].flags, VANITY_PACKET_CHECKSUM_PARTIAL);
    Bytes finished = frame;
    complete_checksum(finished.data(), 200, 34, 16);
    uint8_t* const data = rig.table.data(got[0]);
    CHECK(finish_checksum(rig.table.buffer(got[0].buffer), got[0]));
    CHECK(Bytes(data, data + 200) == finished);
    rig.pools[0]->give(got.data(), 1);

    CHECK(rig.nic.deliver(frame, 0, 2));
    got = rig.take();
    CHECK_EQ(got.at(0).flags, VANITY_PACKET_CHECKSUM_VALID);
    rig.pools[0]->give(got.data(), 1);

    // Out again, to a device that finishes it.
    vanity_packet packet = rig.packet_of(frame);
    packet.flags = VANITY_PACKET_CHECKSUM_PARTIAL;
    const vanity_packet_offload offload{VANITY_FRAME_OFFSET + 34, VANITY_FRAME_OFFSET + 50};
    std::memcpy(rig.table.buffer(packet.buffer) + VANITY_OFFLOAD_OFFSET, &offload, 4);
    CHECK_EQ(rig.port->tx(0).transmit(rig.table, &packet, 1), 1u);
    rig.take_completed();
    CHECK(rig.nic.sent[0].back() == frame);
    CHECK(rig.nic.headers[0].back() == Bytes({1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0}));
  });
  Options without;
  without.offered = kAll & ~bits({0, 1});
  with_both(without, [](Rig& rig) {
    Bytes frame = frame_of(200, 1);
    vanity_packet packet = rig.packet_of(frame);
    packet.flags = VANITY_PACKET_CHECKSUM_PARTIAL;
    const vanity_packet_offload offload{VANITY_FRAME_OFFSET + 34, VANITY_FRAME_OFFSET + 50};
    std::memcpy(rig.table.buffer(packet.buffer) + VANITY_OFFLOAD_OFFSET, &offload, 4);
    CHECK_EQ(rig.port->tx(0).transmit(rig.table, &packet, 1), 1u);
    rig.take_completed();
    complete_checksum(frame.data(), 200, 34, 16);
    CHECK(rig.nic.sent[0].back() == frame);
    CHECK(rig.nic.headers[0].back() == Bytes(12));
  });
}

TEST(frames_that_are_none_are_counted) {
  with_both({}, [](Rig& rig) {
    CHECK(rig.nic.deliver(frame_of(13, 1)));
    CHECK(rig.nic.deliver(frame_of(60, 1), 0, 1, 50, 9));  // the checksum lies outside
    CHECK(rig.nic.deliver(frame_of(60, 1), 0, 1, 65535, 65535));
    CHECK(rig.nic.deliver(frame_of(60, 1), 0, 0, 0, 0, 1u << 20, 1));  // unsegmented TCP
    CHECK(rig.nic.deliver(frame_of(60, 1)));
    CHECK_EQ(rig.receive().size(), 1u);
    CHECK_EQ(rig.rx_record().invalid.get(), 4u);
    rig.port->service();
    CHECK(rig.port->state() == PortState::up);
  });
}

TEST(what_is_shared_or_has_no_room_in_front_goes_out_untouched) {
  with_both({}, [](Rig& rig) {
    for (uint32_t i = 0; i < 200; ++i) {
      const Bytes frame = frame_of(60 + i, i);
      vanity_packet packet = rig.packet_of(frame);
      if (i % 2 == 0) {
        rig.table.share(packet, 2);
      } else {
        packet.offset = 4;
        std::memcpy(rig.table.data(packet), frame.data(), frame.size());
      }
      const Bytes before(rig.table.buffer(packet.buffer), rig.table.buffer(packet.buffer) + 400);
      CHECK_EQ(rig.port->tx(0).transmit(rig.table, &packet, 1), 1u);
      rig.nic.run();
      CHECK(rig.nic.sent[0].back() == frame);
      CHECK(std::equal(before.begin(), before.end(), rig.table.buffer(packet.buffer)));
      rig.port->tx(0).flush();
      vanity_packet back{};
      CHECK_EQ(rig.port->tx(0).completed(&back, 1), 1u);
      CHECK_EQ(back.buffer, packet.buffer);
      CHECK_EQ(back.flags, packet.flags);
      rig.send_pool().give(&back, 1);
    }
  });
}

// As QEMU's with packed rings: it goes on without saying from which place on it wants to be told.
TEST(a_device_that_sleeps_on_packets_is_told_again) {
  with_both({}, [](Rig& rig) {
    const auto collect = [&] {
      vanity_packet packets[4];
      rig.port->tx(0).flush();
      const uint32_t got = rig.port->tx(0).completed(packets, 4);
      rig.send_pool().give(packets, got);
      return got;
    };
    rig.nic.listens = false;
    CHECK(rig.send(frame_of(60, 1)));
    CHECK_EQ(collect(), 1u);
    const uint32_t before = rig.nic.notifications;
    CHECK(rig.send(frame_of(60, 2)));
    CHECK_EQ(collect(), 0u);
    CHECK_EQ(collect(), 0u);
    CHECK_EQ(rig.nic.notifications, before);  // not at once
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    CHECK_EQ(collect(), 0u);
    CHECK_EQ(rig.nic.notifications, before + 1);
    CHECK_EQ(collect(), 1u);
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    CHECK_EQ(collect(), 0u);
    CHECK_EQ(rig.nic.notifications, before + 1);  // nothing is with it
  });
}

TEST(what_the_device_cannot_reach_or_is_too_long_comes_back) {
  Options options;
  options.offered |= bits({3});  // MTU
  options.change = [](model::Nic& nic) {
    nic.config[10] = 100;
    nic.config[11] = 0;
  };
  with_both(options, [](Rig& rig) {
    CHECK(rig.send(frame_of(118, 1)));
    CHECK(rig.send(frame_of(119, 1)));
    CHECK_EQ(rig.tx_record().oversize.get(), 1u);
    CHECK(rig.send(frame_of(13, 1)));
    CHECK_EQ(rig.tx_record().invalid.get(), 1u);
    vanity_packet packet = rig.packet_of(frame_of(60, 1));
    vanity_packet elsewhere = packet;
    elsewhere.buffer |= 200u << kPoolShift;
    CHECK_EQ(rig.port->tx(0).transmit(rig.table, &elsewhere, 1), 1u);
    CHECK_EQ(rig.tx_record().dropped.get(), 1u);
    vanity_packet back[4];
    rig.port->tx(0).flush();
    CHECK_EQ(rig.port->tx(0).completed(back, 4), 4u);
    CHECK_EQ(back[0].buffer, elsewhere.buffer);
    rig.send_pool().give(back + 1, 3);
    rig.send_pool().give(&packet, 1);
  });
}

TEST(four_pairs_are_switched_on_and_each_has_its_vector) {
  Options options;
  options.pairs = 4;
  with_both(options, [](Rig& rig) {
    CHECK(rig.nic.commands.at(0) == Bytes({4, 0, 4, 0}));  // four pairs
    CHECK(rig.nic.commands.at(1) == Bytes({0, 0, 1}));     // promiscuous
    CHECK_EQ(rig.nic.queues.count(8), 1u);                 // the control queue's number
    for (uint16_t i = 0; i < 4; ++i) {
      CHECK_EQ(rig.nic.vector_of[2 * i], i);
      CHECK_EQ(rig.nic.vector_of[2 * i + 1], 0xffff);
      CHECK(rig.nic.deliver(frame_of(60, i), i));
      CHECK(rig.receive(i).at(0) == frame_of(60, i));
      CHECK(rig.send(frame_of(61, i), i));
      rig.take_completed(i);
      CHECK(rig.nic.sent[i].back() == frame_of(61, i));
    }
    CHECK_EQ(rig.nic.vector_of[0xffff], 4);
    CHECK_EQ(rig.port->irqs().queue_of_vector.size(), 5u);
  });
}

TEST(a_station_may_have_an_address_of_its_own) {
  Options options;
  options.mac = {2, 0, 0, 0, 0, 9};
  CHECK(holds(refusal(options), "another address"));
  options.offered |= bits({23});  // CTRL_MAC_ADDR
  with_both(options, [](Rig& rig) {
    CHECK(rig.nic.commands.at(0) == Bytes({1, 1, 2, 0, 0, 0, 0, 9}));
  });
}

TEST(a_device_that_cannot_be_used_is_refused) {
  const auto with = [](uint64_t offered, std::function<void(model::Nic&)> change = nullptr,
                       uint32_t pairs = 1, PackedRings packed = PackedRings::automatic) {
    Options options;
    options.offered = offered;
    options.change = std::move(change);
    options.pairs = pairs;
    options.packed = packed;
    return refusal(options);
  };
  CHECK_EQ(with(kAll), "");
  CHECK(holds(with(kAll & ~bits({32})), "older than VIRTIO 1.0"));
  CHECK(holds(with(kAll & ~bits({33})), "pass by the IOMMU"));
  CHECK_EQ(with(kAll & ~bits({33}), [](model::Nic& nic) { nic.translates = false; }), "");
  CHECK(holds(with(kAll & ~bits({34}), nullptr, 1, PackedRings::yes), "no packed rings"));
  CHECK_EQ(with(kAll & ~bits({34})), "");
  CHECK(holds(with(kAll, nullptr, 5), "has 4 pairs of queues"));
  CHECK(holds(with(kAll & ~bits({22}), nullptr, 2), "has 1 pairs of queues"));
  CHECK(holds(with(
                  kAll, [](model::Nic& nic) { nic.config[8] = 0; }, 2),
              "has 1 pairs"));
  CHECK(holds(with(kAll, [](model::Nic& nic) { nic.queue_size = 0; }), "no queue 0"));
  CHECK(holds(with(kAll, [](model::Nic& nic) { nic.agrees = false; }), "does not agree"));
  CHECK(holds(with(kAll, [](model::Nic& nic) { nic.works = false; }), "DRIVER_OK"));
  CHECK(holds(with(kAll, [](model::Nic& nic) { nic.answers = false; }), "control queue"));
  CHECK(holds(with(
                  kAll, [](model::Nic& nic) { nic.obeys = false; }, 2),
              "switch on the pairs"));
  const auto begin = std::chrono::steady_clock::now();
  CHECK(holds(with(kAll, [](model::Nic& nic) { nic.finishes_reset = false; }), "reset"));
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK(took >= std::chrono::milliseconds(900) && took < std::chrono::seconds(10));
}

TEST(a_lie_costs_a_counter_and_a_reset) {
  for (const bool alone : {true, false}) {
    Options options;
    if (!alone) options.offered &= ~bits({40});
    with_both(options, [&](Rig& rig) {
      for (uint32_t lap = 1; lap <= 3; ++lap) {
        CHECK(rig.send(frame_of(60, 1)));
        model::Chain chain;
        CHECK(rig.nic.pop(0, chain));
        rig.nic.push(0, chain, 5000);  // more than the buffer has
        CHECK_EQ(rig.receive().size(), 0u);
        CHECK_EQ(rig.rx_record().invalid.get(), lap);
        CHECK(!rig.nic.queues.at(0).enabled || rig.port->state() == PortState::up);
        rig.port->service();
        CHECK(rig.port->state() == PortState::down);
        CHECK(holds(rig.port->error(), "cannot be"));
        rig.serve();
        CHECK(rig.port->state() == PortState::up);
        CHECK_EQ(rig.port->error(), "");
        CHECK_EQ(rig.port_record.errors.get(), lap);
        CHECK_EQ(rig.nic.queue_resets, alone ? lap : 0);
        CHECK_EQ(rig.nic.resets, alone ? 1 : 1 + lap);
        CHECK(rig.nic.deliver(frame_of(60, lap)));
        CHECK(rig.receive().at(0) == frame_of(60, lap));
        CHECK(rig.send(frame_of(60, lap)));
        rig.take_completed();
        CHECK(rig.nic.sent[0].back() == frame_of(60, lap));
      }
    });
  }
}

TEST(a_device_that_asks_for_a_reset_gets_one) {
  with_both({}, [](Rig& rig) {
    uint32_t resets = 1;
    for (const uint8_t status : {64 | 15, 0, 1}) {
      rig.nic.status = status;
      rig.serve();
      CHECK(rig.port->state() == PortState::up);
      CHECK_EQ(rig.nic.resets, ++resets);
      CHECK_EQ(rig.nic.status, 15);
      CHECK(rig.nic.deliver(frame_of(60, 1)));
      CHECK_EQ(rig.receive().size(), 1u);
    }
  });
}

TEST(a_device_that_never_finishes_a_reset_loses_the_bus) {
  with_both({}, [](Rig& rig) {
    rig.nic.status |= 64;
    rig.nic.finishes_reset = false;
    rig.serve();
    CHECK(rig.port->state() == PortState::down);
    CHECK(rig.pools[0]->missing() != 0);  // it may still write
    std::this_thread::sleep_for(std::chrono::milliseconds(1050));
    rig.serve();
    CHECK(rig.port->state() == PortState::failed);
    CHECK(holds(rig.port->error(), "does not finish its reset"));
    CHECK(!rig.nic.loose);
    CHECK_EQ(rig.pools[0]->missing(), 0u);
    rig.nic.status = 0xff;  // for close()
  });
}

TEST(link_changes_are_seen) {
  with_both({}, [](Rig& rig) {
    CHECK(rig.port->state() == PortState::up);
    rig.nic.config[6] = 0;
    rig.port->interrupt();
    CHECK(rig.port->state() == PortState::down);
    CHECK_EQ(rig.port_record.downs.get(), 1u);
    rig.nic.config[6] = 1;
    rig.port->service();
    CHECK(rig.port->state() == PortState::up);
  });
}

TEST(an_empty_pool_is_no_end) {
  Options options;
  options.buffers = 16;
  with_both(options, [](Rig& rig) {
    std::vector<vanity_packet> held;
    for (uint32_t i = 0; i < 16; ++i) {
      CHECK(rig.nic.deliver(frame_of(60, i)));
      const auto got = rig.take();
      held.insert(held.end(), got.begin(), got.end());
    }
    CHECK_EQ(held.size(), 16u);
    CHECK(!rig.nic.deliver(frame_of(60, 1)));
    CHECK_EQ(rig.take().size(), 0u);
    CHECK_EQ(rig.rx_record().no_buffer.get(), 1u);
    rig.pools[0]->give(held.data(), 16);
    CHECK_EQ(rig.take().size(), 0u);
    CHECK(rig.nic.deliver(frame_of(60, 1)));
    CHECK_EQ(rig.receive().size(), 1u);
  });
}
