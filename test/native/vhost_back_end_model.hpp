// The back-end of a vhost-user socket as QEMU's Vhost-user Protocol describes it, on a thread of
// its own, over the rings of virtio_model.hpp: what it is sent on one pair of queues it sends back
// on the same. It can be told to misbehave.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "check.hpp"
#include "vhost/socket.hpp"
#include "virtio_model.hpp"

namespace model {

using vanity::vhost::Connection;
using vanity::vhost::Message;
using vanity::vhost::Request;

class BackEnd {
 public:
  struct Options {
    uint64_t features = uint64_t{1} << 32 | uint64_t{1} << 30 | uint64_t{1} << 22;
    uint64_t protocol = 1 << 0 | 1 << 3 | 1 << 5;
    uint64_t pairs = 4;
    // At the request of this number: what it does instead of what it is asked.
    Request at{};
    enum { nothing, refuse, silence, nonsense, hang_up } instead = nothing;
  };

  BackEnd(Connection connection, const Options& options)
      : options_(options), connection_(std::move(connection)), thread_([this] { main(); }) {}
  ~BackEnd() {
    end();
    for (const auto& [at, bytes] : mapped_) munmap(at, bytes);
  }

  // It does nothing more, and `reflected` is how many it did it to.
  void end() {
    end_ = true;
    if (thread_.joinable()) thread_.join();
  }

  std::atomic<uint32_t> reflected{0};
  std::atomic<uint32_t> calls{0};
  std::atomic<uint32_t> regions{0};
  std::atomic<uint64_t> accepted{0};
  std::atomic<bool> reflects{true};    // false: takes nothing
  std::atomic<bool> lies{false};       // uses a buffer that nobody gave it
  std::atomic<bool> complains{false};  // by the error descriptor of queue 0
  std::atomic<bool> runs{false};       // both queues of the first pair

 private:
  using Device = std::variant<SplitDevice, PackedDevice>;
  struct Ring {
    uint16_t size = 0;
    Areas areas{};
    std::unique_ptr<Device> device;
    vanity::Fd kick, call, error;
    bool enabled = false;
    std::optional<Chain> next;  // a buffer that was taken and not used yet
  };

  void main() {
    Message message;
    while (!end_) {
      const auto got = connection_.receive(message, runs ? 0 : 5);
      if (got == Connection::Got::gone || got == Connection::Got::nonsense) break;
      if (got == Connection::Got::message && !handle(message)) break;
      if (got == Connection::Got::nothing) work();
    }
    runs = false;
    connection_.close();
  }

