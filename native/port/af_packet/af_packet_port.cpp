#include "port/af_packet/af_packet_port.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "packet/checksum.hpp"
#include "platform/error.hpp"
#include "port/af_packet/offload.hpp"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif
#ifndef PACKET_FANOUT_FLAG_UNIQUEID
#define PACKET_FANOUT_FLAG_UNIQUEID 0x2000
#endif

namespace vanity {
namespace {

// A block is handed over when it is full or a millisecond old (a kernel tick before Linux 6.18). It
// must hold a whole unsegmented frame.
constexpr uint32_t kBlockBytes = 256u << 10;
constexpr uint32_t kBlocks = 32;
constexpr uint32_t kRetireMs = 1;
constexpr uint32_t kSendBufferBytes = 4u << 20;
// For shards that have channels too and so cannot sleep on the descriptor. A block takes a
// millisecond to come anyway, so after a quiet while the longer sleep costs little and saves a
// core.
constexpr uint64_t kSleepNs = 50'000;
constexpr uint64_t kSleepQuietNs = 400'000;
constexpr uint32_t kQuietLooks = 200;
constexpr uint64_t kSleepDownNs = 10'000'000;
constexpr uint32_t kEthernetHeader = 14;
constexpr uint32_t kVlanTag = 4;

class Socket {
 public:
  explicit Socket(uint16_t protocol)
      : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(protocol))) {
    if (fd_ >= 0) return;
    if (errno == EPERM || errno == EACCES) {
      throw Error("VANITY_E_PORT_PERMISSION", "a packet socket needs the capability CAP_NET_RAW",
                  "run as root, or: sudo setcap cap_net_raw+ep $(readlink -f $(command -v node))");
    }
    throw system_error("VANITY_E_PORT_SOCKET", "cannot open a packet socket", errno);
  }
  ~Socket() { ::close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int fd() const noexcept { return fd_; }

  template <class T>
  bool try_set(int level, int option, const T& value) noexcept {
    return ::setsockopt(fd_, level, option, &value, sizeof value) == 0;
  }
  template <class T>
  void set(int option, const T& value, const char* name) {
    if (!try_set(SOL_PACKET, option, value))
      throw system_error("VANITY_E_PORT_SOCKET", std::string("cannot set ") + name, errno);
  }
  void bind(int interface, uint16_t protocol) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(protocol);
    address.sll_ifindex = interface;
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw system_error("VANITY_E_PORT_SOCKET", "cannot bind to the interface", errno);
  }

 private:
  int fd_;
};

