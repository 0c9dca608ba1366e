// A hostile virtio device against the driver's rings, its receive, transmit and control queues, and
// its negotiation: whatever a device may write (rings, ids, lengths, event words, headers, answers,
// configuration) is damaged, between two looks of the driver, in every batch. Anything but a
// counter and a reset is a defect: a sanitizer's word, a buffer that is lost or there twice, a
// packet that does not lie in its buffer.
//   virtio_fuzz CORPUS-FOLDER(unused) [inputs] [seed]      an input is 200 batches
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "../native/virtio_nic_model.hpp"
#include "packet/checksum.hpp"
#include "platform/error.hpp"
#include "port/virtio_net/control_queue.hpp"
#include "port/virtio_net/net_queue.hpp"
#include "port/virtio_net/virtio_net_port.hpp"

using namespace vanity;
using namespace vanity::virtio_net;

namespace {

constexpr uint32_t kBatchesPerInput = 200;
constexpr uint32_t kBatchesPerWorld = 4000;

[[noreturn]] void defect(const char* what) {
  std::fprintf(stderr, "defect: %s\n", what);
  std::abort();
}

struct Random {
  uint64_t state;
  uint32_t operator()() noexcept {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<uint32_t>(state >> 16);
  }
  uint32_t below(uint32_t n) noexcept { return (*this)() % n; }
  bool one_in(uint32_t n) noexcept { return below(n) == 0; }
};

struct Totals {
  uint64_t batches = 0, received = 0, sent = 0, lies = 0, commands = 0, devices = 0, refused = 0;
};

// A block of its own, so that the sanitizer sees the first byte beyond it.
struct Block {
  explicit Block(uint32_t size)
      : data(static_cast<uint8_t*>(std::aligned_alloc(128, (size + 127) / 128 * 128))),
        bytes((size + 127) / 128 * 128) {
    std::memset(data, 0, bytes);
  }
  ~Block() { std::free(data); }
  Block(const Block&) = delete;
  uint8_t* data;
  uint32_t bytes;

  void scribble(Random& random, uint32_t first, uint32_t size) {
    const uint32_t at = first + random.below(size);
    switch (random.below(4)) {
      case 0:
        data[at] = static_cast<uint8_t>(random());
        break;
      case 1:
        data[at] ^= static_cast<uint8_t>(1u << random.below(8));
        break;
      case 2:
        ++data[at];
        break;
      default:
        for (uint32_t i = at; i < std::min(at + 8, first + size); ++i)
          data[i] = static_cast<uint8_t>(random.one_in(2) ? 0xff : random());
    }
  }
};

// What both sides of a ring see, and the device's idea of where it is. Everything that it reads may
// have been damaged by itself, so it looks where it writes.
template <class Ring>
struct Device {
  struct Taken {
    uint16_t id;
    uint16_t length;  // descriptors
    uint64_t address;
    uint32_t bytes;
  };

  explicit Device(uint16_t ring_size)
      : size(ring_size),
        layout(virtio::RingLayout::of(Ring::kPacked, ring_size)),
        block(layout.bytes) {}

  void restart() {
    std::memset(block.data, 0, block.bytes);
    taken.clear();
    seen = used = 0;
    seen_wrap = used_wrap = true;
  }
  template <class T>
  T read(uint32_t at) const {
    T value;
    std::memcpy(&value, block.data + at, sizeof value);
    return value;
  }
  template <class T>
  void write(uint32_t at, T value) {
    std::memcpy(block.data + at, &value, sizeof value);
  }
  Taken describe(uint16_t index) const {
    const uint32_t at = layout.descriptors + 16u * index;
    return {index, 1, read<uint64_t>(at), read<uint32_t>(at + 8)};
  }