  uint8_t* at(uint64_t address, uint64_t vanity::vhost::Region::*kind) const {
    for (size_t i = 0; i < table_.count; ++i) {
      const auto& region = table_.regions[i];
      if (address - region.*kind < region.bytes) return mapped_[i].first + (address - region.*kind);
    }
    return nullptr;
  }
  void answer(const Message& message, const void* payload, uint32_t bytes) {
    connection_.send(message.request, vanity::vhost::Header::kReply, payload, bytes);
  }
  bool handle(Message& message) {
    using vanity::vhost::RingState;
    uint64_t value = message.bytes == 8 ? message.as<uint64_t>() : 0;
    if (message.request == options_.at) {
      value = 1;
      switch (options_.instead) {
        case Options::silence:
          return true;
        case Options::hang_up:
          return false;
        case Options::nonsense: {
          const char text[] = "HTTP/1.1 400 Bad Request\r\n";
          return ::write(connection_.fd(), text, sizeof text) > 0;
        }
        case Options::refuse:
          answer(message, &value, 8);
          return true;
        case Options::nothing:
          break;
      }
    }
    Ring* const ring = &rings_[message.bytes >= 4 ? message.as<uint32_t>() & 0xff : 0];
    switch (message.request) {
      case Request::get_features:
        answer(message, &options_.features, 8);
        return true;
      case Request::get_protocol_features:
        answer(message, &options_.protocol, 8);
        return true;
      case Request::get_queue_count:
        answer(message, &options_.pairs, 8);
        return true;
      case Request::get_ring_base: {
        const RingState state{message.as<RingState>().queue, 0};
        ring->device.reset();
        ring->next.reset();
        ring->enabled = runs = false;
        answer(message, &state, sizeof state);
        return true;
      }
      case Request::set_features:
        accepted = value;
        break;
      case Request::set_memory_table:
        table_ = message.as<vanity::vhost::MemoryTable>();
        regions = table_.count;
        for (uint32_t i = 0; i < table_.count; ++i) {
          void* const base = mmap(nullptr, table_.regions[i].bytes, PROT_READ | PROT_WRITE,
                                  MAP_SHARED, message.fds[i].get(), 0);
          mapped_.emplace_back(static_cast<uint8_t*>(base), table_.regions[i].bytes);
        }
        break;
      case Request::set_ring_size:
        ring->size = static_cast<uint16_t>(message.as<RingState>().value);
        break;
      case Request::set_ring_address: {
        const auto place = message.as<vanity::vhost::RingAddress>();
        const auto user = &vanity::vhost::Region::user;
        ring->areas = {at(place.descriptors, user), at(place.driver, user), at(place.device, user),
                       ring->size, (accepted >> 29 & 1) != 0};
        break;
      }
      case Request::set_ring_call:
        ring->call = std::move(message.fds[0]);
        break;
      case Request::set_ring_error:
        ring->error = std::move(message.fds[0]);
        break;
      case Request::set_ring_kick:
        ring->kick = std::move(message.fds[0]);
        ring->device = (accepted >> 34 & 1) != 0
                           ? std::make_unique<Device>(PackedDevice(ring->areas))
                           : std::make_unique<Device>(SplitDevice(ring->areas));
        break;
      case Request::set_ring_enable:
        ring->enabled = true;
        runs = rings_[0].enabled && rings_[1].enabled;
        break;
      default:
        break;
    }
    if (message.wants_reply()) {
      value = 0;
      answer(message, &value, 8);
    }
    return true;
  }

  void work() {
    if (complains.exchange(false)) tell(rings_[0].error);
    for (uint32_t pair = 0; runs && pair < options_.pairs; ++pair) {
      Ring& in = rings_[2 * pair];
      Ring& out = rings_[2 * pair + 1];
      if (!in.enabled || !out.enabled) continue;
      if (lies.exchange(false)) {
        Chain made_up;
        made_up.id = static_cast<uint16_t>(in.size + 1);
        made_up.descriptors = 1;
        std::visit([&](auto& device) { device.push(made_up, 64), device.show(); }, *in.device);
      }
      while (reflects && one(in, out)) ++reflected;
    }
  }
  bool one(Ring& in, Ring& out) {
    const auto have = [](Ring& ring) {
      if (ring.next) return true;
      ring.next.emplace();
      if (std::visit([&](auto& device) { return device.pop(*ring.next); }, *ring.device))
        return true;
      ring.next.reset();
      return false;
    };
    if (!have(in) || !have(out)) return false;  // what has no room waits
    const Chain to = *std::exchange(in.next, std::nullopt);
    const Chain from = *std::exchange(out.next, std::nullopt);
    uint32_t bytes = 0;
    uint8_t* const frame = at(to.parts[0].address, &vanity::vhost::Region::guest);
    for (const Part& part : from.parts) {
      std::memcpy(frame + bytes, at(part.address, &vanity::vhost::Region::guest), part.bytes);
      bytes += part.bytes;
    }
    std::visit(
        [&](auto& device) {
          device.push(to, bytes);
          if (device.show()) tell(in.call);
        },
        *in.device);
    std::visit(
        [&](auto& device) {
          device.push(from, 0);
          device.show();
        },
        *out.device);
    return true;
  }
  void tell(const vanity::Fd& fd) {
    const uint64_t one = 1;
    if (fd && ::write(fd.get(), &one, sizeof one) > 0) ++calls;
  }

  const Options options_;
  Connection connection_;
  vanity::vhost::MemoryTable table_{};
  std::vector<std::pair<uint8_t*, size_t>> mapped_;
  std::map<uint32_t, Ring> rings_;
  std::atomic<bool> end_{false};
  std::thread thread_;
};

}  // namespace model
