#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <thread>

#include "capture_bytes.hpp"
#include "check.hpp"
#include "packet/checksum.hpp"
#include "packet/flow.hpp"
#include "platform/error.hpp"
#include "port/af_packet/offload.hpp"
#include "port/port.hpp"

using namespace vanity;

namespace {

bool sh(const std::string& command) {
  return std::system(("(" + command + ") >/dev/null 2>&1").c_str()) == 0;
}

void sleep_ms(long ms) {
  const timespec t{ms / 1000, ms % 1000 * 1'000'000};
  ::nanosleep(&t, nullptr);
}

// The machine may be busy with other things: time limits are for hangs only.
template <class Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    sleep_ms(10);
  }
  return false;
}

struct FreeMemory {
  void operator()(void* p) const { std::free(p); }
};

// Two namespaces, each with one end of a veth pair; the other ends, `a` and `b`, are here.
struct Net {
  std::string id = "vt" + std::to_string(::getpid() % 100000);
  std::string a = id + "a", b = id + "b";
  bool ok;
  Net() {
    ok = ::geteuid() == 0;
    for (const char* side : {"a", "b"}) {
      const std::string ns = id + "n" + side, in = "ip netns exec " + ns + " ";
      const std::string address = side[0] == 'a' ? "1" : "2";
      ok = ok && sh("ip netns add " + ns + " && ip link add " + id + side +
                    " type veth peer name eth0 netns " + ns + " && ip link set " + id + side +
                    " up && " + in + "ip link set lo up && " + in + "ip link set eth0 up && " + in +
                    "ip addr add 10.91.7." + address + "/24 dev eth0 && " + in +
                    "ip addr add fd91::" + address + "/64 dev eth0 nodad");
    }
  }
  ~Net() {
    sh("ip link del " + a + "; ip link del " + b + "; ip netns del " + id + "na; ip netns del " +
       id + "nb");
  }
  std::string in_a(const std::string& command) { return "ip netns exec " + id + "na " + command; }
  std::string in_b(const std::string& command) { return "ip netns exec " + id + "nb " + command; }
};

#define NEED_NET(net)                                                                  \
  Net net;                                                                             \
  if (!net.ok) {                                                                       \
    std::printf("ok - %s # skip needs root, network namespaces and veth\n", __func__); \
    return;                                                                            \
  }

struct Side {
  std::unique_ptr<PortRecord> port_record = std::make_unique<PortRecord>();
  std::vector<std::unique_ptr<QueueRecord>> queues;
  std::vector<std::unique_ptr<void, FreeMemory>> memory;
  std::vector<std::unique_ptr<Pool>> pools;
  std::unique_ptr<Port> port;

  Side(const std::string& interface, uint32_t first_pool, PoolTable& table,
       uint32_t rx_queues = 1) {
    PortOptions options;
    options.driver = "af_packet";
    options.interface = interface;
    options.rx_queues = rx_queues;
    options.tx_queues = 1;
    PortRecords records{port_record.get(), {}, {}};
    for (uint32_t i = 0; i <= rx_queues; ++i) {
      queues.push_back(std::make_unique<QueueRecord>());
      (i < rx_queues ? records.rx : records.tx).push_back(queues.back().get());
      memory.emplace_back(
          std::aligned_alloc(64, (Pool::memory_bytes(1024, options.buffer_bytes) + 63) / 64 * 64));
      pools.push_back(
          std::make_unique<Pool>(first_pool + i, 1024, options.buffer_bytes, memory.back().get()));
      table.add(*pools.back());
    }
    port = create_port(options, records);
    port->start();
  }
};

// One thread that forwards between two ports, as two shards would, and one that looks after them.
struct Forwarder {
  PoolTable table;
  Side left, right;
  std::atomic<bool> stop{false};
  std::thread data, control;