// A receiving socket and its mapped ring. Built on the control path, then one shard's own; the
// control path only asks the descriptor for statistics.
class Ring {
 public:
  Ring(int interface, bool promiscuous) : socket_(0) {
    socket_.set(PACKET_VERSION, static_cast<int>(TPACKET_V3), "PACKET_VERSION");
    socket_.set(PACKET_VNET_HDR, 1, "PACKET_VNET_HDR");
    socket_.try_set(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);  // Linux 4.20; else told apart below
    tpacket_req3 request{};
    request.tp_block_size = kBlockBytes;
    request.tp_block_nr = kBlocks;
    request.tp_frame_size = 2048;
    request.tp_frame_nr = kBlockBytes / 2048 * kBlocks;
    request.tp_retire_blk_tov = kRetireMs;
    socket_.set(PACKET_RX_RING, request, "PACKET_RX_RING");
    void* map = ::mmap(nullptr, size_t{kBlockBytes} * kBlocks, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_POPULATE, socket_.fd(), 0);
    if (map == MAP_FAILED)
      throw system_error("VANITY_E_PORT_SOCKET", "cannot map the packet ring", errno);
    base_ = static_cast<uint8_t*>(map);
    try {
      socket_.bind(interface, ETH_P_ALL);
      if (promiscuous) {
        packet_mreq membership{};
        membership.mr_ifindex = interface;
        membership.mr_type = PACKET_MR_PROMISC;
        socket_.set(PACKET_ADD_MEMBERSHIP, membership, "PACKET_ADD_MEMBERSHIP");
      }
    } catch (...) {
      ::munmap(base_, size_t{kBlockBytes} * kBlocks);
      throw;
    }
  }
  ~Ring() { ::munmap(base_, size_t{kBlockBytes} * kBlocks); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  int fd() const noexcept { return socket_.fd(); }

  // The first of a port's queues founds the group (with a number nobody else has), others join.
  uint16_t join(uint16_t type, bool first, uint16_t group) {
    int argument = (first ? type | PACKET_FANOUT_FLAG_UNIQUEID : type) << 16 | (first ? 0 : group);
    socket_.set(PACKET_FANOUT, argument, "PACKET_FANOUT");
    socklen_t size = sizeof argument;
    ::getsockopt(socket_.fd(), SOL_PACKET, PACKET_FANOUT, &argument, &size);
    return static_cast<uint16_t>(argument & 0xffff);
  }
  // Frames the kernel dropped since the last time it was asked.
  uint64_t drops() const noexcept {
    tpacket_stats_v3 stats{};
    socklen_t size = sizeof stats;
    if (::getsockopt(socket_.fd(), SOL_PACKET, PACKET_STATISTICS, &stats, &size) != 0) return 0;
    return stats.tp_drops;
  }

  // The shard's side: the frame at hand, null when the kernel has handed over none.
  const tpacket3_hdr* front() noexcept {
    while (left_ == 0) {
      tpacket_block_desc* block = current();
      // Pairs with the kernel's status store: the frames are there before it.
      if ((__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) == 0)
        return nullptr;
      left_ = block->hdr.bh1.num_pkts;
      at_ = reinterpret_cast<uint8_t*>(block) + block->hdr.bh1.offset_to_first_pkt;
      if (left_ == 0) give_back();
    }
    return reinterpret_cast<const tpacket3_hdr*>(at_);
  }
  void pop() noexcept {
    at_ += reinterpret_cast<const tpacket3_hdr*>(at_)->tp_next_offset;
    if (--left_ == 0) give_back();
  }

 private:
  tpacket_block_desc* current() noexcept {
    return reinterpret_cast<tpacket_block_desc*>(base_ + size_t{block_} * kBlockBytes);
  }
  void give_back() noexcept {
    // Pairs with the kernel's status load: our reads are done before it writes again.
    __atomic_store_n(&current()->hdr.bh1.block_status, uint32_t{TP_STATUS_KERNEL},
                     __ATOMIC_RELEASE);
    block_ = (block_ + 1) % kBlocks;
  }

  Socket socket_;
  uint8_t* base_ = nullptr;
  uint8_t* at_ = nullptr;
  uint32_t left_ = 0;
  uint32_t block_ = 0;
};

// A sending socket. Protocol 0: it receives nothing.
struct Sender {
  explicit Sender(int interface) : socket(0) {
    if (!socket.try_set(SOL_SOCKET, SO_SNDBUFFORCE, kSendBufferBytes))
      socket.try_set(SOL_SOCKET, SO_SNDBUF, kSendBufferBytes);
    socket.bind(interface, 0);
  }
  Socket socket;
};

// How new sockets come to a shard and old ones go; see the header.
template <class T>
class Handover {
 public:
  ~Handover() {
    delete next_.load(std::memory_order_relaxed);
    delete retired_.load(std::memory_order_relaxed);
    delete current_;
  }
  // The shard's side.
  T* current() noexcept {
    if (next_.load(std::memory_order_relaxed) != nullptr) [[unlikely]] {
      retired_.store(current_, std::memory_order_release);            // pairs with ready()
      current_ = next_.exchange(nullptr, std::memory_order_acq_rel);  // pairs with post(), ready()
    }
    return current_;
  }
  T* held() const noexcept { return current_; }

  // The control side. True when the shard has taken what was posted; the old one is gone then.
  bool ready() noexcept {
    if (next_.load(std::memory_order_acquire) != nullptr) return false;  // pairs with current()
    delete retired_.exchange(nullptr, std::memory_order_acquire);        // pairs with current()
    return true;
  }
  void post(std::unique_ptr<T> fresh) noexcept {
    latest_ = fresh.get();
    next_.store(fresh.release(), std::memory_order_release);  // pairs with current()
  }
  // What was posted last; alive until another is posted.
  T* latest() const noexcept { return latest_; }

 private:
  T* current_ = nullptr;  // the shard's
  T* latest_ = nullptr;   // the control side's
  alignas(64) std::atomic<T*> next_{nullptr};
  std::atomic<T*> retired_{nullptr};
};

class PacketRxQueue final : public RxQueue {
 public:
  PacketRxQueue(QueueRecord* record, uint16_t port_index)
      : RxQueue(record), port_index_(port_index) {}

