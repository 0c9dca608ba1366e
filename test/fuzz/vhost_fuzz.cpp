// A hostile front-end against the device's side of virtqueues: whatever a driver may write (rings,
// indexes, descriptors, event words, headers, frames) is damaged between two looks of the device,
// in every batch, and so is what a front-end says on its socket. Anything but a counter and an end
// of the connection is a defect: a sanitizer's word, a buffer that is lost or there twice, a packet
// that does not lie in its buffer, a byte outside the memory that was shared.
//   vhost_fuzz CORPUS-FOLDER(unused) [inputs] [seed]      an input is 200 batches
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "memory/pool.hpp"
#include "platform/error.hpp"
#include "port/vhost_user/queue.hpp"
#include "virtio/packed_ring.hpp"
#include "virtio/split_ring.hpp"

using namespace vanity;
using namespace vanity::vhost_user;

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
  uint64_t wide() noexcept { return uint64_t{(*this)()} << 32 | (*this)(); }
};

struct Totals {
  uint64_t batches = 0, received = 0, sent = 0, lies = 0, messages = 0, talks = 0, ran = 0,
           ended = 0;
};

void scribble(Random& random, uint8_t* data, uint32_t first, uint32_t size) {
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

// The driver's memory: two regions with a gap between them in its addresses, neighbours in one file
// and neither at the end of a page, so that the sanitizer sees the bytes around each.
class Shared {
 public:
  static constexpr uint64_t kGuest = 0x10'0000, kGap = 0x5000;
  static constexpr uint32_t kFirstBytes = 0x6000 - 96, kSecondBytes = 0x2000 - 32;
  static constexpr uint32_t kFirstAt = 64, kSecondAt = 0x6000 + 16, kFileBytes = 0x9000;
  static constexpr uint64_t kSecondGuest = kGuest + kFirstBytes + kGap;

  Shared() {
    file_ = Fd(memfd_create("driver", MFD_CLOEXEC));
    if (ftruncate(file_.get(), kFileBytes) != 0) std::abort();
    data_ = static_cast<uint8_t*>(
        mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0));
    vhost::MemoryTable table{};
    table.count = 2;
    table.regions[0] = {kGuest, kFirstBytes, kGuest, kFirstAt};
    table.regions[1] = {kSecondGuest, kSecondBytes, kSecondGuest, kSecondAt};
    std::array<Fd, vhost::kFdsMax> files;
    for (int i = 0; i < 2; ++i) files[i] = Fd(dup(file_.get()));
    memory_ = std::make_unique<vhost::PeerMemory>(table, files);
    fence(memory_->of_user(kGuest, 1), kFirstBytes, kFirstAt);
    fence(memory_->of_user(kSecondGuest, 1), kSecondBytes, kSecondAt % 4096);
  }
  ~Shared() {
    for (const auto& [at, bytes] : fenced_) ASAN_UNPOISON_MEMORY_REGION(at, bytes);
    munmap(data_, kFileBytes);
  }
  Shared(const Shared&) = delete;

  const vhost::PeerMemory& memory() const { return *memory_; }
  // The driver's own way to it.
  uint8_t* at(uint32_t offset) const { return data_ + kFirstAt + offset; }

 private:
  void fence(std::byte* base, uint32_t bytes, uint32_t before) {
    const uint32_t end = before + bytes;
    fenced_.emplace_back(base - before, before);
    fenced_.emplace_back(base + bytes, (end + 4095) / 4096 * 4096 - end);
    for (const auto& [at, size] : fenced_) ASAN_POISON_MEMORY_REGION(at, size);
  }

  Fd file_;
  uint8_t* data_;
  std::unique_ptr<vhost::PeerMemory> memory_;
  std::vector<std::pair<std::byte*, size_t>> fenced_;
};

// One queue of the driver's: a ring that is right, until it is damaged.
template <class Ring>
struct Driver {
  static constexpr uint32_t kSlotBytes = 320;