  Forwarder(const Net& net, uint32_t queues = 1)
      : left(net.a, 0, table, queues), right(net.b, 64, table, queues) {
    data = std::thread([this, queues] {
      while (!stop.load(std::memory_order_relaxed)) {
        uint32_t work = 0;
        for (uint32_t q = 0; q < queues; ++q) {
          work += move(left, right, q) + move(right, left, q);
        }
        if (work == 0) ::usleep(20);
      }
    });
    control = std::thread([this] {
      while (!stop.load(std::memory_order_relaxed)) {
        left.port->service();
        right.port->service();
        sleep_ms(20);
      }
    });
  }
  ~Forwarder() {
    stop.store(true, std::memory_order_relaxed);
    data.join();
    control.join();
    left.port->close();
    right.port->close();
  }
  uint32_t move(Side& from, Side& to, uint32_t q) {
    vanity_packet burst[32];
    const uint32_t got = from.port->rx(q).receive(*from.pools[q], burst, 32);
    uint32_t sent = 0;
    for (int attempt = 0; sent < got && attempt < 100; ++attempt)
      sent += to.port->tx(0).transmit(table, burst + sent, got - sent);
    to.port->tx(0).drop(got - sent);
    from.pools[q]->give(burst, got);
    return got;
  }
};

std::vector<uint8_t> tcp_frame(uint32_t payload, int version) {
  Bytes b{{}, true};
  b.u32(0x02000000).u32(2).u32(0x00020000).u16(version == 4 ? 0x0800 : 0x86dd).bytes.resize(12);
  b.u16(version == 4 ? 0x0800 : 0x86dd);
  if (version == 4) {
    b.u8(0x45).u8(0).u16(uint16_t(40 + payload)).u16(0xfffe).u16(0x4000).u8(64).u8(6).u16(0);
    b.u32(0x0a000001).u32(0x0a000002);
  } else {
    b.u32(0x60000000).u16(uint16_t(20 + payload)).u8(6).u8(64);
    b.u64(1).u64(2).u64(3).u64(4);
  }
  b.u16(1000).u16(80).u32(0xfffffff0).u32(9).u8(0x50).u8(0x99).u16(500).u16(0).u16(0);
  for (uint32_t i = 0; i < payload; ++i) b.u8(uint8_t(i * 7));
  return b.bytes;
}

uint16_t internet_sum(const uint8_t* p, uint32_t n, uint64_t total) {
  for (uint32_t i = 0; i < n; ++i) total += i % 2 == 0 ? p[i] << 8 : p[i];
  while (total > 0xffff) total = (total >> 16) + (total & 0xffff);
  return uint16_t(total);
}

}  // namespace

TEST(a_large_tcp_frame_is_cut_into_correct_ones) {
  for (const int version : {4, 6}) {
    for (const uint32_t payload : {1u, 999u, 1000u, 1001u, 5555u}) {
      const auto frame = tcp_frame(payload, version);
      Segmenter segmenter;
      OffloadHeader offload{1, 1, 0, 1000, 0, 0};
      CHECK(segmenter.begin(frame.data(), uint32_t(frame.size()), offload));
      std::vector<uint8_t> joined;
      uint32_t index = 0;
      const uint32_t header = version == 4 ? 54 : 74;
      while (segmenter.more()) {
        std::vector<uint8_t> out(segmenter.next_length());
        segmenter.take(out.data());
        const auto size = uint32_t(out.size());
        const uint8_t* ip = out.data() + 14;
        const uint8_t* tcp = out.data() + header - 20;
        if (version == 4) {
          CHECK_EQ(flow_detail::be16(ip + 2), size - 14);
          CHECK_EQ(flow_detail::be16(ip + 4), uint16_t(0xfffe + index));
          CHECK_EQ(internet_sum(ip, 20, 0), 0xffff);
          CHECK_EQ(internet_sum(tcp, size - 34, internet_sum(ip + 12, 8, 6 + size - 34)), 0xffff);
        } else {
          CHECK_EQ(flow_detail::be16(ip + 4), size - 54);
          CHECK_EQ(internet_sum(tcp, size - 54, internet_sum(ip + 8, 32, 6 + size - 54)), 0xffff);
        }
        CHECK_EQ(flow_detail::be32(tcp + 4), uint32_t(0xfffffff0 + joined.size()));
        const bool last = joined.size() + size - header == payload;
        CHECK_EQ(int(tcp[13]), 0x10 | (index == 0 ? 0x80 : 0) | (last ? 0x09 : 0));
        joined.insert(joined.end(), out.begin() + header, out.end());
        ++index;
      }
      CHECK(joined == std::vector<uint8_t>(frame.begin() + header, frame.end()));
      CHECK_EQ(index, (payload + 999) / 1000);
    }
  }
}

