#include "vhost/back_end.hpp"

#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "platform/error.hpp"

namespace vanity::vhost {
namespace {

using virtio::bit;

// A peer that never stops talking gets its turn like all others.
constexpr uint32_t kMessagesAtOnce = 64;
constexpr uint32_t kMtuMin = 68;  // VIRTIO 1.2 §5.1.4.1
constexpr uint64_t kProtocol = bit(protocol_feature::kMultiQueue) |
                               bit(protocol_feature::kReplyAck) | bit(protocol_feature::kMtu) |
                               bit(protocol_feature::kResetDevice) | bit(protocol_feature::kStatus);

[[noreturn]] void refuse(const std::string& what) {
  throw Error("VANITY_E_PORT_SOCKET", what);
}

std::string name(const Message& message) {
  return "message " + std::to_string(static_cast<uint32_t>(message.request));
}

void expect(const Message& message, uint32_t bytes, uint32_t fds = 0) {
  if (message.bytes != bytes)
    refuse(name(message) + " has " + std::to_string(message.bytes) + " bytes, not " +
           std::to_string(bytes));
  if (message.fd_count != fds)
    refuse(name(message) + " has " + std::to_string(message.fd_count) + " descriptors, not " +
           std::to_string(fds));
}

// Of anything else a write could wait, or mean something.
bool is_eventfd(int fd) {
  char target[32];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t bytes = readlink(link.c_str(), target, sizeof target);
  constexpr std::string_view kWanted = "anon_inode:[eventfd]";
  return bytes > 0 && std::string_view(target, static_cast<size_t>(bytes)) == kWanted;
}

// The shard that tells the driver waits where the count is full, which a peer can make it. Nobody
// else does: it is 2^64. True: it was, and is not any more.
bool was_full(int call) noexcept {
  pollfd polled{call, POLLOUT, 0};
  if (poll(&polled, 1, 0) != 0) return false;
  uint64_t count;
  iovec part{&count, sizeof count};
  // Not read(): the peer may empty it in between.
  static_cast<void>(preadv2(call, &part, 1, -1, RWF_NOWAIT));
  return true;
}

}  // namespace

BackEnd::BackEnd(const BackEndOptions& options, BackEndQueues& queues)
    : options_(options), queues_(queues), rings_(size_t{2} * options.pairs) {}

void BackEnd::greet(Connection connection) {
  connection_ = std::move(connection);
  why_.clear();
}

BackEnd::Hearing BackEnd::hear() noexcept {
  for (uint32_t i = 0; i < kMessagesAtOnce; ++i) {
    if (!held_) {
      switch (connection_.receive(message_)) {
        case Connection::Got::nothing:
          return Hearing::all;
        case Connection::Got::gone:
          return Hearing::over;
        case Connection::Got::nonsense:
          why_ = "it said what is no message";
          return Hearing::over;
        case Connection::Got::message:
          break;
      }
    }
    try {
      held_ = !handle(message_);
      if (held_) return Hearing::waits;
    } catch (const std::exception& error) {
      held_ = false;
      const uint64_t failed = 1;
      if (message_.wants_reply() && (protocol_ & bit(protocol_feature::kReplyAck)) != 0)
        connection_.send(message_.request, Header::kReply, &failed, sizeof failed, nullptr, 0, 0);
      try {
        why_ = error.what();
      } catch (...) {
        why_.clear();  // without memory for it
      }
      return Hearing::over;
    }
    message_.clear();
  }
  return Hearing::all;
}

bool BackEnd::let_go() noexcept {
  if (!halt_all()) return false;
  for (uint32_t i = 0; i < rings_.size(); ++i) forget(rings_[i], i);
  memory_.reset();
  message_.clear();
  connection_.close();
  held_ = false;
  features_ = protocol_ = status_ = 0;
  mtu_ = 0;
  return true;
}

bool BackEnd::look_after() noexcept {
  const char* problem = nullptr;
  if (memory_ && memory_->gone()) problem = "it took away memory that it had shared";
  for (const Ring& ring : rings_)
    if (ring.running && ring.call && was_full(ring.call.get()))
      problem = "it filled the eventfd by which it is told";
  if (problem == nullptr) return true;
  try {
    why_ = problem;
  } catch (...) {
    why_.clear();
  }
  return false;
}

bool BackEnd::running() const noexcept {
  return std::any_of(rings_.begin(), rings_.end(), [](const Ring& ring) { return ring.running; });
}

bool BackEnd::handle(Message& message) {
  if (message.reply()) refuse(name(message) + " is an answer that nobody asked for");
  bool answered = false;
  switch (message.request) {
    case Request::get_features:
      expect(message, 0);
      answer(message, options_.features | bit(feature::kProtocolFeatures));
      answered = true;
      break;
    case Request::set_features:
      expect(message, 8);
      set_features(message.as<uint64_t>());
      break;
    case Request::get_protocol_features:
      expect(message, 0);
      answer(message, kProtocol);
      answered = true;
      break;
    case Request::set_protocol_features:
      expect(message, 8);
      if ((message.as<uint64_t>() & ~kProtocol) != 0)
        refuse("it takes features of the protocol that were not offered");
      protocol_ = message.as<uint64_t>();
      break;
    case Request::set_owner:
      expect(message, 0);
      break;
    case Request::reset_owner:
    case Request::reset_device:
      expect(message, 0);
      if (!reset()) return false;
      break;
    case Request::set_memory_table:
      if (!set_memory(message)) return false;
      break;
    case Request::set_ring_size:
    case Request::set_ring_address:
    case Request::set_ring_base:
      if (!set_up(message)) return false;
      break;
    case Request::set_ring_enable:
      if (!enable(message)) return false;
      break;
    case Request::get_ring_base:
      if (!get_base(message)) return false;
      answered = true;
      break;
    case Request::set_ring_kick:
    case Request::set_ring_call:
    case Request::set_ring_error:
      if (!set_descriptor(message)) return false;
      break;
    case Request::get_queue_count:
      expect(message, 0);
      answer(message, options_.pairs);
      answered = true;
      break;
    case Request::send_rarp:
      expect(message, 8);  // where the guest is now is for the network to learn from its packets
      break;
    case Request::set_mtu:
      expect(message, 8);
      if (message.as<uint64_t>() < kMtuMin || message.as<uint64_t>() > 0xffff)
        refuse("it says that its MTU is " + std::to_string(message.as<uint64_t>()));
      mtu_ = message.as<uint16_t>();
      break;
    case Request::set_status:
      expect(message, 8);
      status_ = message.as<uint64_t>();
      break;
    case Request::get_status:
      expect(message, 0);
      answer(message, status_);
      answered = true;
      break;
    default:
      refuse(name(message) + " is none that was offered");
  }
  if (!answered && message.wants_reply() && (protocol_ & bit(protocol_feature::kReplyAck)) != 0)
    answer(message, uint64_t{0});
  return true;
}

void BackEnd::set_features(uint64_t features) {
  const uint64_t offered = options_.features | bit(feature::kProtocolFeatures);
  if ((features & ~offered) != 0) refuse("it takes features that were not offered");
  if ((features & bit(virtio::feature::kVersion1)) == 0)
    refuse("its driver is older than VIRTIO 1.0");
  if (features != features_ && running())
    refuse("it takes other features while its rings are in use");
  features_ = features;
}

bool BackEnd::reset() {
  if (!halt_all()) return false;
  for (uint32_t i = 0; i < rings_.size(); ++i) forget(rings_[i], i);
  status_ = 0;
  return true;
}

bool BackEnd::set_memory(Message& message) {
  MemoryTable table{};
  constexpr uint32_t kHead = offsetof(MemoryTable, regions);
  if (message.bytes < kHead || message.bytes > sizeof table)
    refuse("its memory table has " + std::to_string(message.bytes) + " bytes");
  std::memcpy(&table, message.payload, message.bytes);
  if (table.count == 0 || table.count > kRegionsMax)
    refuse("its memory table has " + std::to_string(table.count) + " regions, not 1 to " +
           std::to_string(kRegionsMax));
  expect(message, kHead + table.count * static_cast<uint32_t>(sizeof(Region)), table.count);
  if (!halt_all()) return false;
  // First the new one: were it not to be had, nothing has changed.
  memory_ = std::make_unique<PeerMemory>(table, message.fds);
  run_complete();
  return true;
}

bool BackEnd::set_up(const Message& message) {
  expect(message, message.request == Request::set_ring_address ? sizeof(RingAddress) : 8);
  const auto state = message.as<RingState>();
  Ring& ring = ring_of(state.queue);
  if (!halt(state.queue)) return false;
  switch (message.request) {
    case Request::set_ring_size:
      if (state.value < 2 || state.value > kRingMax)
        refuse("ring " + std::to_string(state.queue) + " has " + std::to_string(state.value) +
               " descriptors");
      ring.size = static_cast<uint16_t>(state.value);
      break;
    case Request::set_ring_base:
      ring.base = state.value;
      break;
    default:
      ring.address = message.as<RingAddress>();
      ring.placed = true;
  }
  run_if_complete(state.queue);
  return true;
}

bool BackEnd::enable(const Message& message) {
  expect(message, 8);
  const auto state = message.as<RingState>();
  Ring& ring = ring_of(state.queue);
  if (state.value > 1) refuse(name(message) + " is neither on nor off");
  if (!halt(state.queue)) return false;
  ring.enabled = state.value == 1;
  run_if_complete(state.queue);
  return true;
}

bool BackEnd::set_descriptor(Message& message) {
  const auto value = message.bytes == 8 ? message.as<uint64_t>() : 0;
  const bool none = (value & kNoDescriptor) != 0;
  expect(message, 8, none ? 0 : 1);
  const auto queue = static_cast<uint32_t>(value & kQueueMask);
  Ring& ring = ring_of(queue);
  if (!none && !is_eventfd(message.fds[0].get()))
    refuse(name(message) + " brings a descriptor that is no eventfd");
  // An error ends the connection, which says more.
  if (message.request == Request::set_ring_error) return true;
  if (!halt(queue)) return false;
  if (message.request == Request::set_ring_kick) {
    queues_.unwatch(queue);
    ring.kick.reset();
    ring.kick = std::move(message.fds[0]);
    ring.kicks = !none;
    ring.started = true;
    if (!none) queues_.watch(queue, ring.kick.get());
  } else {
    ring.call.reset();
    ring.call = std::move(message.fds[0]);
  }
  run_if_complete(queue);
  return true;
}

bool BackEnd::get_base(const Message& message) {
  expect(message, 8);
  const auto queue = message.as<RingState>().queue;
  Ring& ring = ring_of(queue);
  if (!halt(queue)) return false;
  const RingState state{queue, ring.base};
  // The ring is the driver's, until it is kicked anew.
  queues_.unwatch(queue);
  ring.started = ring.kicks = false;
  ring.kick.reset();
  ring.call.reset();
  answer(message, &state, sizeof state);
  return true;
}

BackEnd::Ring& BackEnd::ring_of(uint64_t index) {
  if (index >= rings_.size())
    refuse("it speaks of queue " + std::to_string(index) + " of " + std::to_string(rings_.size()));
  return rings_[index];
}

bool BackEnd::halt(uint32_t queue) noexcept {
  Ring& ring = rings_[queue];
  if (!ring.running) return true;
  queues_.stop(queue);
  if (!queues_.stopped(queue)) return false;
  ring.base = queues_.base(queue);
  ring.running = false;
  return true;
}

// All are asked before the first is waited for.
bool BackEnd::halt_all() noexcept {
  bool all = true;
  for (uint32_t i = 0; i < rings_.size(); ++i) all = halt(i) && all;
  return all;
}

void BackEnd::run_complete() {
  for (uint32_t i = 0; i < rings_.size(); ++i) run_if_complete(i);
}

void BackEnd::run_if_complete(uint32_t queue) {
  Ring& ring = rings_[queue];
  const bool enabled = ring.enabled || !has(feature::kProtocolFeatures);
  if (ring.running || !ring.started || !enabled || !ring.placed || ring.size == 0 ||
      features_ == 0 || !memory_)
    return;
  const virtio::RingParts parts = place(ring);
  if (parts.descriptors == nullptr)
    refuse("ring " + std::to_string(queue) +
           " does not lie in its memory, or not where a ring may begin");
  queues_.run(queue, {features_, parts, ring.size, ring.base, ring.call.get(), ring.kicks, mtu_,
                      memory_.get()});
  ring.running = true;
}

// VIRTIO 1.2 §2.7, §2.8: what the parts are long, and aligned to.
virtio::RingParts BackEnd::place(const Ring& ring) const {
  const bool packed = has(virtio::feature::kRingPacked);
  if (!packed && !std::has_single_bit(ring.size)) return {};
  const uint64_t size = ring.size;
  const virtio::RingParts parts{memory_->of_user(ring.address.descriptors, 16 * size),
                                memory_->of_user(ring.address.driver, packed ? 4 : 6 + 2 * size),
                                memory_->of_user(ring.address.device, packed ? 4 : 6 + 8 * size)};
  const auto fits = [](const std::byte* part, uintptr_t align) {
    return part != nullptr && reinterpret_cast<uintptr_t>(part) % align == 0;
  };
  if (!fits(parts.descriptors, 16) || !fits(parts.driver, packed ? 4 : 2) || !fits(parts.device, 4))
    return {};
  return parts;
}

void BackEnd::forget(Ring& ring, uint32_t queue) noexcept {
  queues_.unwatch(queue);
  ring = Ring{};
}

void BackEnd::answer(const Message& message, const void* payload, uint32_t bytes) {
  // A peer that does not read what it asked for has filled its own socket.
  if (!connection_.send(message.request, Header::kReply, payload, bytes, nullptr, 0, 0))
    refuse("it does not take answers");
}

}  // namespace vanity::vhost
