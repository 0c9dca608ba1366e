// The driver of virtio network devices over a vhost-user socket, against a back-end written from
// the specification: packets, peers that come late, go, come back and misbehave. Nothing is lost
// but what was in flight, and that is counted.
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "check.hpp"
#include "device/irq_line.hpp"
#include "memory/arena.hpp"
#include "platform/error.hpp"
#include "port/user_host.hpp"
#include "port/virtio_net/virtio_net_port.hpp"
#include "vhost_back_end_model.hpp"

using namespace vanity;

namespace {

using model::Request;
using BackEndOptions = model::BackEnd::Options;
constexpr uint64_t kPacked = uint64_t{1} << 34;

struct Wanted {
  PackedRings packed = PackedRings::automatic;
  uint32_t pairs = 1;
  bool server = false;
};

// A port with a pool for each receive queue; it is the client but where `server` is said.
struct Station {
  explicit Station(const Wanted& wanted = {}) : given(wanted) {
    CHECK(mkdtemp(folder) != nullptr);
    path = std::string(folder) + "/sock";
    if (!wanted.server) listener = std::make_unique<vhost::Listener>(path, "test");
  }
  ~Station() {
    if (port != nullptr) port->close();
    port.reset();
    listener.reset();
    rmdir(folder);
  }

  void open() {
    constexpr uint32_t kBuffers = 256, kBytes = 2048;
    for (uint32_t i = 0; i < given.pairs; ++i) {
      const size_t bytes = Pool::memory_bytes(kBuffers, kBytes);
      arenas.push_back(
          std::make_unique<Arena>(bytes, kAnyNode, PageChoice::small, Sharing::sealed));
      pools.push_back(
          std::make_unique<Pool>(i, kBuffers, kBytes, arenas[i]->allocate(bytes), nullptr));
      table.add(*pools[i]);
      addresses.push_back(vhost::pool_address(i));
      host.regions.push_back({addresses[i], arenas[i]->bytes(), arenas[i]->fd()});
    }
    for (uint32_t i = 0; i < given.pairs; ++i) host.buffers.add(*pools[i], &addresses[i], 63);
    PortRecords all;
    all.port = &port_record;
    for (uint32_t i = 0; i < 2 * given.pairs; ++i) {
      records.push_back(std::make_unique<QueueRecord>());
      (i < given.pairs ? all.rx : all.tx).push_back(records.back().get());
    }
    PortOptions options;
    options.name = "wan";
    options.rx_queues = options.tx_queues = given.pairs;
    options.ring = 64;
    options.packed = given.packed;
    options.user = &host;
    options.socket = path;
    options.server = given.server;
    port = create_virtio_user_port(options, all);
    port->start();
  }
  // The peer answers while the port's thread waits for it, so it is made when the port has
  // connected.
  void open_with(const BackEndOptions& options) {
    std::jthread greeter([&] { meet(options); });
    open();
    greeter.join();
  }
  void meet(const BackEndOptions& options) {
    vhost::Connection connection;
    for (int i = 0; !connection && i < 4000; ++i) {
      if (given.server) {
        try {
          connection = vhost::connect(path, "test", {});
        } catch (const Error&) {
        }
      } else {
        connection = listener->accept({});
      }
      if (!connection) usleep(1000);
    }
    CHECK(connection);
    peer = std::make_unique<model::BackEnd>(std::move(connection), options);
  }
  // What the kernel's thread and the shard do until something is so.
  bool until(const std::function<bool()>& so, int ms = 4000) {
    for (int i = 0; i < ms; ++i) {
      if (so()) return true;
      port->service();
      receive();
      collect();
      usleep(1000);
    }
    return so();
  }
  void receive(uint32_t queue = 0) {
    vanity_packet packets[64];
    const uint32_t got = port->rx(queue).receive(*pools[queue], packets, 64);
    for (uint32_t i = 0; i < got; ++i) {
      const uint8_t* const data = table.data(packets[i]);
      CHECK_EQ(packets[i].length, 60u);
      CHECK_EQ(data[59], data[14]);
      order_is_right &= data[14] == static_cast<uint8_t>(came + i);
    }
    came += got;
    pools[queue]->give(packets, got);
  }
  void collect() {
    vanity_packet packets[64];
    for (uint32_t q = 0; q < given.pairs; ++q) {
      port->tx(q).flush();
      for (uint32_t got; (got = port->tx(q).completed(packets, 64)) != 0;)
        pools[q]->give(packets, got);
    }
  }
  uint32_t send(uint32_t n, uint32_t queue = 0) {
    uint32_t sent = 0;
    for (uint32_t i = 0; i < n; ++i) {
      vanity_packet packet;
      if (pools[queue]->take(&packet, 1) == 0) break;
      packet.offset = VANITY_FRAME_OFFSET;
      packet.length = 60;
      packet.flags = 0;
      uint8_t* const data = table.data(packet);
      std::memset(data, static_cast<uint8_t>(went), 60);
      table.meta(packet) = {};
      if (port->tx(queue).transmit(table, &packet, 1) == 0) {
        pools[queue]->give(&packet, 1);
        break;
      }
      ++went;
      ++sent;
    }
    return sent;
  }
  bool up() const { return port->state() == PortState::up; }
  QueueRecord& rx_record() { return *records[0]; }
  QueueRecord& tx_record() { return *records[given.pairs]; }