  Driver(Shared& memory, uint32_t offset, uint16_t ring_size, virtio::RingFeatures ring_features)
      : shared(memory),
        at(offset),
        size(ring_size),
        features(ring_features),
        layout(virtio::RingLayout::of(Ring::kPacked, ring_size)) {
    restart();
  }
  uint8_t* data(uint32_t offset) const { return shared.at(at + offset); }
  void restart() {
    std::memset(data(0), 0, layout.bytes);
    ring.emplace(size, reinterpret_cast<std::byte*>(data(0)), features);
  }
  vhost::RingStart start(uint64_t bits) const {
    auto* const here = shared.memory().of_user(Shared::kGuest + at, layout.bytes);
    return {bits | (Ring::kPacked ? virtio::bit(virtio::feature::kRingPacked) : 0) |
                (features.event_index ? virtio::bit(virtio::feature::kEventIndex) : 0),
            {here + layout.descriptors, here + layout.driver, here + layout.device},
            size,
            Ring::kPacked ? virtio::PackedDevice::kBaseOfNew : 0,
            -1,
            true,
            0,
            &shared.memory()};
  }
  // A buffer, nearly always where one may be.
  virtio::Part part(Random& random, bool writes) const {
    constexpr uint32_t kFirst = 0x3000;
    uint64_t address = Shared::kGuest + kFirst + random.below(0x2800);
    if (random.one_in(20))
      address = Shared::kSecondGuest + random.below(Shared::kSecondBytes - 400);
    uint32_t bytes = 26 + random.below(kSlotBytes - 26);
    if (random.one_in(300)) {
      // At the edges of both regions, or anywhere.
      const uint64_t edges[] = {Shared::kGuest, Shared::kGuest + Shared::kFirstBytes,
                                Shared::kSecondGuest, Shared::kSecondGuest + Shared::kSecondBytes};
      address = random.one_in(3) ? random.wide() : edges[random.below(4)] - random.below(bytes * 2);
    }
    if (random.one_in(200)) bytes = random.one_in(2) ? random() : random.below(16);
    return {address, bytes, random.one_in(500) ? !writes : writes};
  }
  void give(Random& random, bool writes) {
    for (uint32_t n = random.below(12); n != 0 && ring->free_count() >= 8; --n) {
      if (random.one_in(6)) {
        virtio::Part parts[8];
        const uint32_t count = 2 + random.below(7);
        for (uint32_t i = 0; i < count; ++i) parts[i] = part(random, writes);
        if (random.one_in(4)) parts[0].bytes = random.below(14);
        ring->add_chain(parts, count, 0);
      } else {
        ring->add(part(random, writes), 0);
      }
    }
    if (!writes) {
      // Headers that mean something: buffers lie anywhere, so anywhere they stand.
      for (int i = 0; i < 4; ++i) {
        uint8_t* const somewhere = shared.at(0x3000 + random.below(0x2c00));
        std::memset(somewhere, 0, 24);
        if (random.one_in(3)) somewhere[0] = 1, somewhere[6] = 14, somewhere[8] = 6;
      }
    }
    ring->publish();
  }
  // In every batch something that is its own to write.
  void damage(Random& random) {
    if constexpr (Ring::kPacked) {
      scribble(random, data(0), layout.driver, 4);
    } else {
      scribble(random, data(0), random.one_in(2) ? layout.driver : layout.driver + 4 + 2 * size, 2);
      if (random.one_in(100)) {
        const auto index = static_cast<uint16_t>(random());
        std::memcpy(data(layout.driver + 2), &index, 2);
      }
    }
    scribble(random, shared.at(0), 0x3000, 0x2f00);
    if (random.one_in(30)) scribble(random, data(0), 0, layout.bytes);
    if (random.one_in(30)) scribble(random, data(0), layout.descriptors, 16 * size);
  }
  void take_back(Random& random) {
    virtio::Used used[32];
    ring->collect(used, 32);
    if (random.one_in(3)) {
      ring->suppress();
    } else {
      ring->arm();
    }
  }