  void take() {
    if constexpr (Ring::kPacked) {
      for (uint32_t i = 0; i < size; ++i) {
        const uint16_t flags = read<uint16_t>(16 * seen + 14);
        if (((flags & 0x80) != 0) != seen_wrap || ((flags & 0x8000) != 0) == seen_wrap) return;
        const bool joined = i != 0 && joins;
        joins = (flags & 1) != 0;
        if (joined && !taken.empty()) {
          ++taken.back().length;
          taken.back().id = read<uint16_t>(16 * seen + 12);
        } else {
          taken.push_back(describe(seen));
          taken.back().id = read<uint16_t>(16 * seen + 12);
        }
        forward(seen, seen_wrap, 1);
      }
    } else {
      const uint16_t index = read<uint16_t>(layout.driver + 2);
      for (uint32_t i = 0; i < size && seen != index; ++i, ++seen) {
        const uint16_t id = read<uint16_t>(layout.driver + 4 + 2 * (seen % size));
        if (id < size) taken.push_back(describe(id));
      }
      seen = index;
    }
    if (taken.size() > 4u * size) taken.clear();
  }
  void forward(uint16_t& at, bool& wrap, uint32_t n) const {
    const uint32_t sum = at + n;
    at = static_cast<uint16_t>(sum % size);
    if (sum >= size) wrap = !wrap;
  }
  void give(const Taken& done, uint32_t id, uint32_t bytes) {
    if constexpr (Ring::kPacked) {
      write<uint32_t>(16 * used + 8, bytes);
      write<uint16_t>(16 * used + 12, static_cast<uint16_t>(id));
      write<uint16_t>(16 * used + 14, used_wrap ? 0x8080 : 0);
      forward(used, used_wrap, done.length);
    } else {
      write<uint32_t>(layout.device + 4 + 8 * (used % size), id);
      write<uint32_t>(layout.device + 8 + 8 * (used % size), bytes);
      ++used;
    }
  }
  void show() {
    if constexpr (!Ring::kPacked) write<uint16_t>(layout.device + 2, used);
  }

  // Where only hints stand: no damage there ends anything.
  void scribble_hints(Random& random) {
    if constexpr (Ring::kPacked) {
      block.scribble(random, layout.device, 4);
    } else if (random.one_in(2)) {
      block.scribble(random, layout.device, 2);
    } else {
      block.scribble(random, layout.device + 4 + 8 * size, 2);
    }
  }
  void scribble_anywhere(Random& random) {
    if constexpr (!Ring::kPacked) {
      if (random.one_in(3))
        return write<uint16_t>(layout.device + 2,
                               random.one_in(2)
                                   ? static_cast<uint16_t>(random())
                                   : static_cast<uint16_t>(used + random.below(2 * size)));
    }
    block.scribble(random, 0, layout.bytes);
  }

  uint16_t size;
  virtio::RingLayout layout;
  Block block;
  std::vector<Taken> taken;
  uint16_t seen = 0, used = 0;
  bool seen_wrap = true, used_wrap = true, joins = false;
};

template <class Ring>
class World {
 public:
  World(Random& random, Totals& totals)
      : random_(random),
        totals_(totals),
        mergeable_(random.one_in(2)),
        features_{random.one_in(2), random.one_in(2)},
        agreed_{features_, mergeable_, random.one_in(2), random.one_in(2), 200},
        pool_memory_(static_cast<uint32_t>(Pool::memory_bytes(kBuffers, kBufferBytes))),
        pool_(0, kBuffers, kBufferBytes, pool_memory_.data),
        address_(reinterpret_cast<uint64_t>(pool_memory_.data)),
        rx_device_(static_cast<uint16_t>(8u << random.below(4))),
        tx_device_(static_cast<uint16_t>(8u << random.below(4))),
        line_(&vector_record_),
        rx_(&rx_record_, {0, rx_device_.size, 3, kBufferBytes, 0, true, &map_, std::nullopt}),
        tx_(&tx_record_,
            {1, tx_device_.size, reinterpret_cast<uint64_t>(pool_memory_.data), &map_}),
        control_block_(virtio::RingLayout::of(Ring::kPacked, ControlQueue::kSize).bytes +
                       ControlQueue::kScratchBytes) {
    map_.add(pool_, &address_, 63);
    table_.add(pool_);
    rx_.set_line(&line_);
    renew_rx();
    renew_tx();
  }

