// native/vhost and native/port/vhost_user against a front-end written from the specification
// (vhost_guest_model.hpp), and against one that says and does what cannot be.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <random>
#include <thread>

#include "check.hpp"
#include "device/irq_line.hpp"
#include "memory/pool.hpp"
#include "packet/checksum.hpp"
#include "platform/error.hpp"
#include "port/vhost_user/vhost_user_port.hpp"
#include "vhost_guest_model.hpp"

using namespace vanity;
using model::Bytes;
using model::Guest;

namespace {

constexpr uint64_t bits(std::initializer_list<unsigned> all) {
  uint64_t mask = 0;
  for (const unsigned bit : all) mask |= uint64_t{1} << bit;
  return mask;
}
constexpr uint64_t kPlain = bits({32, 30});
constexpr uint64_t kPacked = bits({34}), kEvents = bits({29}), kMergeable = bits({15});
constexpr uint64_t kChecksums = bits({0, 1}), kInOrder = bits({35});
// What a guest receives and sends, of pair 0.
constexpr uint32_t kIn = 0, kOut = 1;

std::string new_path() {
  static int number = 0;
  return "/tmp/vanity-vhost-" + std::to_string(getpid()) + "-" + std::to_string(++number);
}
int open_descriptors() {
  int count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}
bool readable(int fd) {
  pollfd polled{fd, POLLIN, 0};
  return poll(&polled, 1, 0) == 1;
}
bool drained(int fd) {
  uint64_t count;
  return readable(fd) && read(fd, &count, sizeof count) == sizeof count;
}

Bytes frame_of(uint32_t number, uint32_t bytes) {
  Bytes frame(bytes);
  for (uint32_t i = 0; i < bytes; ++i) frame[i] = static_cast<uint8_t>(number * 7 + i);
  std::memcpy(frame.data(), &number, sizeof number);
  return frame;
}

struct Rig {
  static constexpr uint32_t kBuffers = 512, kBufferBytes = 2048;

  explicit Rig(uint32_t pairs = 1, bool server = true) : path(new_path()) {
    for (uint32_t i = 0; i < pairs + 1; ++i) {
      memory.emplace_back(Pool::memory_bytes(kBuffers, kBufferBytes) + 64);
      auto* const at = reinterpret_cast<uint8_t*>(
          (reinterpret_cast<uintptr_t>(memory.back().data()) + 63) / 64 * 64);
      pools.push_back(std::make_unique<Pool>(i, kBuffers, kBufferBytes, at));
      table.add(*pools.back());
    }
    PortRecords all;
    all.port = &port_record;
    for (uint32_t i = 0; i < 2 * pairs; ++i) {
      records.push_back(std::make_unique<QueueRecord>());
      (i < pairs ? all.rx : all.tx).push_back(records.back().get());
    }
    PortOptions options;
    options.name = "vm";
    options.index = 5;
    options.rx_queues = options.tx_queues = pairs;
    options.socket = path;
    options.server = server;
    options.poll_ns_max = 0;
    port = create_vhost_user_port(options, all);
    const PortIrqs irqs = port->irqs();
    for (uint32_t i = 0; i < pairs; ++i) {
      bells.push_back(irqs.fds.at(i));
      vectors.push_back(std::make_unique<VectorRecord>());
      lines.push_back(std::make_unique<IrqLine>(vectors.back().get()));
      port->rx(i).set_line(lines.back().get());
    }
    port->start();
  }
  ~Rig() { port.reset(); }

  QueueRecord& rx_record(uint32_t queue = 0) { return *records[queue]; }
  QueueRecord& tx_record(uint32_t queue = 0) { return *records[records.size() / 2 + queue]; }

  // The kernel's thread, as often as it takes for all that was said.
  void attend() {
    for (int i = 0; i < 10; ++i) port->interrupt();
  }
  // And the shards, which are asleep otherwise.
  void settle() {
    for (int i = 0; i < 5; ++i) {
      attend();
      for (uint32_t k = 0; k < pools.size() - 1; ++k) {
        vanity_packet none;
        port->rx(k).receive(*pools[k], &none, 0);
        port->tx(k).flush();
      }
    }
  }
  bool meet(Guest& guest, uint64_t features) {
    if (!guest.dial(path)) return false;
    attend();
    guest.begin(features);
    settle();
    guest.answer();
    return !guest.hung_up();
  }
  std::vector<Bytes> receive(uint32_t queue = 0, uint32_t n = 32, uint16_t* flags = nullptr) {
    vanity_packet packets[64];
    const uint32_t got = port->rx(queue).receive(*pools[queue], packets, n);
    std::vector<Bytes> frames;
    for (uint32_t i = 0; i < got; ++i) {
      const uint8_t* const data = table.data(packets[i]);
      frames.emplace_back(data, data + packets[i].length);
      CHECK_EQ(packets[i].port, 5);
      CHECK_EQ(table.meta(packets[i]).wire_length, packets[i].length);
      if (flags != nullptr) *flags = packets[i].flags;
    }
    pools[queue]->give(packets, got);
    return frames;
  }
  // How many went.
  uint32_t transmit(const std::vector<Bytes>& frames, uint32_t queue = 0, uint16_t flags = 0,
                    vanity_packet_offload offload = {}) {
    std::vector<vanity_packet> packets(frames.size());
    Pool& own = *pools.back();
    CHECK_EQ(own.take(packets.data(), static_cast<uint32_t>(frames.size())), frames.size());
    for (size_t i = 0; i < frames.size(); ++i) {
      packets[i] = {packets[i].buffer,
                    0,
                    VANITY_FRAME_OFFSET,
                    static_cast<uint16_t>(frames[i].size()),
                    0,
                    flags};
      std::memcpy(table.data(packets[i]), frames[i].data(), frames[i].size());
      std::memcpy(table.buffer(packets[i].buffer) + VANITY_OFFLOAD_OFFSET, &offload,
                  sizeof offload);
    }
    const uint32_t sent =
        port->tx(queue).transmit(table, packets.data(), static_cast<uint32_t>(packets.size()));
    own.give(packets.data(), static_cast<uint32_t>(packets.size()));
    return sent;
  }