  Shared& shared;
  uint32_t at;
  uint16_t size;
  virtio::RingFeatures features;
  virtio::RingLayout layout;
  std::optional<Ring> ring;
};

template <class Ring>
class World {
 public:
  World(Random& random, Totals& totals)
      : random_(random),
        totals_(totals),
        bits_((random.one_in(2) ? virtio::bit(virtio_net::feature::kMergeableBuffers) : 0) |
              (random.one_in(2) ? virtio::bit(virtio_net::feature::kChecksum) |
                                      virtio::bit(virtio_net::feature::kGuestChecksum)
                                : 0)),
        pool_memory_(static_cast<uint8_t*>(
            std::aligned_alloc(64, (Pool::memory_bytes(kBuffers, kBufferBytes) + 63) / 64 * 64))),
        pool_(0, kBuffers, kBufferBytes, pool_memory_),
        out_(shared_, 0, static_cast<uint16_t>(8u << random.below(4)),
             {random.one_in(2), random.one_in(2)}),
        in_(shared_, 0x1800, static_cast<uint16_t>(8u << random.below(4)),
            {random.one_in(2), random.one_in(2)}),
        line_(&vector_record_),
        rx_(&rx_record_, {3, 0, true}),
        tx_(&tx_record_) {
    table_.add(pool_);
    rx_.set_line(&line_);
    renew(rx_, out_);
    renew(tx_, in_);
  }
  ~World() { std::free(pool_memory_); }

  void run(uint32_t batches) {
    for (uint32_t i = 0; i < batches; ++i) {
      ++totals_.batches;
      if (random_.one_in(2)) {
        receive();
      } else {
        transmit();
      }
      if (pool_.missing() != 0) defect("a buffer is lost");
    }
  }

 private:
  static constexpr uint32_t kBuffers = 48, kBufferBytes = 512;

  template <class Queue>
  void renew(Queue& queue, Driver<Ring>& driver) {
    driver.restart();
    queue.renew(driver.start(bits_));
    queue.tenure.revive();
  }
  // After a lie the connection ends, and another driver comes; so it does when damage made the
  // driver itself lose count.
  template <class Queue>
  void see_to(Queue& queue, Driver<Ring>& driver) {
    if (queue.tenure.trouble()) {
      ++totals_.lies;
      if (!queue.tenure.stopped()) defect("a queue that gave up is not stopped");
    } else if (driver.ring->broken() || random_.one_in(200)) {
      queue.tenure.stop();
      if (!queue.tenure.stopped() && !random_.one_in(8)) return;  // as when the shard is slow
      if (!queue.tenure.stopped()) queue.tenure.live();
      if (!queue.tenure.stopped()) defect("a queue does not stop");
      static_cast<void>(queue.base());
    } else {
      return;
    }
    renew(queue, driver);
  }

  void receive() {
    out_.give(random_, false);
    out_.damage(random_);
    vanity_packet packets[32];
    const uint32_t got = rx_.receive(pool_, packets, 1 + random_.below(32));
    bool there[kBuffers] = {};
    for (uint32_t i = 0; i < got; ++i) {
      const vanity_packet& packet = packets[i];
      const uint32_t index = packet.buffer & kPoolIndexMask;
      if (packet.buffer >> kPoolShift != 0 || index >= kBuffers) defect("a buffer of no pool");
      if (std::exchange(there[index], true)) defect("a buffer is there twice");
      if (packet.offset != VANITY_FRAME_OFFSET || packet.length < virtio_net::kEthernetHeader ||
          packet.length > pool_.frame_bytes_max() || packet.port != 3)
        defect("a packet does not lie in its buffer");
      if (packet.flags == 0) continue;
      if (packet.flags != VANITY_PACKET_CHECKSUM_PARTIAL) defect("a flag that no driver gives");
      vanity_packet_offload offload;
      std::memcpy(&offload, pool_.buffer(packet.buffer) + VANITY_OFFLOAD_OFFSET, sizeof offload);
      if (!checksum_due(packet, offload)) defect("a checksum outside its frame");
    }
    totals_.received += got;
    pool_.give(packets, got);
    rx_.sleep_ns_max();
    out_.take_back(random_);
    see_to(rx_, out_);
  }

