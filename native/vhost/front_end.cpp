#include "vhost/front_end.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "platform/error.hpp"
#include "vanity/limits.hpp"
#include "virtio/queue.hpp"

namespace vanity::vhost {
namespace {

using virtio::bit;
namespace status = virtio::status;

// Of what a device may offer, what this way to it can carry. The rest is the front-end's own affair
// in this protocol (addresses, commands), or would mean translating every address. Two are left out
// for speed: with EVENT_IDX both sides look at one more line a burst, and with GUEST_CSUM the
// driver reads each header, whose line then goes to and fro (17 against 12 million frames a
// second).
constexpr uint64_t kCarried = bit(virtio::feature::kVersion1) | bit(virtio::feature::kRingPacked) |
                              bit(virtio::feature::kOrderPlatform) | bit(0) |
                              bit(15);  // VIRTIO_NET_F_CSUM, _MRG_RXBUF
constexpr unsigned kMultiQueue = 22;    // VIRTIO_NET_F_MQ
constexpr uint32_t kPairsOffset = 8;    // of max_virtqueue_pairs, VIRTIO 1.2 §5.1.4
constexpr uint32_t kOnes = 0xffffffffu;

Fd make_eventfd() {
  Fd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) throw system_error("VANITY_E_SYSTEM", "eventfd", errno, "raise the limit: ulimit -n");
  return fd;
}

void kick(void* context, uint32_t) noexcept {
  const uint64_t one = 1;
  if (write(static_cast<Fd*>(context)->get(), &one, sizeof one) < 0) {
    // Full: it was told already.
  }
}

}  // namespace

FrontEnd::FrontEnd(const FrontEndOptions& options, const SharedRegions& shared)
    : options_(options),
      shared_(shared),
      rings_(options.ring_bytes, kAnyNode, PageChoice::automatic, Sharing::sealed),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      error_(make_eventfd()),
      runs_(2 * options.pairs, false) {
  if (!epoll_) throw system_error("VANITY_E_SYSTEM", "epoll", errno, "raise the limit: ulimit -n");
  for (uint32_t q = 0; q < 2 * options.pairs; ++q) kicks_.push_back(make_eventfd());
  for (uint32_t v = 0; v < options.vectors; ++v) calls_.push_back(make_eventfd());
  watch(error_.get());
  if (options_.server) {
    listener_.emplace(options_.path, options_.who);
    watch(listener_->fd());
    absence_ = options_.who + ": nobody has connected to " + options_.path + " yet";
  }
  look_for_peer();
}

void FrontEnd::watch(int fd) const {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    throw system_error("VANITY_E_SYSTEM", "epoll", errno);
}

// ---- the peer comes and goes
void FrontEnd::look_for_peer() noexcept {
  if (closed_ || Clock::now() < again_) return;
  try {
    if (options_.server) {
      connection_ = listener_->accept(options_.peer);
      if (!connection_) return;
    } else {
      connection_ = connect(options_.path, options_.who, options_.peer);
    }
    watch(connection_.fd());
  } catch (const Error& error) {
    connection_.close();
    absence_ = error.what();
    if (!error.hint().empty()) absence_ += " (" + error.hint() + ")";
    again_ = Clock::now() + std::chrono::milliseconds(kAgainMs);
    return;
  }
  absence_.clear();
  greet();
}

// What is said once a connection.
bool FrontEnd::greet() noexcept {
  memory_shared_ = wants_reset_ = false;
  protocol_ = 0;
  pairs_max_ = 1;
  if (!ask(Request::get_features, offered_)) return false;
  if ((offered_ & bit(feature::kProtocolFeatures)) != 0) {
    uint64_t theirs = 0;
    if (!ask(Request::get_protocol_features, theirs)) return false;
    const uint64_t ours = bit(protocol_feature::kMultiQueue) | bit(protocol_feature::kReplyAck) |
                          bit(protocol_feature::kBackEndSocket);
    if (!say(Request::set_protocol_features, theirs & ours)) return false;
    protocol_ = theirs & ours;  // from here on: REPLY_ACK too
    uint64_t pairs = 1;
    if ((protocol_ & bit(protocol_feature::kMultiQueue)) != 0) {
      if (!ask(Request::get_queue_count, pairs)) return false;
      pairs_max_ = static_cast<uint32_t>(std::clamp<uint64_t>(pairs, 1, limits::kQueuesPerPort));
    }
  }
  if (!say(Request::set_owner, nullptr, 0)) return false;
  return (protocol_ & bit(protocol_feature::kBackEndSocket)) == 0 || open_back_channel();
}