  std::string path;
  std::vector<Bytes> memory;
  std::vector<std::unique_ptr<Pool>> pools;  // one a receive queue; the last sends
  PoolTable table;
  PortRecord port_record{};
  std::vector<std::unique_ptr<QueueRecord>> records;
  std::vector<std::unique_ptr<VectorRecord>> vectors;
  std::vector<std::unique_ptr<IrqLine>> lines;
  std::vector<int> bells;
  std::unique_ptr<Port> port;
};

// With every kind of ring.
void with_all(const std::function<void(uint64_t features)>& body) {
  for (const uint64_t packed : {uint64_t{0}, kPacked})
    for (const uint64_t events : {uint64_t{0}, kEvents})
      for (const uint64_t mergeable : {uint64_t{0}, kMergeable})
        body(kPlain | packed | events | mergeable);
}

}  // namespace

TEST(it_offers_what_it_can_and_no_more) {
  Rig rig;
  Guest guest;
  CHECK(guest.dial(rig.path));
  guest.send(1, nullptr, 0);
  rig.attend();
  CHECK_EQ(*guest.answer_u64(),
           kPlain | kPacked | kEvents | kMergeable | kChecksums | kInOrder | bits({3}));
  CHECK_EQ(guest.last_flags, 5u);  // version 1, an answer
  guest.send(15, nullptr, 0);
  guest.send(17, nullptr, 0);
  rig.attend();
  CHECK_EQ(*guest.answer_u64(), bits({0, 3, 4, 13, 16}));
  CHECK_EQ(*guest.answer_u64(), 1u);
  guest.send_u64(16, bits({3}), {}, 1 | 8);
  rig.attend();
  CHECK_EQ(*guest.answer_u64(), 0u);  // accepted, as it asked to hear
  guest.send_u64(39, 7);
  guest.send(40, nullptr, 0);
  rig.attend();
  CHECK_EQ(*guest.answer_u64(), 7u);
  CHECK(rig.port->state() == PortState::down);
}

TEST(frames_arrive_whole_and_in_order_both_ways) {
  with_all([](uint64_t features) {
    Rig rig;
    Guest guest;
    CHECK(rig.meet(guest, features));
    CHECK(rig.port->state() == PortState::up);
    CHECK_EQ(rig.port->error(), "");
    std::mt19937 random(3);
    const auto length = [&](uint32_t number) { return 14 + number * 37 % 1501; };
    uint32_t sent = 0, received = 0, in = 0, out = 0;
    while (received < 4000 || in < 4000) {
      for (uint32_t n = random() % 50; n != 0; --n) {
        const uint32_t parts = random() % 5 == 0 ? 2 + random() % 3 : 1;
        if (!guest.send_frame(kOut, frame_of(sent, length(sent)), Bytes(12), parts)) break;
        ++sent;
      }
      guest.publish(kOut);
      for (const Bytes& frame : rig.receive(0, 1 + random() % 64)) {
        CHECK(frame == frame_of(received, length(received)));
        ++received;
      }
      guest.reclaim(kOut);
      guest.post(kIn);
      std::vector<Bytes> burst;
      for (uint32_t n = random() % 40; n != 0; --n)
        burst.push_back(frame_of(out + static_cast<uint32_t>(burst.size()),
                                 length(out + static_cast<uint32_t>(burst.size()))));
      out += rig.transmit(burst);
      while (const auto got = guest.receive(kIn)) {
        Bytes wanted(12);
        wanted[10] = 1;
        const Bytes frame = frame_of(in, length(in));
        wanted.insert(wanted.end(), frame.begin(), frame.end());
        CHECK(*got == wanted);
        ++in;
      }
    }
    while (received < sent) received += static_cast<uint32_t>(rig.receive().size());
    CHECK_EQ(received, sent);
    CHECK_EQ(in, out);
    CHECK_EQ(rig.rx_record().packets.get(), received);
    CHECK_EQ(rig.tx_record().packets.get(), out);
    CHECK_EQ(rig.rx_record().invalid.get() + rig.rx_record().oversize.get(), 0u);
    for (const auto& pool : rig.pools) CHECK_EQ(pool->missing(), 0u);
  });
}

TEST(buffers_come_back_in_the_order_they_came_and_bad_frames_among_them) {
  for (const uint64_t packed : {uint64_t{0}, kPacked}) {
    Rig rig;
    Guest guest;
    CHECK(rig.meet(guest, kPlain | packed | kInOrder));
    std::vector<uint32_t>& free = guest.queues[kOut].free;
    for (uint32_t lap = 0; lap < 20; ++lap) {
      Bytes segmented(12);
      segmented[1] = 1;
      std::vector<uint32_t> went;
      for (uint32_t i = 0; i < 20; ++i) {
        went.push_back(free.back());
        CHECK(guest.send_frame(kOut, i % 3 == 1 ? Bytes(5) : frame_of(i, 60),
                               i % 5 == 2 ? segmented : Bytes(12), 1 + i % 2));
      }
      guest.publish(kOut);
      for (uint32_t i = 0; i < 4; ++i) rig.receive(0, 6);
      const size_t before = free.size();
      CHECK_EQ(guest.reclaim(kOut), 20u);
      CHECK(std::equal(went.begin(), went.end(), free.begin() + static_cast<long>(before)));
    }
    CHECK(rig.rx_record().invalid.get() != 0);
  }
}