  void transmit() {
    in_.give(random_, true);
    in_.damage(random_);
    vanity_packet packets[32];
    const uint32_t n = pool_.take(packets, 1 + random_.below(32));
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t length = random_.one_in(50) ? random_.below(14) : 14 + random_.below(418);
      packets[i] = {packets[i].buffer, 0, VANITY_FRAME_OFFSET, static_cast<uint16_t>(length), 0, 0};
      if (random_.one_in(4)) packets[i].flags = VANITY_PACKET_CHECKSUM_PARTIAL;
      if (random_.one_in(4)) packets[i].flags = VANITY_PACKET_CHECKSUM_VALID;
      const vanity_packet_offload offload{
          static_cast<uint16_t>(VANITY_FRAME_OFFSET + random_.below(60)),
          static_cast<uint16_t>(VANITY_FRAME_OFFSET + random_.below(60))};
      std::memcpy(pool_.buffer(packets[i].buffer) + VANITY_OFFLOAD_OFFSET, &offload, 4);
    }
    const uint32_t sent = tx_.transmit(table_, packets, n);
    if (sent > n) defect("more was sent than there was");
    totals_.sent += sent;
    pool_.give(packets, n);
    if (random_.one_in(4)) tx_.flush();
    in_.take_back(random_);
    see_to(tx_, in_);
  }

  Random& random_;
  Totals& totals_;
  uint64_t bits_;
  Shared shared_;
  uint8_t* pool_memory_;
  Pool pool_;
  PoolTable table_;
  Driver<Ring> out_, in_;
  QueueRecord rx_record_{}, tx_record_{};
  VectorRecord vector_record_{};
  IrqLine line_;
  VhostRx rx_;
  VhostTx tx_;
};

// ---- the socket

// Queues whose shards answer now, later, or with the look at their ring that starts there.
struct Queues final : vhost::BackEndQueues {
  Queues(Random& chance, Totals& counts)
      : random(chance), totals(counts), rx(&record, {0, 0, true}), tx(&record) {}
  VhostQueue& queue(uint32_t number) {
    return number % 2 == 0 ? static_cast<VhostQueue&>(tx) : static_cast<VhostQueue&>(rx);
  }
  void run(uint32_t number, const vhost::RingStart& start) override {
    ++totals.ran;
    if (number > 1) return;
    if (running[number]) defect("a ring runs twice");
    running[number] = true;
    queue(number).renew(start);
    queue(number).tenure.revive();
  }
  void stop(uint32_t number) noexcept override {
    if (number < 2) queue(number).tenure.stop();
  }
  bool stopped(uint32_t number) noexcept override {
    if (number > 1) return !random.one_in(4);
    if (!queue(number).tenure.stopped() && random.one_in(2)) queue(number).tenure.live();
    if (!queue(number).tenure.stopped()) return false;
    running[number] = false;
    return true;
  }
  uint32_t base(uint32_t number) noexcept override {
    return number > 1 ? random() : queue(number).base();
  }
  void watch(uint32_t number, int fd) override {
    if (fd < 0 || watched.at(number)) defect("a kick is watched twice, or is none");
    watched.at(number) = true;
  }
  void unwatch(uint32_t number) noexcept override { watched.at(number) = false; }

  Random& random;
  Totals& totals;
  QueueRecord record{};
  VhostRx rx;
  VhostTx tx;
  bool running[2] = {};
  std::array<bool, 4> watched{};
};

int count_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 64; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