  void run(uint32_t batches) {
    for (uint32_t i = 0; i < batches; ++i) {
      ++totals_.batches;
      const uint32_t which = random_.below(16);
      if (which < 8) {
        receive();
      } else if (which < 15) {
        transmit();
      } else {
        command();
      }
      if (random_.one_in(1000)) drain(false);
    }
    drain(true);
  }

 private:
  static constexpr uint32_t kBuffers = 96;
  static constexpr uint32_t kBufferBytes = 256;
  enum class Owner : uint8_t { pool_or_device, here, sender };

  void renew_rx() {
    rx_device_.restart();
    rx_.renew(reinterpret_cast<std::byte*>(rx_device_.block.data), quiet(), agreed_);
    rx_.tenure.revive();
  }
  void renew_tx() {
    tx_device_.restart();
    tx_.renew(reinterpret_cast<std::byte*>(tx_device_.block.data), quiet(), agreed_);
    tx_.tenure.revive();
  }
  static virtio::Notifier quiet() {
    return {[](void*, uint32_t) noexcept {}, nullptr};
  }
  // Null as well for a buffer that is sent: how many own a shared one stands in it
  // (vanity_packet_meta), and a device that may write there can miscount them.
  uint8_t* in_pool(uint64_t address, uint32_t bytes) {
    const uint64_t offset = address - address_;
    const uint64_t end = uint64_t{kBuffers} * pool_.stride();
    if (offset >= end || bytes > end - offset) return nullptr;
    for (const uint64_t at : {offset, offset + bytes - 1})
      if (owner_[at / pool_.stride()] == Owner::sender) return nullptr;
    return pool_memory_.data + offset;
  }

  // Both queues' device: most of it is as it should be, or nothing deep would be reached.
  void act(Device<Ring>& device, bool in) {
    device.take();
    for (uint32_t n = random_.below(12); n != 0 && !device.taken.empty(); --n) {
      const size_t at = random_.one_in(3) ? random_.below(uint32_t(device.taken.size())) : 0;
      const auto done = device.taken[at];
      device.taken.erase(device.taken.begin() + long(at));
      uint32_t id = done.id, bytes = 0;
      if (in) {
        bytes = 12 + 14 + random_.below(done.bytes > 40 ? std::min(done.bytes, 4096u) - 26 : 1);
        if (uint8_t* const header = in_pool(done.address, 12)) {
          std::memset(header, 0, 12);
          header[10] = 1;
          if (random_.one_in(4)) header[random_.below(12)] = static_cast<uint8_t>(random_());
          if (random_.one_in(3)) header[0] = 1, header[6] = 34, header[8] = 16;
          if (mergeable_ && random_.one_in(4)) header[10] = static_cast<uint8_t>(random_.below(5));
        }
      }
      if (random_.one_in(300)) id = random_.one_in(2) ? random_() : random_.below(2 * device.size);
      if (random_.one_in(300)) bytes = random_.one_in(2) ? random_() : random_.below(kBufferBytes);
      device.give(done, id, bytes);
    }
    device.show();
    // In every batch something that is its own to write.
    device.scribble_hints(random_);
    const uint32_t first = random_.below(kBuffers) * pool_.stride();
    if (in && in_pool(address_ + first, 1) != nullptr)
      pool_memory_.scribble(random_, first, pool_.stride());
    if (random_.one_in(60)) device.scribble_anywhere(random_);
  }

  void hold(const vanity_packet& packet) {
    Owner& owner = owner_[index(packet)];
    if (owner != Owner::pool_or_device) defect("a buffer was received that somebody has");
    owner = Owner::here;
    held_.push_back(packet);
  }
  uint32_t index(const vanity_packet& packet) const {
    const uint32_t at = packet.buffer & kPoolIndexMask;
    if (packet.buffer >> kPoolShift != 0 || at >= kBuffers) defect("a buffer of no pool");
    return at;
  }