  uint32_t receive(Pool& pool, vanity_packet* packets, uint32_t n) noexcept override {
    if (Ring* ring = handover.current(); ring != ring_) {
      ring_ = ring;  // a frame half cut is lost with the interface it came from
      cutting_ = false;
    }
    if (ring_ == nullptr) return 0;
    uint64_t bytes = 0;
    uint32_t got = 0;
    while (got < n) {
      const tpacket3_hdr* header = ring_->front();
      if (header == nullptr) break;
      const Step step = take(pool, *header, packets[got]);
      if (step == Step::pool_empty) break;
      if (step == Step::taken) bytes += packets[got++].length;
      if (!cutting_) ring_->pop();
    }
    if (got == 0) {
      quiet_ += quiet_ < kQuietLooks;
      return 0;
    }
    quiet_ = 0;
    record_->packets.add(got);
    record_->bytes.add(bytes);
    record_->bursts.add(1);
    return got;
  }

  uint64_t sleep_ns_max() noexcept override {
    if (ring_ == nullptr) return kSleepDownNs;
    return quiet_ < kQuietLooks ? kSleepNs : kSleepQuietNs;
  }
  int poll_fd() const noexcept override {
    return handover.held() == nullptr ? -1 : handover.held()->fd();
  }

  // The control side's.
  void add_drops(uint64_t n) noexcept { record_->dropped.add(n); }

  Handover<Ring> handover;

 private:
  enum class Step { taken, skipped, pool_empty };