class Talk {
 public:
  Talk(Random& random, Totals& totals) : random_(random), totals_(totals) {
    file_ = Fd(memfd_create("said", MFD_CLOEXEC));
    if (ftruncate(file_.get(), kBytes) != 0) std::abort();
    bell_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    uint8_t noise[4096];
    for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random_());
    static_cast<void>(pwrite(file_.get(), noise, sizeof noise, 0));
  }

  void run() {
    ++totals_.talks;
    const int before = count_descriptors();
    {
      int ends[2];
      if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        std::abort();
      far_ = Fd(ends[1]);
      Queues queues(random_, totals_);
      vhost::BackEnd back_end({kFeatures, 2}, queues);
      back_end.greet(vhost::Connection(Fd(ends[0])));
      vanity_packet packets[8];
      uint8_t memory[4 * 512 + 64];
      auto* const base = memory + (64 - reinterpret_cast<uintptr_t>(memory) % 64) % 64;
      Pool pool(0, 3, 256, base);
      auto hearing = vhost::BackEnd::Hearing::all;
      const uint32_t steps = 4 + random_.below(40);
      for (uint32_t i = 0; i < steps && hearing != vhost::BackEnd::Hearing::over; ++i) {
        say(i);
        hearing = back_end.hear();
        // Whatever lies in its memory, the rings are looked at.
        pool.give(packets, queues.rx.receive(pool, packets, 3));
        if (random_.one_in(50) && ftruncate(file_.get(), 0) != 0) std::abort();
        if (!back_end.look_after()) break;
        char answers[256];
        while (recv(far_.get(), answers, sizeof answers, 0) > 0) {
        }
      }
      totals_.ended += hearing == vhost::BackEnd::Hearing::over;
      for (int i = 0; !back_end.let_go(); ++i) {
        if (i == 10'000) defect("a peer is never let go");
      }
      if (pool.missing() != 0) defect("a buffer is lost");
      for (const bool watched : queues.watched)
        if (watched) defect("a kick is watched that is closed");
      far_.reset();
    }
    if (count_descriptors() != before) defect("a descriptor is left open");
  }

 private:
  static constexpr uint32_t kBytes = 1 << 16;
  static constexpr uint64_t kFeatures = virtio::bit(virtio::feature::kVersion1) |
                                        virtio::bit(virtio::feature::kEventIndex) |
                                        virtio::bit(virtio::feature::kRingPacked) | 0xffff;

  // A front-end that gets far enough, with something wrong here and there.
  void say(uint32_t step) {
    static constexpr uint32_t kScript[] = {3, 1,  15, 16, 2,  5,  8, 10, 9,  13, 12, 18, 8,  10,
                                           9, 13, 12, 18, 11, 12, 5, 20, 39, 40, 17, 14, 34, 4};
    uint32_t request = kScript[step % std::size(kScript)];
    if (random_.one_in(12)) request = kScript[random_.below(std::size(kScript))];
    if (random_.one_in(100)) request = random_.below(64);
    uint8_t payload[600] = {};
    uint32_t bytes = 0, fds = 0;
    const uint32_t queue = step < 12 ? 0 : 1;
    const auto put = [&](auto... values) {
      ((std::memcpy(payload + bytes, &values, sizeof values), bytes += sizeof values), ...);
    };
    int fd = bell_.get();
    switch (request) {
      case 2:
        put(uint64_t{1} << 32 | (random_.one_in(2) ? uint64_t{1} << 34 : 0) |
            (random_.one_in(2) ? uint64_t{1} << 30 : 0) | (random_.one_in(2) ? 1u << 29 : 0));
        break;
      case 5: {
        const uint32_t count = random_.one_in(3) ? 2 : 1;
        put(count, uint32_t{0});
        for (uint32_t i = 0; i < count; ++i)
          put(uint64_t{0x10000} * i, uint64_t{0x8000}, uint64_t{0x10000} * i,
              uint64_t{0x4000} * i + (random_.one_in(8) ? random_.below(64) : 0));
        fd = file_.get();
        fds = count;
        break;
      }
      case 8:
        put(queue, uint32_t{1} << random_.below(8));
        break;
      case 9:
        put(queue, uint32_t{0}, uint64_t{0x100}, uint64_t{0x2000}, uint64_t{0x3000}, uint64_t{0});
        break;
      case 10:
        put(queue, random_.one_in(2) ? 0u : 0x8000u);
        break;
      case 11:
      case 18:
        put(queue, 1u);
        break;
      case 12:
      case 13:
      case 14:
        fds = random_.one_in(6) ? 0 : 1;
        put(uint64_t{queue} | (fds == 0 ? 256u : 0u));
        break;
      case 16:
        put(uint64_t{random_.one_in(2) ? 9u : 0u});
        break;
      case 20:
        put(uint64_t{1500});
        break;
      case 39:
        put(uint64_t{random_.below(16)});
        break;
      default:
        break;
    }
    uint32_t header[3] = {request, 1u | (random_.one_in(3) ? 8u : 0u), bytes};
    if (random_.one_in(25) && bytes != 0) scribble(random_, payload, 0, bytes);
    if (random_.one_in(150)) bytes = header[2] = random_.below(600);
    if (random_.one_in(200)) header[2] = random_.one_in(2) ? random_() : random_.below(600);
    if (random_.one_in(200)) header[1] = random_();
    if (random_.one_in(80)) fds = random_.below(12);
    if (random_.one_in(80)) fd = random_.one_in(2) ? far_.get() : file_.get();
    send(header, payload, bytes, fds, fd);
    ++totals_.messages;
  }
  void send(const uint32_t (&header)[3], const uint8_t* payload, uint32_t bytes, uint32_t fds,
            int fd) const {
    uint8_t all[12 + 600];
    std::memcpy(all, header, 12);
    std::memcpy(all + 12, payload, bytes);
    iovec part{all, 12 + bytes};
    alignas(cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fds != 0) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(fds * sizeof(int));
      cmsghdr* const rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(fds * sizeof(int));
      for (uint32_t i = 0; i < fds; ++i)
        std::memcpy(CMSG_DATA(rights) + i * sizeof fd, &fd, sizeof fd);
    }
    static_cast<void>(sendmsg(far_.get(), &message, MSG_NOSIGNAL));
  }

  Random& random_;
  Totals& totals_;
  Fd file_, bell_, far_;
};

}  // namespace