  void receive() {
    act(rx_device_, true);
    const uint32_t got = take_in();
    if (got == 0 && random_.one_in(2)) rx_.sleep_ns_max();
    while (held_.size() > 24 || (!held_.empty() && random_.one_in(8))) {
      give_back(held_.back());
      held_.pop_back();
    }
    if (rx_.tenure.trouble()) {
      ++totals_.lies;
      rx_.tenure.release();
      take_in();
      if (!rx_.tenure.drained()) defect("a queue keeps what it has");
      renew_rx();
    }
  }
  uint32_t take_in() {
    vanity_packet packets[32];
    const uint32_t got = rx_.receive(pool_, packets, 1 + random_.below(32));
    for (uint32_t i = 0; i < got; ++i) {
      const vanity_packet& packet = packets[i];
      if (packet.offset != kRxFrameOffset || packet.length < kEthernetHeader ||
          packet.length > kBufferBytes - kRxFrameOffset || packet.port != 3)
        defect("a packet does not lie in its buffer");
      if ((packet.flags & ~(VANITY_PACKET_CHECKSUM_PARTIAL | VANITY_PACKET_CHECKSUM_VALID)) != 0)
        defect("a packet has a flag that no device gives");
      if ((packet.flags & VANITY_PACKET_CHECKSUM_PARTIAL) != 0) {
        vanity_packet_offload offload;
        std::memcpy(&offload, table_.buffer(packet.buffer) + VANITY_OFFLOAD_OFFSET, 4);
        if (!checksum_due(packet, offload)) defect("a checksum outside its frame");
      }
      hold(packet);
    }
    totals_.received += got;
    return got;
  }
  void give_back(const vanity_packet& packet) {
    owner_[index(packet)] = Owner::pool_or_device;
    pool_.give(&packet, 1);
  }

  void transmit() {
    act(tx_device_, false);
    complete();
    std::vector<vanity_packet> out;
    for (uint32_t n = random_.below(16); n != 0 && !held_.empty(); --n) {
      out.push_back(held_.back());
      held_.pop_back();
    }
    for (vanity_packet& packet : out) {
      packet.flags &= VANITY_PACKET_CHECKSUM_PARTIAL;
      if (packet.flags == 0 && random_.one_in(5)) table_.share(packet, 1);
      if (random_.one_in(10)) packet.offset = static_cast<uint16_t>(random_.below(20));
      if (random_.one_in(20))
        packet.length = static_cast<uint16_t>(random_.below(kBufferBytes - packet.offset));
    }
    const uint32_t count = static_cast<uint32_t>(out.size());
    const uint32_t sent = tx_.transmit(table_, out.data(), count);
    if (sent > count) defect("more was sent than there was");
    for (uint32_t i = 0; i < count; ++i) {
      if (i < sent) {
        owner_[index(out[i])] = Owner::sender;
        flags_[index(out[i])] = out[i].flags;
      } else {
        give_back(out[i]);
      }
    }
    totals_.sent += sent;
    if (tx_.tenure.trouble()) {
      ++totals_.lies;
      tx_.tenure.release();
      while (!tx_.tenure.drained()) complete();
      renew_tx();
    }
  }
  void complete() {
    vanity_packet packets[16];
    tx_.flush();
    const uint32_t got = tx_.completed(packets, 1 + random_.below(16));
    for (uint32_t i = 0; i < got; ++i) {
      if (owner_[index(packets[i])] != Owner::sender)
        defect("a buffer came back that was not sent");
      if (packets[i].flags != flags_[index(packets[i])])
        defect("a packet came back with other flags");
      if (!table_.release(packets[i])) defect("a shared buffer lost count of its owners");
      give_back(packets[i]);
    }
  }