bool FrontEnd::open_back_channel() noexcept {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) return true;
  const Fd theirs(pair[1]);
  back_channel_ = Connection(Fd(pair[0]));
  epoll_event event{};
  event.events = EPOLLIN;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pair[0], &event);
  const int fd = theirs.get();
  return say(Request::set_back_end_socket, nullptr, 0, &fd, 1);
}

void FrontEnd::drop(const std::string& why) noexcept {
  connection_.close();
  back_channel_.close();
  std::fill(runs_.begin(), runs_.end(), false);
  again_ = Clock::now() + std::chrono::milliseconds(kAgainMs);
  absence_ = options_.who + ": " + options_.path + ": " + why;
}

void FrontEnd::attend() {
  if (!connection_) return look_for_peer();
  uint64_t errors = 0;
  if (read(error_.get(), &errors, sizeof errors) == sizeof errors) wants_reset_ = true;
  hear_back_channel();
  hear_peer();
}

// It has nothing to say but to answer, so this is its end, or nonsense.
void FrontEnd::hear_peer() noexcept {
  Message message;
  switch (connection_.receive(message)) {
    case Connection::Got::nothing:
      return;
    case Connection::Got::gone:
      return drop("the back-end has gone");
    default:
      return drop("the back-end speaks without being asked");
  }
}

void FrontEnd::hear_back_channel() noexcept {
  Message message;
  while (back_channel_ && back_channel_.receive(message) == Connection::Got::message) {
    const bool known = message.request == static_cast<Request>(BackEndRequest::ring_error);
    wants_reset_ |= known;
    const uint64_t answer = known ? 0 : 1;
    if (message.wants_reply())
      back_channel_.send(message.request, Header::kReply, &answer, sizeof answer);
  }
}

// ---- messages
bool FrontEnd::say(Request request, const void* payload, uint32_t bytes, const int* fds,
                   uint32_t fd_count) noexcept {
  if (!connection_) return false;
  const bool ack = (protocol_ & bit(protocol_feature::kReplyAck)) != 0;
  if (!connection_.send(request, ack ? Header::kNeedReply : 0, payload, bytes, fds, fd_count,
                        kAnswerMs)) {
    drop("the back-end takes no message");
    return false;
  }
  if (!ack) return true;
  Message answer;
  if (connection_.receive(answer, kAnswerMs) != Connection::Got::message ||
      answer.request != request || !answer.reply() || answer.bytes != sizeof(uint64_t)) {
    drop("the back-end does not answer as vhost-user asks (request " +
         std::to_string(static_cast<uint32_t>(request)) + ")");
    return false;
  }
  if (answer.as<uint64_t>() == 0) return true;
  drop("the back-end refuses request " + std::to_string(static_cast<uint32_t>(request)));
  return false;
}

bool FrontEnd::say_fd(Request request, uint32_t queue, int fd) noexcept {
  const uint64_t value = queue | (fd < 0 ? kNoDescriptor : 0);
  return say(request, &value, sizeof value, &fd, fd < 0 ? 0 : 1);
}

bool FrontEnd::ask(Request request, const void* payload, uint32_t bytes, Message& answer,
                   uint32_t answer_bytes) noexcept {
  if (!connection_) return false;
  if (connection_.send(request, 0, payload, bytes, nullptr, 0, kAnswerMs) &&
      connection_.receive(answer, kAnswerMs) == Connection::Got::message &&
      answer.request == request && answer.reply() && answer.bytes == answer_bytes)
    return true;
  drop("what answers there speaks no vhost-user (request " +
       std::to_string(static_cast<uint32_t>(request)) + ")");
  return false;
}

bool FrontEnd::ask(Request request, uint64_t& value) noexcept {
  Message answer;
  if (!ask(request, nullptr, 0, answer, sizeof value)) return false;
  value = answer.as<uint64_t>();
  return true;
}