TEST(a_frame_lies_in_several_buffers_when_they_are_mergeable) {
  for (const uint64_t packed : {uint64_t{0}, kPacked}) {
    Rig rig;
    Guest guest(2, 64, 300);
    CHECK(rig.meet(guest, kPlain | packed | kMergeable));
    for (uint32_t lap = 0; lap < 200; ++lap) {
      guest.post(kIn);
      std::vector<Bytes> burst;
      for (uint32_t i = 0; i < 8; ++i) burst.push_back(frame_of(i, 100 + (lap * 8 + i) % 1400));
      CHECK_EQ(rig.transmit(burst), 8u);
      for (uint32_t i = 0; i < 8; ++i) {
        const auto got = guest.receive(kIn);
        CHECK(got.has_value());
        CHECK_EQ((*got)[10], (12 + burst[i].size() + 299) / 300);
        CHECK(Bytes(got->begin() + 12, got->end()) == burst[i]);
      }
    }
    // Too few for one more: it may be tried again, and goes then.
    guest.post(kIn);
    const std::vector<Bytes> three(3, frame_of(1, 1514));
    for (uint32_t i = 0; i < 3; ++i) CHECK_EQ(rig.transmit(three), 3u);
    CHECK_EQ(rig.transmit(three), 1u);
    CHECK_EQ(rig.transmit(three), 0u);
    while (guest.receive(kIn)) {
    }
    guest.post(kIn);
    CHECK_EQ(rig.transmit(three), 3u);
    CHECK_EQ(rig.tx_record().oversize.get(), 0u);
  }
}

TEST(a_frame_that_no_buffer_holds_is_counted_and_the_rest_goes) {
  for (const uint64_t packed : {uint64_t{0}, kPacked}) {
    for (const uint32_t parts : {1u, 3u}) {
      Rig rig;
      Guest guest(2, 64, 300);
      CHECK(rig.meet(guest, kPlain | packed));
      guest.post(kIn, parts);
      CHECK_EQ(rig.transmit({frame_of(1, 288), frame_of(2, 289), frame_of(3, 60)}), 3u);
      CHECK_EQ(rig.tx_record().oversize.get(), 1u);
      if (parts == 1) {
        CHECK_EQ(guest.receive(kIn)->size(), 300u);
        CHECK_EQ(guest.receive(kIn)->size(), 72u);
      } else {
        const Bytes whole = frame_of(1, 288);
        const auto got = guest.receive(kIn);
        CHECK(got && std::equal(whole.begin(), whole.end(), got->begin() + 12));
      }
    }
  }
}

TEST(without_room_packets_stay_the_senders) {
  Rig rig;
  Guest guest;
  CHECK_EQ(rig.transmit({frame_of(1, 60)}), 1u);
  CHECK_EQ(rig.tx_record().dropped.get(), 1u);  // nobody is there
  CHECK(rig.meet(guest, kPlain));
  CHECK_EQ(rig.transmit({frame_of(1, 60)}), 0u);
  guest.post(kIn);
  std::vector<Bytes> burst(100, frame_of(1, 60));
  CHECK_EQ(rig.transmit(burst), 64u);
}

TEST(a_checksum_that_is_not_finished_travels_on) {
  for (const uint64_t packed : {uint64_t{0}, kPacked}) {
    Rig rig;
    Guest guest;
    CHECK(rig.meet(guest, kPlain | packed | kChecksums));
    Bytes header(12);
    header[0] = 1;
    header[6] = 34;
    header[8] = 16;
    guest.send_frame(kOut, frame_of(1, 100), header);
    guest.publish(kOut);
    uint16_t flags = 0;
    CHECK_EQ(rig.receive(0, 32, &flags).size(), 1u);
    CHECK_EQ(flags, VANITY_PACKET_CHECKSUM_PARTIAL);
    guest.post(kIn);
    rig.transmit({frame_of(1, 100)}, 0, VANITY_PACKET_CHECKSUM_PARTIAL,
                 {VANITY_FRAME_OFFSET + 34, VANITY_FRAME_OFFSET + 50});
    const auto got = guest.receive(kIn);
    CHECK(Bytes(got->begin(), got->begin() + 10) == Bytes(header.begin(), header.begin() + 10));
    rig.transmit({frame_of(1, 100)}, 0, VANITY_PACKET_CHECKSUM_VALID);
    CHECK_EQ((*guest.receive(kIn))[0], 2);
    // Where it must not: beyond the frame.
    header[8] = 70;
    guest.send_frame(kOut, frame_of(1, 100), header);
    guest.publish(kOut);
    CHECK_EQ(rig.receive().size(), 0u);
    CHECK_EQ(rig.rx_record().invalid.get(), 1u);
  }
  // A driver that does not want one gets it finished.
  Rig rig;
  Guest guest;
  CHECK(rig.meet(guest, kPlain));
  guest.post(kIn);
  Bytes frame = frame_of(9, 100);
  rig.transmit({frame}, 0, VANITY_PACKET_CHECKSUM_PARTIAL,
               {VANITY_FRAME_OFFSET + 34, VANITY_FRAME_OFFSET + 50});
  complete_checksum(frame.data(), 100, 34, 16);
  const auto got = guest.receive(kIn);
  CHECK(Bytes(got->begin() + 12, got->end()) == frame);
}