  // Everything home: that none is lost and none is there twice can be counted then.
  void drain(bool last) {
    rx_.tenure.stop();
    tx_.tenure.stop();
    take_in();
    complete();
    rx_.tenure.release();
    tx_.tenure.release();
    while (!rx_.tenure.drained()) take_in();  // what had come by then is received
    while (!tx_.tenure.drained()) complete();
    for (const vanity_packet& each : held_) give_back(each);
    held_.clear();
    if (pool_.missing() != 0) defect("a buffer is lost, or home twice");
    uint32_t ids[kBuffers];
    if (pool_.take(ids, kBuffers) != kBuffers) defect("a pool that is short");
    bool there[kBuffers] = {};
    for (const uint32_t id : ids) {
      if ((id & kPoolIndexMask) >= kBuffers || there[id & kPoolIndexMask])
        defect("a buffer is home twice");
      there[id & kPoolIndexMask] = true;
    }
    pool_.give(ids, kBuffers);
    if (last) return;
    renew_rx();
    renew_tx();
  }

  // The device answers at once, with nonsense now and then, or never.
  void command() {
    if (!control_) {
      std::memset(control_block_.data, 0, control_block_.bytes);
      control_device_.emplace(ControlQueue::kSize);
      control_ = std::make_unique<ControlRing<Ring>>(
          uint16_t{2}, ControlQueue::kSize,
          virtio::SharedMemory{reinterpret_cast<std::byte*>(control_block_.data),
                               reinterpret_cast<uint64_t>(control_block_.data)},
          features_,
          virtio::Notifier{
              [](void* world, uint32_t) noexcept { static_cast<World*>(world)->answer(); }, this},
          0);
    }
    ++totals_.commands;
    const uint16_t pairs = 2;
    if (control_->send(kSetPairs, &pairs, sizeof pairs) == Answer::none) control_.reset();
  }
  void answer() noexcept {
    // The device's own view lies in another block: copied to and fro.
    Device<Ring>& device = *control_device_;
    const uint32_t bytes = device.layout.bytes;
    std::memcpy(device.block.data, control_block_.data, bytes);
    const uint16_t wanted = device.seen;
    device.take();
    if (device.taken.empty() && wanted == device.seen) return;
    for (const auto& done : device.taken) {
      if (random_.one_in(30)) continue;
      auto one = done;
      if constexpr (!Ring::kPacked) one.length = 1;
      device.give(one, random_.one_in(30) ? random_() : done.id, random_());
    }
    device.taken.clear();
    device.show();
    control_block_.data[bytes + 64] = static_cast<uint8_t>(random_.below(3));
    device.scribble_hints(random_);
    if (random_.one_in(20)) device.scribble_anywhere(random_);
    std::memcpy(control_block_.data, device.block.data, bytes);
  }