int main(int argc, char** argv) {
  const uint64_t inputs = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 50'000;
  const uint64_t batches = inputs * kBatchesPerInput;
  Random random{argc > 3 ? std::strtoull(argv[3], nullptr, 10) * 0x9e3779b97f4a7c15 + 1
                         : 88172645463325252};
  Totals totals;
  while (totals.batches < batches) {
    const auto rest =
        static_cast<uint32_t>(std::min<uint64_t>(batches - totals.batches, kBatchesPerWorld));
    if (random.one_in(2)) {
      World<virtio::SplitRing>(random, totals).run(rest);
    } else {
      World<virtio::PackedRing>(random, totals).run(rest);
    }
    for (uint32_t i = 0; i < 20; ++i) Talk(random, totals).run();
  }
  std::printf(
      "vhost: %llu mutated batches, %llu packets received, %llu sent, %llu queues ended by a lie; "
      "%llu messages in %llu talks, %llu rings ran, %llu talks ended\n",
      static_cast<unsigned long long>(totals.batches),
      static_cast<unsigned long long>(totals.received),
      static_cast<unsigned long long>(totals.sent), static_cast<unsigned long long>(totals.lies),
      static_cast<unsigned long long>(totals.messages),
      static_cast<unsigned long long>(totals.talks), static_cast<unsigned long long>(totals.ran),
      static_cast<unsigned long long>(totals.ended));
  const bool deep = totals.received != 0 && totals.sent != 0 && totals.lies != 0 &&
                    totals.ran != 0 && totals.ended != 0;
  return deep ? 0 : 1;
}