TEST(what_cannot_be_cut_is_refused) {
  Segmenter segmenter;
  const OffloadHeader offload{1, 1, 0, 1000, 0, 0};
  const auto frame = tcp_frame(10, 4);
  for (uint32_t length = 0; length <= 54; ++length) {
    const std::vector<uint8_t> cut(frame.begin(), frame.begin() + length);
    CHECK(!segmenter.begin(cut.data(), length, offload));
  }
  CHECK(!segmenter.begin(frame.data(), uint32_t(frame.size()), OffloadHeader{1, 1, 0, 0, 0, 0}));
  std::vector<uint8_t> outside(40);
  CHECK(!complete_checksum(outside.data(), 40, 30, 9));
  CHECK(!complete_checksum(outside.data(), 40, 65535, 65535));
  CHECK(complete_checksum(outside.data(), 40, 30, 8));
}

TEST(a_checksum_left_to_the_device_is_finished_once) {
  auto frame = tcp_frame(100, 4);
  frame[50] = frame[51] = 0;
  std::vector<uint8_t> buffer(VANITY_FRAME_OFFSET + frame.size());
  std::copy(frame.begin(), frame.end(), buffer.begin() + VANITY_FRAME_OFFSET);
  CHECK(complete_checksum(frame.data(), uint32_t(frame.size()), 34, 16));
  vanity_packet packet{};
  packet.offset = VANITY_FRAME_OFFSET;
  packet.length = uint16_t(frame.size());
  packet.flags = VANITY_PACKET_CHECKSUM_PARTIAL;
  const auto set = [&](uint32_t start, uint32_t field) {
    const vanity_packet_offload offload{uint16_t(start), uint16_t(field)};
    std::memcpy(buffer.data() + VANITY_OFFLOAD_OFFSET, &offload, sizeof offload);
  };
  const uint32_t end = uint32_t(buffer.size());
  for (const auto& [start, field] : {std::pair<uint32_t, uint32_t>{0, 0},
                                     {79, 100},
                                     {114, 113},
                                     {114, end - 1},
                                     {65535, 65535}}) {
    set(start, field);
    CHECK(!finish_checksum(buffer.data(), packet));
  }
  set(VANITY_FRAME_OFFSET + 34, VANITY_FRAME_OFFSET + 50);
  CHECK(finish_checksum(buffer.data(), packet));
  CHECK(!finish_checksum(buffer.data(), packet));
  CHECK(std::equal(frame.begin(), frame.end(), buffer.begin() + VANITY_FRAME_OFFSET));
}

TEST(an_interface_that_does_not_exist_is_refused) {
  PortOptions options;
  options.driver = "af_packet";
  options.interface = "vanity-none0";
  PortRecord record;
  try {
    create_port(options, {&record, {}, {}});
    CHECK(false);
  } catch (const Error& error) {
    const std::string code = error.code();
    CHECK(code == (::geteuid() == 0 ? "VANITY_E_PORT_INTERFACE" : "VANITY_E_PORT_PERMISSION") ||
          code == "VANITY_E_PORT_PERMISSION");
  }
}

TEST(ping_passes_through_two_ports) {
  NEED_NET(net);
  Forwarder forwarder(net);
  CHECK(sh(net.in_a("ping -c 3 -i 0.2 -W 5 10.91.7.2")));
  CHECK(sh(net.in_a("ping -c 3 -i 0.2 -W 5 fd91::2")));
  CHECK(sh(net.in_a("ping -c 2 -s 1472 -M do -W 5 10.91.7.2")));
  CHECK(sh(net.in_a("ping -c 2 -s 5000 -W 5 10.91.7.2")));
  CHECK(forwarder.left.port->state() == PortState::up);
  CHECK(forwarder.left.queues[0]->packets.get() > 15);
}