bool FrontEnd::share_memory() noexcept {
  MemoryTable table{};
  int fds[kRegionsMax];
  const auto add = [&](uint64_t address, uint64_t bytes, int fd) {
    fds[table.count] = fd;
    table.regions[table.count++] = {address, bytes, address, 0};
  };
  add(kRingsAddress, rings_.bytes(), rings_.fd());
  for (const SharedRegion& region : shared_) {
    if (table.count == kRegionsMax) break;  // the plan was checked
    add(region.address, region.bytes, region.fd);
  }
  const auto bytes =
      static_cast<uint32_t>(offsetof(MemoryTable, regions) + table.count * sizeof(Region));
  memory_shared_ = say(Request::set_memory_table, &table, bytes, fds, table.count);
  return memory_shared_;
}

// ---- virtio::Transport
uint64_t FrontEnd::offered() {
  if (!connection_) return 0;
  uint64_t features = offered_ & kCarried;
  if (pairs_max_ > 1) features |= offered_ & bit(kMultiQueue);
  return features;
}

uint8_t FrontEnd::status() {
  if (!connection_) return 0;
  return wants_reset_ ? static_cast<uint8_t>(status_ | status::kNeedsReset) : status_;
}

void FrontEnd::set_status(uint8_t wanted) {
  const uint8_t before = status_;
  status_ = wanted;
  if (wanted == 0) {
    stop_rings();
    wants_reset_ = false;
  } else if ((wanted & ~before & status::kFeaturesOk) != 0) {
    say(Request::set_features,
        (accepted_ & offered_) | (offered_ & bit(feature::kProtocolFeatures)));
  }
}

// When it has answered, it touches the ring no more ("Starting and stopping rings").
void FrontEnd::stop_rings() noexcept {
  for (uint32_t queue = 0; queue < runs_.size(); ++queue) {
    if (!runs_[queue]) continue;
    runs_[queue] = false;
    Message answer;
    const RingState state{queue, 0};
    if (!ask(Request::get_ring_base, &state, sizeof state, answer, sizeof state)) return;
  }
}

uint32_t FrontEnd::config(uint32_t offset, uint32_t bytes) {
  return offset == kPairsOffset && bytes == 2 ? pairs_max_ : kOnes;
}

uint16_t FrontEnd::queue_size_max(uint16_t queue) {
  return queue < kicks_.size() ? uint16_t{limits::kRingMax} : uint16_t{0};
}

bool FrontEnd::set_up(uint16_t queue, const virtio::QueuePlace& place, uint16_t vector) {
  if (!memory_shared_ && !share_memory()) return false;
  const bool packed = (accepted_ & bit(virtio::feature::kRingPacked)) != 0;
  const RingAddress address{queue, 0, place.descriptors, place.device, place.driver, 0};
  const int call = vector < calls_.size() ? calls_[vector].get() : -1;
  runs_[queue] = say_ring(Request::set_ring_size, queue, place.size) &&
                 say_ring(Request::set_ring_base, queue, packed ? kPackedBase : 0) &&
                 say(Request::set_ring_address, &address, sizeof address) &&
                 say_fd(Request::set_ring_call, queue, call) &&
                 say_fd(Request::set_ring_error, queue, error_.get()) &&
                 say_fd(Request::set_ring_kick, queue, kicks_[queue].get());
  return runs_[queue];
}

// Without protocol features a ring runs from its first kick on.
void FrontEnd::enable(uint16_t queue) {
  if ((offered_ & bit(feature::kProtocolFeatures)) != 0)
    say_ring(Request::set_ring_enable, queue, 1);
}

virtio::Notifier FrontEnd::notifier(uint16_t queue) {
  return {kick, &kicks_.at(queue)};
}

virtio::SharedMemory FrontEnd::memory(uint32_t bytes) {
  auto* const at = static_cast<std::byte*>(rings_.allocate(bytes, virtio::kMemoryAlign));
  return {at, kRingsAddress + static_cast<uint64_t>(at - rings_.base())};
}

void FrontEnd::let_loose(bool on) {
  closed_ = !on;
  if (on) return;
  stop_rings();
  if (connection_) drop("closed");
}

}  // namespace vanity::vhost