TEST(what_is_no_frame_is_counted_and_its_buffer_goes_back) {
  for (const uint64_t packed : {uint64_t{0}, kPacked}) {
    Rig rig;
    Guest guest(2, 64, 4096);
    CHECK(rig.meet(guest, kPlain | packed));
    guest.send_frame(kOut, Bytes(13));
    guest.send_frame(kOut, frame_of(1, 60));
    guest.send_frame(kOut, Bytes(2000));
    Bytes segmented(12);
    segmented[1] = 1;
    guest.send_frame(kOut, frame_of(2, 60), segmented);
    guest.send_frame(kOut, frame_of(3, 60));
    guest.publish(kOut);
    const auto frames = rig.receive();
    CHECK_EQ(frames.size(), 2u);
    CHECK(frames[1] == frame_of(3, 60));
    CHECK_EQ(rig.rx_record().invalid.get(), 2u);
    CHECK_EQ(rig.rx_record().oversize.get(), 1u);
    CHECK_EQ(guest.reclaim(kOut), 5u);
    CHECK_EQ(rig.pools[0]->missing(), 0u);
    CHECK(!guest.hung_up());
  }
}

TEST(a_kick_rings_the_shard_and_a_call_the_driver) {
  with_all([](uint64_t features) {
    Rig rig;
    Guest guest;
    CHECK(rig.meet(guest, features));
    drained(rig.bells[0]);
    for (int lap = 0; lap < 3; ++lap) {
      // It polls: no kick is wanted.
      guest.send_frame(kOut, frame_of(1, 60));
      CHECK(!guest.publish(kOut));
      CHECK_EQ(rig.receive().size(), 1u);
      CHECK_EQ(rig.receive().size(), 0u);
      CHECK(rig.port->rx(0).sleep_ns_max() > 1'000'000);  // armed
      CHECK(rig.port->rx(0).rings());
      guest.reclaim(kOut);
      CHECK(guest.with_ring(kOut, [](auto& ring) { return ring.arm(); }));
      guest.send_frame(kOut, frame_of(1, 60));
      CHECK(guest.publish(kOut));
      CHECK(!readable(rig.bells[0]));
      const uint64_t one = 1;
      CHECK(write(guest.queues[kOut].kick.get(), &one, 8) == 8);
      CHECK(readable(rig.port->control_fd()));
      rig.attend();
      CHECK(drained(rig.bells[0]));
      CHECK(!readable(rig.port->control_fd()));  // although nobody read the count
      CHECK_EQ(rig.port->rx(0).sleep_ns_max(), 0u);
      drained(guest.queues[kOut].call.get());
      CHECK_EQ(rig.receive().size(), 1u);
      CHECK(drained(guest.queues[kOut].call.get()));
      guest.reclaim(kOut);
      guest.with_ring(kOut, [](auto& ring) { ring.suppress(); });
    }
  });
}

TEST(a_ring_is_given_back_when_its_shard_has_let_go_and_goes_on_from_there) {
  with_all([](uint64_t features) {
    Rig rig;
    Guest guest;
    CHECK(rig.meet(guest, features));
    for (uint32_t lap = 0; lap < 30; ++lap) {
      for (uint32_t i = 0; i < 7; ++i) guest.send_frame(kOut, frame_of(i, 60));
      guest.publish(kOut);
      CHECK_EQ(rig.receive(0, 3).size(), 3u);
      guest.send_state(11, kOut, 0);
      rig.attend();
      CHECK(!guest.answer());  // the shard is at it
      CHECK_EQ(rig.receive().size(), 0u);
      CHECK(!guest.answer());
      rig.attend();
      const auto state = guest.answer();
      CHECK(state && state->size() == 8);
      std::memcpy(&guest.queues[kOut].base, state->data() + 4, 4);
      CHECK_EQ(rig.receive().size(), 0u);
      guest.tell_of_ring(kOut);
      rig.settle();
      CHECK_EQ(rig.receive().size(), 4u);
      CHECK_EQ(guest.reclaim(kOut), 7u);
    }
    // A shard that sleeps need not be woken for it.
    CHECK(rig.port->rx(0).sleep_ns_max() > 0);
    guest.send_state(11, kOut, 0);
    rig.attend();
    CHECK(guest.answer());
  });
}

TEST(memory_is_replaced_under_running_rings) {
  for (const uint64_t packed : {uint64_t{0}, kPacked}) {
    Rig rig;
    Guest guest;
    CHECK(rig.meet(guest, kPlain | packed));
    for (uint32_t lap = 0; lap < 50; ++lap) {
      for (uint32_t i = 0; i < 5; ++i) guest.send_frame(kOut, frame_of(i, 60));
      guest.publish(kOut);
      CHECK_EQ(rig.receive(0, 2).size(), 2u);
      guest.share_memory();
      rig.settle();
      CHECK(!guest.hung_up());
      CHECK_EQ(rig.receive().size(), 3u);
      CHECK_EQ(guest.reclaim(kOut), 5u);
    }
    CHECK(rig.port->state() == PortState::up);
  }
}