TEST(tcp_passes_with_the_offloads_of_veth_left_on) {
  NEED_NET(net);
  Forwarder forwarder(net);
  sh("head -c 20000000 /dev/urandom > /tmp/" + net.id + ".data");
  const std::string server =
      "python3 -c \"import socket; s=socket.create_server(('10.91.7.2',7001)); "
      "c,_=s.accept(); n=open('/tmp/" +
      net.id +
      ".got','wb')\n"
      "while True:\n d=c.recv(65536)\n if not d: break\n n.write(d)\"";
  // Until the server listens, connections are refused.
  const std::string client =
      "python3 -c \"import socket,time\nfor i in range(600):\n try:\n"
      "  c=socket.create_connection(('10.91.7.2',7001),60); break\n"
      " except ConnectionRefusedError: time.sleep(0.1)\n"
      "c.sendall(open('/tmp/" +
      net.id + ".data','rb').read())\"";
  std::thread serve([&] { sh("timeout 120 " + net.in_b(server)); });
  const bool sent = sh("timeout 120 " + net.in_a(client));
  serve.join();
  const bool same = sh("cmp /tmp/" + net.id + ".data /tmp/" + net.id + ".got");
  sh("rm -f /tmp/" + net.id + ".data /tmp/" + net.id + ".got");
  CHECK(sent);
  CHECK(same);
  CHECK(forwarder.left.queues[0]->bytes.get() > 20'000'000);
  CHECK_EQ(forwarder.left.queues[0]->oversize.get(), 0u);
  CHECK_EQ(forwarder.left.queues[0]->invalid.get(), 0u);
}

TEST(several_queues_share_the_traffic) {
  NEED_NET(net);
  Forwarder forwarder(net, 2);
  // Many flows: each ping process is a flow of its own identifier, UDP has ports.
  sh(
      net.in_a("python3 -c \"import socket\nfor i in range(400):\n s=socket.socket(socket.AF_INET,"
               "socket.SOCK_DGRAM); s.sendto(b'x'*100,('10.91.7.2',2000+i))\""));
  CHECK(soon([&] { return forwarder.left.queues[0]->packets.get() > 40; }));
  CHECK(soon([&] { return forwarder.left.queues[1]->packets.get() > 40; }));
}

TEST(vlan_tags_stay_on_the_frames) {
  NEED_NET(net);
  PoolTable table;
  Side side(net.a, 0, table);
  sh(
      net.in_a("python3 -c \"import socket; s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); "
               "s.bind(('eth0',0)); s.send(bytes.fromhex('ffffffffffff020000000001"
               "8100e00788b5')+bytes(50))\""));
  vanity_packet packet;
  bool found = false;
  for (int i = 0; i < 5000 && !found; ++i) {
    if (side.port->rx(0).receive(*side.pools[0], &packet, 1) == 0) {
      sleep_ms(2);
      continue;
    }
    const uint8_t* data = table.data(packet);
    found = packet.length == 68 && data[12] == 0x81 && data[13] == 0 && data[14] == 0xe0 &&
            data[15] == 7 && data[16] == 0x88 && data[17] == 0xb5;
    side.pools[0]->give(&packet, 1);
  }
  CHECK(found);
}

TEST(own_frames_are_not_received) {
  NEED_NET(net);
  PoolTable table;
  Side side(net.a, 0, table);
  sleep_ms(50);
  vanity_packet packet;
  CHECK_EQ(side.pools[1]->take(&packet, 1), 1u);
  packet.offset = VANITY_FRAME_OFFSET;
  packet.length = 60;
  packet.flags = 0;
  const auto frame = frame_of(60, 77);
  std::memcpy(table.data(packet), frame.data(), 60);
  CHECK_EQ(side.port->tx(0).transmit(table, &packet, 1), 1u);
  CHECK_EQ(side.queues[1]->packets.get(), 1u);
  for (int i = 0; i < 50; ++i) {
    vanity_packet got;
    if (side.port->rx(0).receive(*side.pools[0], &got, 1) == 1)
      CHECK(std::memcmp(table.data(got), frame.data(), 60) != 0);
    sleep_ms(1);
  }
}