  Random& random_;
  Totals& totals_;
  bool mergeable_;
  virtio::RingFeatures features_;
  Agreed agreed_;
  Block pool_memory_;
  Pool pool_;
  uint64_t address_;
  BufferMap map_;
  PoolTable table_;
  Device<Ring> rx_device_, tx_device_;
  QueueRecord rx_record_{}, tx_record_{};
  VectorRecord vector_record_{};
  IrqLine line_;
  NetRx<Ring> rx_;
  NetTx<Ring> tx_;
  std::vector<vanity_packet> held_;
  Owner owner_[kBuffers] = {};
  uint16_t flags_[kBuffers] = {};  // of what the sender has
  Block control_block_;
  std::optional<Device<Ring>> control_device_;
  std::unique_ptr<ControlQueue> control_;
};

// What a device says of itself, before and while it runs.
void negotiate(Random& random, Totals& totals) {
  model::Nic nic;
  nic.offered = random() | uint64_t{random()} << 32;
  nic.offered |= random.one_in(8) ? 0 : 1ull << 32 | 1ull << 33;
  for (uint8_t& byte : nic.config) byte = static_cast<uint8_t>(random.one_in(2) ? 0 : random());
  if (random.one_in(2))
    nic.config[8] = static_cast<uint8_t>(1 + random.below(4)), nic.config[9] = 0;
  nic.queue_size = static_cast<uint16_t>(random.one_in(3) ? random() : 1u << random.below(16));
  nic.vectors = random.below(6);
  nic.obeys = !random.one_in(10);
  nic.agrees = !random.one_in(10);
  nic.works = !random.one_in(10);
  PortRecord port_record{};
  QueueRecord queue_records[4]{};
  PortRecords records{&port_record, {}, {}};
  PortOptions options;
  options.name = "fuzz";
  options.rx_queues = options.tx_queues = 1 + random.below(2);
  options.buffer_bytes = random.one_in(2) ? 256 : 2048;
  options.ring = 64u << random.below(3);
  options.packed = static_cast<PackedRings>(random.below(3));
  for (uint32_t i = 0; i < options.rx_queues; ++i) {
    records.rx.push_back(&queue_records[i]);
    records.tx.push_back(&queue_records[2 + i]);
  }
  Block memory(static_cast<uint32_t>(Pool::memory_bytes(64, options.buffer_bytes)));
  Pool pool(0, 64, options.buffer_bytes, memory.data);
  const uint64_t address = reinterpret_cast<uint64_t>(memory.data);
  BufferMap map;
  map.add(pool, &address, 63);
  try {
    const auto port =
        create_virtio_net_port(std::make_unique<model::NicTransport>(nic), map, options, records);
    port->irqs();
    port->start();
    ++totals.devices;
    vanity_packet packets[16];
    for (uint32_t i = 0; i < 20; ++i) {
      if (random.one_in(10)) nic.status = static_cast<uint8_t>(random());
      for (uint8_t& byte : nic.config)
        if (random.one_in(20)) byte = static_cast<uint8_t>(random());
      if (random.one_in(20)) nic.offered ^= 1ull << random.below(64);
      nic.deliver(model::Bytes(60 + random.below(200)));
      port->service();
      for (uint32_t queue = 0; queue < options.rx_queues; ++queue) {
        pool.give(packets, port->rx(queue).receive(pool, packets, 16));
        port->tx(queue).completed(packets, 16);
      }
    }
    nic.finishes_reset = true;
    port->close();
    for (uint32_t queue = 0; queue < options.rx_queues; ++queue)
      for (uint32_t got; (got = port->rx(queue).take_back(packets, 16)) != 0;)
        pool.give(packets, got);
    if (pool.missing() != 0) defect("a port keeps buffers");
  } catch (const Error&) {
    ++totals.refused;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t inputs = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 50'000;
  const uint64_t batches = inputs * kBatchesPerInput;
  Random random{argc > 3 ? std::strtoull(argv[3], nullptr, 10) * 0x9e3779b97f4a7c15 + 1
                         : 88172645463325252};
  Totals totals;
  while (totals.batches < batches) {
    const auto rest = std::min<uint64_t>(batches - totals.batches, kBatchesPerWorld);
    if (random.one_in(2)) {
      World<virtio::SplitRing>(random, totals).run(static_cast<uint32_t>(rest));
    } else {
      World<virtio::PackedRing>(random, totals).run(static_cast<uint32_t>(rest));
    }
    for (uint32_t i = 0; i < 4; ++i) negotiate(random, totals);
  }
  std::printf(
      "virtio: %llu mutated batches, %llu packets received, %llu sent, %llu commands, "
      "%llu queues reset for a lie; %llu devices driven, %llu refused\n",
      static_cast<unsigned long long>(totals.batches),
      static_cast<unsigned long long>(totals.received),
      static_cast<unsigned long long>(totals.sent),
      static_cast<unsigned long long>(totals.commands),
      static_cast<unsigned long long>(totals.lies), static_cast<unsigned long long>(totals.devices),
      static_cast<unsigned long long>(totals.refused));
  return totals.received != 0 && totals.sent != 0 && totals.lies != 0 ? 0 : 1;
}