  Wanted given;
  char folder[32] = "/tmp/vanity-vhost-XXXXXX";
  std::string path;
  std::unique_ptr<vhost::Listener> listener;
  std::unique_ptr<model::BackEnd> peer;
  std::vector<std::unique_ptr<Arena>> arenas;
  std::vector<std::unique_ptr<Pool>> pools;
  std::vector<uint64_t> addresses;
  PoolTable table;
  UserHost host;
  PortRecord port_record{};
  std::vector<std::unique_ptr<QueueRecord>> records;
  std::unique_ptr<Port> port;
  uint32_t came = 0, went = 0;
  bool order_is_right = true;
};

void reflects_a_thousand(Station& station) {
  const uint32_t before = station.came;
  station.receive();  // a peer without buffers loses what it reflects
  for (int i = 0; i < 50; ++i) {
    CHECK_EQ(station.send(20), 20u);
    CHECK(station.until([&] { return station.came == station.went; }));
  }
  CHECK_EQ(station.came - before, 1000u);
  CHECK(station.order_is_right);
}

bool says(const Station& station, const char* part) {
  return station.port->error().find(part) != std::string::npos;
}

TEST(packets_go_both_ways_on_split_and_packed_rings) {
  for (const uint64_t kind : {uint64_t{0}, kPacked}) {
    Station station;
    BackEndOptions options;
    options.features |= kind;
    station.open_with(options);
    CHECK(station.up());
    CHECK_EQ(station.peer->accepted >> 34 & 1, kind != 0);
    CHECK_EQ(station.peer->regions, 2u);  // rings, pool
    reflects_a_thousand(station);
    CHECK_EQ(station.tx_record().dropped.get(), 0u);
  }
}

TEST(queues_of_several_pairs_need_no_control_queue) {
  Station station({PackedRings::automatic, 2});
  station.open_with({});
  CHECK(station.up());
  CHECK_EQ(station.peer->accepted >> 22 & 1, 1u);
  CHECK_EQ(station.send(8, 1), 8u);
  uint32_t got = 0;
  CHECK(station.until([&] {
    vanity_packet packets[16];
    const uint32_t more = station.port->rx(1).receive(*station.pools[1], packets, 16);
    station.pools[1]->give(packets, more);
    return (got += more) == 8;
  }));
}

TEST(more_pairs_than_the_peer_has_are_refused) {
  Station station({PackedRings::automatic, 2});
  BackEndOptions options;
  options.pairs = 1;
  std::jthread greeter([&] { station.meet(options); });
  CHECK_THROWS(station.open(), Error);
  greeter.join();
  station.peer.reset();
}

TEST(a_peer_without_protocol_features_will_do) {
  Station station;
  BackEndOptions options;
  options.features = uint64_t{1} << 32;
  options.protocol = 0;
  std::jthread greeter([&] { station.meet(options); });
  station.open();
  greeter.join();
  CHECK(station.up());
}

TEST(a_peer_may_come_late_and_as_the_client) {
  for (const bool server : {false, true}) {
    Station station({PackedRings::automatic, 1, server});
    if (!server) station.listener.reset();
    station.open();
    CHECK(!station.up());
    CHECK(says(station, server ? "nobody has connected" : "there is no socket"));
    CHECK_EQ(station.send(4), 4u);  // to nobody, counted
    CHECK_EQ(station.tx_record().dropped.get(), 4u);
    station.collect();
    station.went = 0;
    if (!server) station.listener = std::make_unique<vhost::Listener>(station.path, "test");
    std::jthread greeter([&] { station.meet({}); });
    CHECK(station.until([&] { return station.up(); }));
    greeter.join();
    reflects_a_thousand(station);
  }
}

TEST(a_peer_that_goes_takes_what_was_in_flight_and_no_more) {
  for (const uint64_t kind : {uint64_t{0}, kPacked}) {
    Station station;
    BackEndOptions options;
    options.features |= kind;
    station.open_with(options);
    reflects_a_thousand(station);
    station.peer->reflects = false;
    CHECK_EQ(station.send(20), 20u);
    station.peer->end();
    const uint32_t lost = station.went - station.peer->reflected;  // it may have been at one yet
    CHECK(lost >= 19 && lost <= 20);
    station.peer.reset();
    CHECK(station.until([&] { return !station.up(); }));
    CHECK(says(station, "has gone"));
    CHECK_EQ(station.port_record.downs.get(), 1u);
    std::jthread greeter([&] { station.meet(options); });
    CHECK(station.until([&] { return station.up(); }));
    greeter.join();
    CHECK_EQ(station.tx_record().dropped.get(), lost);
    CHECK_EQ(station.came, station.went - lost);
    station.came = station.went;
    reflects_a_thousand(station);
    CHECK_EQ(station.tx_record().dropped.get(), lost);
    station.port->close();
    vanity_packet packets[256];
    station.collect();
    for (uint32_t got; (got = station.port->rx(0).take_back(packets, 256)) != 0;)
      station.pools[0]->give(packets, got);
    CHECK_EQ(station.pools[0]->missing(), 0u);
  }
}

TEST(a_peer_that_becomes_one_of_other_rings_fails_the_port) {
  Station station;
  station.open_with({});
  station.peer.reset();
  CHECK(station.until([&] { return !station.up(); }));
  BackEndOptions options;
  options.features = (options.features | kPacked) & ~(uint64_t{1} << 32);
  std::jthread greeter([&] { station.meet(options); });
  CHECK(station.until([&] { return station.port->state() == PortState::failed; }));
  greeter.join();
  CHECK(says(station, "older than VIRTIO 1.0"));
}

TEST(a_peer_that_lies_is_parted_from_and_may_come_back) {
  for (const uint64_t kind : {uint64_t{0}, kPacked}) {
    Station station;
    BackEndOptions options;
    options.features |= kind;
    station.open_with(options);
    CHECK(station.until([&] { return station.peer->runs.load(); }));
    station.receive();  // offers buffers, whose descriptors would write over the lie
    station.peer->lies = true;
    CHECK(station.until([&] { return !station.up(); }));
    CHECK(says(station, "what cannot be"));
    CHECK_EQ(station.port_record.errors.get(), 1u);
    station.peer.reset();
    std::jthread greeter([&] { station.meet(options); });
    CHECK(station.until([&] { return station.up(); }));
    greeter.join();
    reflects_a_thousand(station);
  }
}

TEST(a_peer_that_complains_of_a_ring_gets_it_anew) {
  Station station;
  station.open_with({});
  reflects_a_thousand(station);
  station.peer->complains = true;
  CHECK(station.until([&] { return station.port_record.errors.get() == 1; }));
  CHECK(station.until([&] { return station.up(); }));
  station.came = station.went = 0;
  reflects_a_thousand(station);
}

TEST(a_peer_that_does_not_keep_to_the_protocol_is_let_go_whenever_it_does_so) {
  for (const Request at :
       {Request::get_features, Request::set_protocol_features, Request::get_queue_count,
        Request::set_memory_table, Request::set_ring_kick, Request::set_ring_enable}) {
    for (const auto instead : {BackEndOptions::refuse, BackEndOptions::silence,
                               BackEndOptions::nonsense, BackEndOptions::hang_up}) {
      // The number itself is a fine answer to a question, and an unasked one to this.
      if (instead == BackEndOptions::refuse &&
          (at == Request::get_features || at == Request::get_queue_count ||
           at == Request::set_protocol_features))
        continue;
      // Without an acknowledgement asked for, silence is golden.
      if (at == Request::set_protocol_features && instead == BackEndOptions::silence) continue;
      Station station;
      BackEndOptions options;
      options.at = at;
      options.instead = instead;
      station.open_with(options);
      CHECK(!station.up());
      CHECK(station.port->state() == PortState::down);
      CHECK(!station.port->error().empty());
      station.peer.reset();
      std::jthread greeter([&] { station.meet({}); });
      CHECK(station.until([&] { return station.up(); }));
      greeter.join();
    }
  }
}

TEST(a_shard_that_sleeps_is_called) {
  Station station;
  station.open_with({});
  const PortIrqs irqs = station.port->irqs();
  CHECK_EQ(irqs.fds.size(), 1u);
  VectorRecord record{};
  IrqLine line(&record);
  RxQueue& rx = station.port->rx(0);
  rx.set_line(&line);
  uint64_t count = 0;
  CHECK(read(irqs.fds[0], &count, sizeof count) < 0);
  CHECK(station.until([&] { return rx.sleep_ns_max() != 0; }));  // polled for a while, then armed
  CHECK(rx.rings());
  CHECK_EQ(station.send(1), 1u);
  CHECK(station.until([&] { return read(irqs.fds[0], &count, sizeof count) > 0; }));
  CHECK(station.until([&] { return station.came == 1; }));
  CHECK(!rx.rings());  // busy: nobody is to call
  CHECK_EQ(station.send(20), 20u);
  CHECK(station.until([&] { return station.came == 21; }));
  CHECK_EQ(station.peer->calls, 1u);
}

}  // namespace