TEST(frames_beyond_the_mtu_are_counted_and_the_rest_goes) {
  NEED_NET(net);
  PoolTable table;
  Side side(net.a, 0, table);
  vanity_packet packets[3];
  CHECK_EQ(side.pools[1]->take(packets, 3), 3u);
  for (int i = 0; i < 3; ++i) {
    packets[i] = {packets[i].buffer, 0, VANITY_FRAME_OFFSET, uint16_t(i == 1 ? 1900 : 60), 0, 0};
    const auto frame = frame_of(packets[i].length);
    std::memcpy(table.data(packets[i]), frame.data(), frame.size());
  }
  CHECK_EQ(side.port->tx(0).transmit(table, packets, 3), 3u);
  CHECK_EQ(side.queues[1]->packets.get(), 2u);
  CHECK_EQ(side.queues[1]->oversize.get(), 1u);
}

TEST(an_interface_that_goes_away_and_comes_back) {
  NEED_NET(net);
  Forwarder forwarder(net);
  CHECK(sh(net.in_a("ping -c 20 -i 0.2 -W 5 10.91.7.2")));

  CHECK(sh("ip link set " + net.a + " down"));
  CHECK(soon([&] { return forwarder.left.port->state() == PortState::down; }));
  CHECK_EQ(forwarder.left.port_record->downs.get(), 1u);
  CHECK(forwarder.left.port->error().find("is down") != std::string::npos);
  CHECK(sh("ip link set " + net.a + " up"));
  CHECK(soon([&] { return forwarder.left.port->state() == PortState::up; }));
  CHECK(sh(net.in_a("ping -c 20 -i 0.2 -W 5 10.91.7.2")));

  CHECK(sh("ip link del " + net.a));
  CHECK(soon([&] { return forwarder.left.port->state() == PortState::down; }));
  CHECK_EQ(forwarder.left.port_record->downs.get(), 2u);
  CHECK(forwarder.left.port->error().find("is gone") != std::string::npos);
  CHECK(forwarder.right.port->state() == PortState::up);
  CHECK(sh("ip link add " + net.a + " type veth peer name eth0 netns " + net.id +
           "na && ip link set " + net.a + " up && " + net.in_a("ip link set eth0 up") + " && " +
           net.in_a("ip addr add 10.91.7.1/24 dev eth0")));
  CHECK(soon([&] { return forwarder.left.port->state() == PortState::up; }));
  CHECK(sh(net.in_a("ping -c 20 -i 0.2 -W 5 10.91.7.2")));
  CHECK(forwarder.left.port->error().empty());
}

// As a shard does that receives much and never has anything to send.
TEST(a_port_comes_back_although_nothing_was_sent) {
  NEED_NET(net);
  PoolTable table;
  Side side(net.a, 0, table);
  const auto turn = [&] {
    vanity_packet burst[32];
    const uint32_t got = side.port->rx(0).receive(*side.pools[0], burst, 32);
    side.pools[0]->give(burst, got);
    side.port->tx(0).flush();
    side.port->service();
  };
  const auto becomes = [&](PortState wanted) {
    return soon([&] {
      turn();
      return side.port->state() == wanted;
    });
  };
  for (int times = 0; times < 2; ++times) {
    CHECK(becomes(PortState::up));
    CHECK(sh("ip link del " + net.a));
    CHECK(becomes(PortState::down));
    CHECK(sh("ip link add " + net.a + " type veth peer name eth0 netns " + net.id +
             "na && ip link set " + net.a + " up && " + net.in_a("ip link set eth0 up")));
  }
  CHECK(becomes(PortState::up));
}