TEST(who_waits_for_room_waits_for_a_ring_that_changes_and_not_for_one_that_goes) {
  Rig rig;
  {
    Guest guest;
    CHECK(rig.meet(guest, kPlain));
    guest.post(kIn);
    CHECK_EQ(rig.transmit({frame_of(1, 60)}), 1u);
    // The other queue keeps the kernel's thread waiting, and this one is stopped already.
    rig.receive();
    guest.share_memory();
    rig.attend();
    CHECK_EQ(rig.transmit({frame_of(1, 60)}), 0u);
    CHECK_EQ(rig.tx_record().dropped.get(), 0u);
    rig.settle();
    CHECK_EQ(rig.transmit({frame_of(1, 60)}), 1u);
    guest.send_state(11, kIn, 0);
    rig.settle();
    CHECK_EQ(rig.transmit({frame_of(1, 60)}), 1u);
    CHECK_EQ(rig.tx_record().dropped.get(), 1u);
  }
  rig.settle();
  CHECK_EQ(rig.transmit({frame_of(1, 60)}), 1u);
  CHECK_EQ(rig.tx_record().dropped.get(), 2u);
}

TEST(a_queue_that_its_shard_never_works_keeps_nobody_waiting) {
  Rig rig;
  Guest guest;
  CHECK(guest.dial(rig.path));
  guest.begin(kPlain);
  rig.attend();
  guest.share_memory();
  guest.send_state(11, kIn, 0);
  guest.send_state(11, kOut, 0);
  rig.attend();
  CHECK(guest.answer());
  CHECK(guest.answer());
}

TEST(a_ring_that_is_disabled_rests) {
  Rig rig;
  Guest guest;
  CHECK(rig.meet(guest, kPlain));
  guest.send_frame(kOut, frame_of(1, 60));
  guest.publish(kOut);
  guest.send_state(18, kOut, 0);
  rig.settle();
  CHECK_EQ(rig.receive().size(), 0u);
  guest.send_state(18, kOut, 1);
  rig.settle();
  CHECK_EQ(rig.receive().size(), 1u);
  // Without the protocol's features there is no such message, and rings work from their kick on.
  Rig other;
  Guest old;
  CHECK(other.meet(old, bits({32})));
  old.send_frame(kOut, frame_of(1, 60));
  old.publish(kOut);
  CHECK_EQ(other.receive().size(), 1u);
}

TEST(a_driver_that_comes_back_finds_everything_new) {
  Rig rig;
  const int before = open_descriptors();
  for (uint32_t life = 0; life < 5; ++life) {
    {
      Guest guest;
      CHECK(rig.meet(guest, kPlain | (life % 2 == 0 ? kPacked : 0)));
      CHECK(rig.port->state() == PortState::up);
      guest.send_frame(kOut, frame_of(life, 60));
      guest.publish(kOut);
      CHECK_EQ(rig.receive().size(), 1u);
      guest.post(kIn);
      CHECK_EQ(rig.transmit({frame_of(1, 60)}), 1u);
      CHECK(guest.receive(kIn).has_value());
    }
    rig.settle();
    CHECK(rig.port->state() == PortState::down);
    CHECK(rig.port->error().find("gone") != std::string::npos);
    CHECK_EQ(rig.port_record.downs.get(), life + 1);
    CHECK_EQ(open_descriptors(), before);
  }
  CHECK_EQ(rig.port_record.errors.get(), 0u);
}

TEST(a_second_peer_waits_for_the_first_to_go) {
  Rig rig;
  Guest second;
  {
    Guest first;
    CHECK(rig.meet(first, kPlain));
    CHECK(second.dial(rig.path));
    second.send(1, nullptr, 0);
    rig.settle();
    CHECK(!second.answer());
  }
  rig.settle();
  CHECK(second.answer());
}

TEST(each_pair_of_queues_is_a_shards) {
  for (const uint64_t packed : {uint64_t{0}, kPacked}) {
    Rig rig(2);
    Guest guest(4);
    CHECK(rig.meet(guest, kPlain | packed | bits({22})));
    guest.send_frame(1, frame_of(1, 60));
    guest.send_frame(3, frame_of(3, 60));
    guest.publish(1);
    guest.publish(3);
    CHECK(rig.receive(1).at(0) == frame_of(3, 60));
    CHECK(rig.receive(0).at(0) == frame_of(1, 60));
    guest.post(0);
    guest.post(2);
    rig.transmit({frame_of(7, 60)}, 1);
    CHECK(!guest.receive(0));
    CHECK(guest.receive(2).has_value());
  }
}

TEST(a_pool_that_is_dry_is_counted_and_asked_again) {
  Rig rig;
  Guest guest;
  CHECK(rig.meet(guest, kPlain));
  uint32_t ids[Rig::kBuffers];
  CHECK_EQ(rig.pools[0]->take(ids, Rig::kBuffers), Rig::kBuffers);
  guest.send_frame(kOut, frame_of(1, 60));
  guest.publish(kOut);
  for (int i = 0; i < 3; ++i) {
    CHECK_EQ(rig.receive().size(), 0u);
    const uint64_t ns = rig.port->rx(0).sleep_ns_max();
    CHECK(ns != 0 && ns < 1'000'000);
  }
  CHECK_EQ(rig.rx_record().no_buffer.get(), 1u);
  rig.pools[0]->give(ids, Rig::kBuffers);
  CHECK_EQ(rig.receive().size(), 1u);
}

TEST(the_mtu_that_a_driver_says_bounds_what_it_gets) {
  Rig rig;
  Guest guest;
  CHECK(guest.dial(rig.path));
  guest.send_u64(20, 1000);
  CHECK(!guest.hung_up());
  guest.begin(kPlain | bits({3}));
  rig.settle();
  guest.post(kIn);
  CHECK_EQ(rig.transmit({frame_of(1, 1018), frame_of(2, 1019)}), 2u);
  CHECK_EQ(rig.tx_record().oversize.get(), 1u);
}

// ---- a peer that says what cannot be