  Step take(Pool& pool, const tpacket3_hdr& header, vanity_packet& packet) noexcept {
    const auto* raw = reinterpret_cast<const uint8_t*>(&header);
    const uint8_t* frame = raw + header.tp_mac;
    const uint32_t length = header.tp_snaplen;
    OffloadHeader offload;
    std::memcpy(&offload, frame - sizeof offload, sizeof offload);
    const bool tagged = (header.tp_status & TP_STATUS_VLAN_VALID) != 0;
    const uint32_t tag_bytes = tagged ? kVlanTag : 0;

    if (!cutting_) {
      sockaddr_ll from;
      std::memcpy(&from, raw + TPACKET_ALIGN(sizeof header), sizeof from);
      if (from.sll_pkttype == PACKET_OUTGOING) return Step::skipped;
      if (length < kEthernetHeader) return count(record_->invalid);
      if (offload.gso_type != OffloadHeader::kNotSegmented) {
        if (length != header.tp_len || !segmenter_.begin(frame, length, offload))
          return count(record_->invalid);
        cutting_ = true;
      }
    }
    const uint32_t bytes = (cutting_ ? segmenter_.next_length() : length) + tag_bytes;
    if (bytes > pool.frame_bytes_max()) {
      if (cutting_) segmenter_.skip();
      cutting_ = cutting_ && segmenter_.more();
      return count(record_->oversize);
    }
    if (pool.take(&packet, 1) == 0) return Step::pool_empty;

    uint8_t* buffer = pool.buffer(packet.buffer);
    uint8_t* to = buffer + VANITY_FRAME_OFFSET;
    uint32_t wire = bytes;
    uint16_t flags = 0;
    if (cutting_) {
      // Written behind the room for a tag, so that only the addresses move.
      segmenter_.take(to + tag_bytes);
      if (tagged) std::memmove(to, to + tag_bytes, 12);
      cutting_ = segmenter_.more();
    } else {
      std::memcpy(to, frame, 12);
      std::memcpy(to + 12 + tag_bytes, frame + 12, length - 12);
      wire = header.tp_len + tag_bytes;
      if (header.tp_len > length) flags = VANITY_PACKET_TRUNCATED;
      if ((offload.flags & OffloadHeader::kNeedsChecksum) != 0 && flags == 0 &&
          !complete_checksum(to, bytes, offload.checksum_start + tag_bytes,
                             offload.checksum_offset))
        record_->invalid.add(1);
    }
    if (tagged) {
      const uint16_t type = (header.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0
                                ? header.hv1.tp_vlan_tpid
                                : uint16_t{ETH_P_8021Q};
      const uint16_t tag[2] = {htons(type), htons(static_cast<uint16_t>(header.hv1.tp_vlan_tci))};
      std::memcpy(to + 12, tag, sizeof tag);
    }
    const vanity_packet_meta meta{header.tp_sec * 1'000'000'000ull + header.tp_nsec, wire, 0};
    std::memcpy(buffer + VANITY_HEADROOM_BYTES, &meta, sizeof meta);
    packet = {packet.buffer, 0,    VANITY_FRAME_OFFSET, static_cast<uint16_t>(bytes),
              port_index_,   flags};
    return Step::taken;
  }
  Step count(Counter& counter) noexcept {
    counter.add(1);
    return Step::skipped;
  }

  Ring* ring_ = nullptr;
  Segmenter segmenter_;
  bool cutting_ = false;
  uint32_t quiet_ = 0;  // looks in a row that found nothing
  uint16_t port_index_;
};

class PacketTxQueue final : public TxQueue {
 public:
  explicit PacketTxQueue(QueueRecord* record) : TxQueue(record) {}

  // The system call is the kernel's price of a burst; nothing is shared with other cores of ours.
  uint32_t transmit(const PoolTable& pools, const vanity_packet* packets,
                    uint32_t n) noexcept override {
    Sender* sender = handover.current();
    if (sender == nullptr) {
      drop(n);
      return n;
    }
    uint32_t done = 0, sent = 0;
    uint64_t bytes = 0;
    while (done < n) {
      const uint32_t batch = std::min(n - done, limits::kBurstMax);
      for (uint32_t i = 0; i < batch; ++i) {
        const vanity_packet& packet = packets[done + i];
        if ((packet.flags & VANITY_PACKET_CHECKSUM_PARTIAL) != 0)
          finish_checksum(pools.buffer(packet.buffer), packet);
        parts_[i] = {pools.data(packet), packet.length};
        messages_[i].msg_hdr = {};
        messages_[i].msg_hdr.msg_iov = &parts_[i];
        messages_[i].msg_hdr.msg_iovlen = 1;
      }
      const int result = ::sendmmsg(sender->socket.fd(), messages_, batch, MSG_DONTWAIT);
      if (result > 0) {
        for (int i = 0; i < result; ++i) bytes += packets[done + static_cast<uint32_t>(i)].length;
        done += static_cast<uint32_t>(result);
        sent += static_cast<uint32_t>(result);
        continue;
      }
      const int error = errno;
      if (error == EINTR) continue;
      if (error == EAGAIN || error == ENOBUFS) break;  // no room now
      if (error == EMSGSIZE || error == EINVAL) {      // this frame will never go
        (error == EMSGSIZE ? record_->oversize : record_->invalid).add(1);
        ++done;
        continue;
      }
      // The interface is down or gone: what would have left is lost, and service() sees to it.
      drop(n - done);
      done = n;
    }
    if (sent != 0) {
      record_->packets.add(sent);
      record_->bytes.add(bytes);
      record_->bursts.add(1);
    }
    return done;
  }

  // Takes up a new socket also where nothing is sent: the port waits for every queue to have.
  void flush() noexcept override { handover.current(); }

  Handover<Sender> handover;

 private:
  mmsghdr messages_[limits::kBurstMax];
  iovec parts_[limits::kBurstMax];
};

class PacketPort final : public Port {
 public:
  PacketPort(const PortOptions& options, const PortRecords& records)
      : Port(records.port), options_(options), control_(0) {
    if (options.fanout != "hash" && options.fanout != "lb" && options.fanout != "cpu")
      throw Error("VANITY_E_PORT_INTERFACE", "fanout is \"" + options.fanout + "\"",
                  "fanout = \"hash\", \"lb\" or \"cpu\"");
    for (QueueRecord* record : records.rx)
      rx_.push_back(std::make_unique<PacketRxQueue>(record, options.index));
    for (QueueRecord* record : records.tx) tx_.push_back(std::make_unique<PacketTxQueue>(record));
    const Link link = look();
    if (link.index == 0) {
      throw Error("VANITY_E_PORT_INTERFACE", "there is no interface " + options.interface,
                  "ip link shows the interfaces of this network namespace");
    }
    if (!link.ethernet)
      throw Error("VANITY_E_PORT_INTERFACE", options.interface + " is not an Ethernet interface",
                  "ip link shows link/ether for those that are");
  }

  RxQueue& rx(uint32_t queue) override { return *rx_.at(queue); }
  TxQueue& tx(uint32_t queue) override { return *tx_.at(queue); }

  void start() override {
    const Link link = look();
    if (link.index != 0 && link.up) open(link.index);
    settle(link);
  }

  void service() noexcept override {
    count_drops();
    const Link link = look();
    // An interface of the same name may be another one; its number tells.
    if (link.index != 0 && link.up && link.index != bound_ && all_taken()) {
      try {
        open(link.index);
      } catch (const std::exception& error) {
        record_->errors.add(1);
        say(error.what());
        return;
      }
    }
    settle(link);
  }

  void close() noexcept override { count_drops(); }

  std::string error() const override {
    const std::lock_guard lock(text_mutex_);
    return text_;
  }

 private:
  struct Link {
    int index = 0;  // 0: there is none of this name
    bool up = false;
    bool running = false;
    bool ethernet = false;
  };

  Link look() noexcept {
    Link link;
    ifreq request{};
    std::strncpy(request.ifr_name, options_.interface.c_str(), IFNAMSIZ - 1);
    if (::ioctl(control_.fd(), SIOCGIFINDEX, &request) != 0) return link;
    link.index = request.ifr_ifindex;
    if (::ioctl(control_.fd(), SIOCGIFFLAGS, &request) != 0) return {};
    link.up = (request.ifr_flags & IFF_UP) != 0;
    link.running = (request.ifr_flags & IFF_RUNNING) != 0;
    if (::ioctl(control_.fd(), SIOCGIFHWADDR, &request) != 0) return {};
    const auto type = request.ifr_hwaddr.sa_family;
    link.ethernet = type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK;
    return link;
  }

  // All sockets are made before any is posted: a half-open port would take half the traffic.
  void open(int interface) {
    std::vector<std::unique_ptr<Ring>> rings;
    std::vector<std::unique_ptr<Sender>> senders;
    const uint16_t type = options_.fanout == "hash" ? PACKET_FANOUT_HASH
                          : options_.fanout == "lb" ? PACKET_FANOUT_LB
                                                    : PACKET_FANOUT_CPU;
    uint16_t group = 0;
    for (size_t i = 0; i < rx_.size(); ++i) {
      rings.push_back(std::make_unique<Ring>(interface, options_.promiscuous));
      if (rx_.size() > 1) group = rings.back()->join(type, i == 0, group);
    }
    for (size_t i = 0; i < tx_.size(); ++i) senders.push_back(std::make_unique<Sender>(interface));
    for (size_t i = 0; i < rx_.size(); ++i) rx_[i]->handover.post(std::move(rings[i]));
    for (size_t i = 0; i < tx_.size(); ++i) tx_[i]->handover.post(std::move(senders[i]));
    bound_ = interface;
  }

  bool all_taken() noexcept {
    bool all = true;
    for (auto& queue : rx_) all = queue->handover.ready() && all;
    for (auto& queue : tx_) all = queue->handover.ready() && all;
    return all;
  }

  void settle(const Link& link) noexcept {
    const bool up = link.up && link.running && link.index == bound_;
    const PortState before = state();
    if (up) {
      say("");
      set_state(PortState::up);
      return;
    }
    say(link.index == 0 ? "the interface is gone"
        : !link.up      ? "the interface is down"
                        : "the interface has no carrier");
    if (before != PortState::down) record_->downs.add(1);
    set_state(PortState::down);
  }

  // Written here only: the shard never touches `dropped` of a receive queue.
  void count_drops() noexcept {
    for (auto& queue : rx_) {
      Ring* ring = queue->handover.latest();
      if (ring == nullptr) continue;
      if (const uint64_t drops = ring->drops(); drops != 0) queue->add_drops(drops);
    }
  }

  void say(const char* text) noexcept {
    const std::lock_guard lock(text_mutex_);
    if (*text == 0) {
      text_.clear();
    } else {
      text_ = options_.interface + ": " + text;
    }
  }

  PortOptions options_;
  Socket control_;
  std::vector<std::unique_ptr<PacketRxQueue>> rx_;
  std::vector<std::unique_ptr<PacketTxQueue>> tx_;
  int bound_ = 0;
  mutable std::mutex text_mutex_;  // control path only
  std::string text_;
};

}  // namespace

std::unique_ptr<Port> create_af_packet_port(const PortOptions& options,
                                            const PortRecords& records) {
  return std::make_unique<PacketPort>(options, records);
}

}  // namespace vanity
