// What the two sides of a vhost-user socket say to one another (QEMU, Vhost-user Protocol, "Message
// Specification"): a header, a payload by the request, and descriptors beside it. Nothing that is
// received is believed; whoever takes a message checks its size and its descriptors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "platform/fd.hpp"

namespace vanity::vhost {

inline constexpr uint32_t kRegionsMax = 8;  // of a memory table
inline constexpr uint32_t kPayloadMax = 512;
inline constexpr uint32_t kFdsMax = kRegionsMax;

enum class Request : uint32_t {
  get_features = 1,
  set_features = 2,
  set_owner = 3,
  reset_owner = 4,
  set_memory_table = 5,
  set_log_base = 6,
  set_log_fd = 7,
  set_ring_size = 8,
  set_ring_address = 9,
  set_ring_base = 10,
  get_ring_base = 11,
  set_ring_kick = 12,
  set_ring_call = 13,
  set_ring_error = 14,
  get_protocol_features = 15,
  set_protocol_features = 16,
  get_queue_count = 17,
  set_ring_enable = 18,
  send_rarp = 19,
  set_mtu = 20,
  set_back_end_socket = 21,
  reset_device = 34,
  set_status = 39,
  get_status = 40,
};

// What the back-end says by a socket of its own.
enum class BackEndRequest : uint32_t { ring_error = 5 };

namespace feature {
inline constexpr unsigned kProtocolFeatures = 30;  // among those of the device
}
namespace protocol_feature {
inline constexpr unsigned kMultiQueue = 0, kRarp = 2, kReplyAck = 3, kMtu = 4, kBackEndSocket = 5,
                          kResetDevice = 13, kStatus = 16;
}

struct Header {
  static constexpr uint32_t kVersion = 1, kVersionMask = 3, kReply = 4, kNeedReply = 8;
  uint32_t request;
  uint32_t flags;
  uint32_t bytes;  // of the payload
};
static_assert(sizeof(Header) == 12);

struct RingState {
  uint32_t queue;
  uint32_t value;
};
struct RingAddress {
  uint32_t queue;
  uint32_t flags;
  // In the front-end's own addresses ("user"), not the device's.
  uint64_t descriptors;
  uint64_t device;  // used ring; of a packed queue the device's event area
  uint64_t driver;  // available ring; of a packed queue the driver's event area
  uint64_t log;
};
struct Region {
  uint64_t guest;  // address in descriptors
  uint64_t bytes;
  uint64_t user;    // address in RingAddress
  uint64_t offset;  // in the descriptor that comes with it
};
struct MemoryTable {
  uint32_t count;
  uint32_t padding;
  Region regions[kRegionsMax];
};
static_assert(sizeof(MemoryTable) == 8 + kRegionsMax * sizeof(Region));

// set_ring_kick, _call and _error: the queue, and whether a descriptor comes along.
inline constexpr uint64_t kQueueMask = 0xff, kNoDescriptor = 1u << 8;

// The base of a packed queue: available index and wrap, used index and wrap (bits 15 and 31).
inline constexpr uint32_t kPackedBase = 0x8000'8000;

struct Message {
  Request request{};
  uint32_t flags = 0;
  uint32_t bytes = 0;
  alignas(8) std::byte payload[kPayloadMax] = {};
  std::array<Fd, kFdsMax> fds;
  uint32_t fd_count = 0;

  bool reply() const noexcept { return (flags & Header::kReply) != 0; }
  bool wants_reply() const noexcept { return (flags & Header::kNeedReply) != 0; }
  // The payload as one value; the caller has looked at `bytes`.
  template <class T>
  T as() const noexcept {
    static_assert(sizeof(T) <= kPayloadMax);
    T value;
    std::memcpy(&value, payload, sizeof value);
    return value;
  }
  template <class T>
  void set(const T& value) noexcept {
    static_assert(sizeof(T) <= kPayloadMax);
    std::memcpy(payload, &value, sizeof value);
    bytes = sizeof value;
  }
  void clear() noexcept {
    for (Fd& fd : fds) fd.reset();
    fd_count = bytes = flags = 0;
    request = {};
  }
};

}  // namespace vanity::vhost