namespace {

struct Wrong {
  const char* text;  // in the port's error
  std::function<void(Guest&)> say;
};

void table(Guest& guest, std::vector<uint64_t> regions, uint32_t count, std::vector<int> fds,
           int trim = 0) {
  std::vector<uint64_t> all{count};
  all.insert(all.end(), regions.begin(), regions.end());
  guest.send(5, all.data(), static_cast<uint32_t>(static_cast<int>(all.size() * 8) + trim), fds);
}
constexpr uint64_t kMiB = 1 << 20;

void place(Guest& guest, uint64_t descriptors, uint64_t device, uint64_t driver) {
  guest.make_ring(kOut);
  const uint64_t place[5] = {kOut, descriptors, device, driver, 0};
  guest.send_state(8, kOut, 64);
  guest.send_state(10, kOut, guest.queues[kOut].base);
  guest.send(9, place, sizeof place);
  guest.send_u64(12, kOut, {guest.queues[kOut].kick.get()});
  guest.send_state(18, kOut, 1);
}

}  // namespace

TEST(a_message_that_cannot_be_ends_the_connection_and_nothing_else) {
  const Fd disk(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  const Fd in(ends[0]), out(ends[1]);
  const uint64_t user = Guest::kUser;
  const Wrong cases[] = {
      {"no message", [](Guest& g) { g.send(1, nullptr, 0, {}, 2); }},
      {"no message",
       [](Guest& g) {
         g.send_raw({1, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0});
       }},
      {"answer that nobody", [](Guest& g) { g.send(1, nullptr, 0, {}, 5); }},
      {"message 1 has 8 bytes", [](Guest& g) { g.send_u64(1, 0); }},
      {"message 2 has 0 bytes", [](Guest& g) { g.send(2, nullptr, 0); }},
      {"message 3 has 1 descriptors", [&](Guest& g) { g.send(3, nullptr, 0, {in.get()}); }},
      {"no message", [&](Guest& g) { g.send(3, nullptr, 0, std::vector<int>(9, in.get())); }},
      {"message 0 is none", [](Guest& g) { g.send(0, nullptr, 0); }},
      {"message 6 is none", [](Guest& g) { g.send_u64(6, 0); }},
      {"message 99 is none", [](Guest& g) { g.send(99, nullptr, 0); }},
      {"features that were not offered", [](Guest& g) { g.send_u64(2, kPlain | bits({28})); }},
      {"older than VIRTIO 1.0", [](Guest& g) { g.send_u64(2, bits({30})); }},
      {"of the protocol that were not offered", [](Guest& g) { g.send_u64(16, bits({9})); }},
      {"MTU is 67", [](Guest& g) { g.send_u64(20, 67); }},
      {"MTU is 65536", [](Guest& g) { g.send_u64(20, 65536); }},
      {"queue 2 of 2", [](Guest& g) { g.send_state(8, 2, 64); }},
      {"queue 4294967295", [](Guest& g) { g.send_state(11, 0xffffffff, 0); }},
      {"queue 255", [&](Guest& g) { g.send_u64(12, 255, {g.queues[0].kick.get()}); }},
      {"1 descriptors", [](Guest& g) { g.send_state(8, 0, 1); }},
      {"32769 descriptors", [](Guest& g) { g.send_state(8, 0, 32769); }},
      {"neither on nor off", [](Guest& g) { g.send_state(18, 0, 2); }},
      {"has 0 descriptors, not 1", [](Guest& g) { g.send_u64(12, 0); }},
      {"has 1 descriptors, not 0", [](Guest& g) { g.send_u64(13, 256, {g.file.get()}); }},
      {"no eventfd", [](Guest& g) { g.send_u64(13, 0, {g.file.get()}); }},
      {"no eventfd", [&](Guest& g) { g.send_u64(12, 0, {in.get()}); }},
      {"no eventfd", [&](Guest& g) { g.send_u64(14, 0, {out.get()}); }},
      {"0 regions", [](Guest& g) { table(g, {}, 0, {}); }},
      {"memory table has 296 bytes",
       [](Guest& g) { table(g, std::vector<uint64_t>(36), 9, std::vector<int>(8, g.file.get())); }},
      {"has 40 bytes, not 72",
       [](Guest& g) {
         table(g, {0, kMiB, 0, 0}, 2, {g.file.get(), g.file.get()});
       }},
      {"has 39 bytes",
       [](Guest& g) {
         table(g, {0, kMiB, 0, 0}, 1, {g.file.get()}, -1);
       }},
      {"memory table has 4 bytes", [](Guest& g) { table(g, {}, 1, {}, -4); }},
      {"has 0 descriptors, not 1",
       [](Guest& g) {
         table(g, {0, kMiB, 0, 0}, 1, {});
       }},
      {"region 0 has 0 bytes",
       [](Guest& g) {
         table(g, {0, 0, 0, 0}, 1, {g.file.get()});
       }},
      {"behind the last address",
       [](Guest& g) {
         table(g, {~0ull, kMiB, 0, 0}, 1, {g.file.get()});
       }},
      {"behind the last address",
       [](Guest& g) {
         table(g, {0, kMiB, ~0ull - 5, 0}, 1, {g.file.get()});
       }},
      {"behind the last address",
       [](Guest& g) {
         table(g, {0, kMiB, 0, ~0ull}, 1, {g.file.get()});
       }},
      {"behind its file",
       [](Guest& g) {
         table(g, {0, 9 * kMiB, 0, 0}, 1, {g.file.get()});
       }},
      {"behind its file",
       [](Guest& g) {
         table(g, {0, kMiB, 0, 8 * kMiB}, 1, {g.file.get()});
       }},
      {"across region 0",
       [](Guest& g) {
         table(g, {0, kMiB, 0, 0, kMiB - 1, kMiB, kMiB, 0}, 2, {g.file.get(), g.file.get()});
       }},
      {"across region 0",
       [](Guest& g) {
         table(g, {0, kMiB, 0, 0, kMiB, kMiB, kMiB - 1, 0}, 2, {g.file.get(), g.file.get()});
       }},
      {"is no memory",
       [&](Guest& g) {
         table(g, {0, 4096, 0, 0}, 1, {disk.get()});
       }},
      {"is no memory",
       [&](Guest& g) {
         table(g, {0, 4096, 0, 0}, 1, {in.get()});
       }},
      {"has 549755813889 bytes",
       [](Guest& g) {
         table(g, {0, 549755813889, 0, 0}, 1, {g.file.get()});
       }},
      {"ring 1 does not lie", [=](Guest& g) { place(g, user - 16, user, user); }},
      {"ring 1 does not lie", [=](Guest& g) { place(g, user + 8, user, user); }},
      {"ring 1 does not lie", [=](Guest& g) { place(g, user, user + 2, user); }},
      {"ring 1 does not lie", [=](Guest& g) { place(g, user, user, user + 1); }},
      {"ring 1 does not lie", [=](Guest& g) { place(g, user + 8 * kMiB - 1008, user, user); }},
      {"ring 1 does not lie", [=](Guest& g) { place(g, user, user + 8 * kMiB - 512, user); }},
      {"ring 1 does not lie", [=](Guest& g) { place(g, user, user, user + 8 * kMiB - 128); }},
      {"ring 1 does not lie", [](Guest& g) { place(g, Guest::kGuest, 0, 0); }},
  };
  Rig rig;
  const int before = open_descriptors();
  uint64_t errors = 0;
  for (const Wrong& wrong : cases) {
    {
      Guest guest;
      CHECK(guest.dial(rig.path));
      guest.features = kPlain;
      guest.send_u64(2, kPlain);
      guest.share_memory();
      rig.settle();
      CHECK(!guest.hung_up());
      wrong.say(guest);
      rig.settle();
      if (!guest.hung_up() || rig.port->error().find(wrong.text) == std::string::npos)
        check::fail(__FILE__, __LINE__,
                    std::string("wanted ") + wrong.text + ", got " + rig.port->error());
    }
    rig.settle();
    CHECK_EQ(rig.port_record.errors.get(), ++errors);
  }
  CHECK_EQ(open_descriptors(), before);
  Guest honest;
  CHECK(rig.meet(honest, kPlain));
  CHECK(rig.port->state() == PortState::up);
}

TEST(a_failure_is_told_to_who_asked_to_hear) {
  Rig rig;
  Guest guest;
  CHECK(guest.dial(rig.path));
  guest.send_u64(16, bits({3}));
  guest.send_u64(2, bits({30}), {}, 1 | 8);
  rig.settle();
  CHECK_EQ(*guest.answer_u64(), 1u);
  CHECK(guest.hung_up());
}

TEST(other_features_are_refused_while_rings_are_in_use) {
  Rig rig;
  Guest guest;
  CHECK(rig.meet(guest, kPlain));
  guest.send_u64(2, kPlain);
  rig.settle();
  CHECK(!guest.hung_up());
  guest.send_u64(2, kPlain | kPacked);
  rig.settle();
  CHECK(guest.hung_up());
}

TEST(a_packed_ring_need_not_be_a_power_of_two_and_a_split_one_must) {
  Rig rig;
  Guest split(2, 64);
  CHECK(rig.meet(split, kPlain));
  split.send_state(8, kOut, 48);
  rig.settle();
  CHECK(split.hung_up());
  Rig other;
  Guest packed(2, 64);
  CHECK(other.meet(packed, kPlain | kPacked));
  packed.send_state(8, kOut, 48);
  other.settle();
  CHECK(!packed.hung_up());
}

// ---- a driver that writes what cannot be

TEST(a_lie_in_a_ring_ends_the_connection_and_nothing_else) {
  for (const uint64_t packed : {uint64_t{0}, kPacked}) {
    for (const uint32_t queue : {kIn, kOut}) {
      Rig rig;
      {
        Guest guest;
        CHECK(rig.meet(guest, kPlain | packed));
        uint8_t* const ring = guest.memory + guest.queues[queue].at;
        if (queue == kIn) guest.post(kIn);
        if (queue == kOut) guest.send_frame(kOut, frame_of(1, 60)), guest.publish(kOut);
        if (packed != 0) {
          const uint16_t flags = 1u << 7 | (queue == kOut ? 2 : 0);  // the wrong direction
          std::memcpy(ring + 14, &flags, 2);
        } else {
          const uint16_t index = 65;
          std::memcpy(ring + guest.queues[queue].layout.driver + 2, &index, 2);
        }
        if (queue == kOut) CHECK_EQ(rig.receive().size(), 0u);
        if (queue == kIn) CHECK_EQ(rig.transmit({frame_of(1, 60)}), 0u);
        CHECK_EQ((queue == kOut ? rig.rx_record() : rig.tx_record()).invalid.get(), 1u);
        rig.port->service();
        rig.settle();
        CHECK(guest.hung_up());
        CHECK(rig.port->error().find("wrote into a ring") != std::string::npos);
        CHECK_EQ(rig.port_record.errors.get(), 1u);
      }
      Guest honest;
      CHECK(rig.meet(honest, kPlain | packed));
      honest.send_frame(kOut, frame_of(1, 60));
      honest.publish(kOut);
      CHECK_EQ(rig.receive().size(), 1u);
    }
  }
}

TEST(an_address_outside_the_memory_is_a_lie) {
  for (const uint64_t address :
       {uint64_t{0}, Guest::kGuest - 1, Guest::kGuest + Guest::kMemoryBytes - 71, ~uint64_t{0},
        Guest::kUser}) {
    for (const uint64_t packed : {uint64_t{0}, kPacked}) {
      Rig rig;
      Guest guest;
      CHECK(rig.meet(guest, kPlain | packed));
      guest.send_frame(kOut, frame_of(1, 60));
      guest.with_ring(kOut, [&](auto& ring) {
        ring.add({address, 72, false}, 63);
        return ring.publish();
      });
      CHECK_EQ(rig.receive().size(), 1u);  // what came before is right
      CHECK_EQ(rig.rx_record().invalid.get(), 1u);
      CHECK_EQ(rig.pools[0]->missing(), 0u);
      guest.with_ring(kIn, [&](auto& ring) {
        ring.add({address, 72, true}, 63);
        return ring.publish();
      });
      CHECK_EQ(rig.transmit({frame_of(1, 60)}), 0u);
      CHECK_EQ(rig.tx_record().invalid.get(), 1u);
    }
  }
}

TEST(a_buffer_that_lies_across_two_regions_is_refused) {
  Rig rig;
  Guest guest;
  CHECK(guest.dial(rig.path));
  guest.features = kPlain;
  guest.send_u64(2, kPlain);
  // The same file, in two halves that lie side by side.
  table(guest,
        {Guest::kGuest, 4 * kMiB, Guest::kUser, 0, Guest::kGuest + 4 * kMiB, 4 * kMiB,
         Guest::kUser + 4 * kMiB, 4 * kMiB},
        2, {guest.file.get(), guest.file.get()});
  for (uint32_t i = 0; i < 2; ++i) {
    guest.make_ring(i);
    guest.tell_of_ring(i);
  }
  rig.settle();
  const auto send_from = [&](uint64_t offset) {
    guest.with_ring(kOut, [&](auto& ring) {
      ring.add({Guest::kGuest + offset, 72, false}, 63);
      return ring.publish();
    });
    return rig.receive().size();
  };
  CHECK_EQ(send_from(4 * kMiB - 72), 1u);
  CHECK_EQ(send_from(4 * kMiB), 1u);
  CHECK_EQ(send_from(4 * kMiB - 71), 0u);
  CHECK_EQ(rig.rx_record().invalid.get(), 1u);
}

TEST(memory_that_is_taken_away_costs_the_connection) {
  for (const uint64_t packed : {uint64_t{0}, kPacked}) {
    Rig rig;
    {
      Guest guest;
      CHECK(rig.meet(guest, kPlain | packed));
      guest.post(kIn);
      guest.send_frame(kOut, frame_of(1, 60));
      guest.publish(kOut);
      CHECK(ftruncate(guest.file.get(), 0) == 0);
      rig.receive();
      rig.transmit({frame_of(1, 60)});
      rig.port->service();
      rig.settle();
      CHECK(guest.hung_up());
    }
    Guest honest;
    CHECK(rig.meet(honest, kPlain | packed));
  }
}

// The shard would wait for ever in its write.
TEST(a_call_that_is_full_costs_the_connection) {
  Rig rig;
  Guest guest;
  guest.queues[kOut].call = Fd(eventfd(0, 0));  // one that waits
  CHECK(rig.meet(guest, kPlain));
  const uint64_t most = UINT64_MAX - 1;
  drained(guest.queues[kOut].call.get());
  CHECK(write(guest.queues[kOut].call.get(), &most, sizeof most) == sizeof most);
  CHECK(guest.with_ring(kOut, [](auto& ring) { return ring.arm(); }));
  guest.send_frame(kOut, frame_of(1, 60));
  guest.publish(kOut);
  std::atomic<bool> back{false};
  std::thread shard([&] {
    rig.receive();
    back.store(true);
    rig.receive();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(!back.load());
  rig.port->service();
  shard.join();
  rig.settle();
  CHECK(guest.hung_up());
  CHECK(rig.port->error().find("filled the eventfd") != std::string::npos);
}

// ---- sockets

TEST(a_client_looks_for_who_listens_and_looks_again) {
  Rig rig(1, false);
  CHECK(rig.port->error().find("no socket") != std::string::npos);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, rig.path.c_str(), sizeof address.sun_path - 1);
  const Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(listen(listener.get(), 1) == 0);
  for (int life = 0; life < 2; ++life) {
    Guest guest;
    for (int i = 0; i < 300 && !readable(listener.get()); ++i) {
      rig.port->service();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    guest.socket = Fd(accept(listener.get(), nullptr, nullptr));
    guest.begin(kPlain);
    rig.settle();
    CHECK(rig.port->state() == PortState::up);
    guest.send_frame(kOut, frame_of(1, 60));
    guest.publish(kOut);
    CHECK_EQ(rig.receive().size(), 1u);
    guest.socket.reset();
    rig.settle();
    CHECK(rig.port->state() == PortState::down);
  }
  unlink(rig.path.c_str());
}

TEST(the_socket_is_the_owners_alone_and_goes_with_the_port) {
  std::string path;
  {
    Rig rig;
    path = rig.path;
    struct stat file;
    CHECK(stat(path.c_str(), &file) == 0 && S_ISSOCK(file.st_mode));
    CHECK_EQ(file.st_mode & 0777u, 0600u);
  }
  CHECK(access(path.c_str(), F_OK) != 0);
}
