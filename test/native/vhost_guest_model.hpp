// A vhost-user front-end with the driver of a network device behind it, written from the Vhost-user
// Protocol and VIRTIO 1.2 §5.1: numbers are the specifications', and what it says can be anything.
// Its rings are native/virtio's, which the model of the device has tried.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "platform/fd.hpp"
#include "virtio/packed_ring.hpp"
#include "virtio/split_ring.hpp"

namespace model {

using Bytes = std::vector<uint8_t>;

class Guest {
 public:
  // Its memory is one file; the front-end sees it at kUser, the driver at kGuest.
  static constexpr uint64_t kGuest = 0x1'0000'0000, kUser = 0x7f00'0000'0000;
  static constexpr uint32_t kMemoryBytes = 8u << 20;
  static constexpr uint32_t kBuffers = 1u << 20;  // where they begin
  static constexpr uint32_t kBufferStride = 4096;
  static constexpr uint32_t kHeaderBytes = 12;

  using Ring = std::variant<std::monostate, vanity::virtio::SplitRing, vanity::virtio::PackedRing>;
  struct Queue {
    uint16_t size = 0;
    vanity::virtio::RingLayout layout{};
    uint32_t at = 0;  // of the ring, in the memory
    Ring ring;
    std::vector<uint32_t> free;  // buffers, numbered through all queues
    vanity::Fd kick{eventfd(0, EFD_NONBLOCK)}, call{eventfd(0, EFD_NONBLOCK)};
    uint32_t base = 0;
  };

  explicit Guest(uint32_t queue_count = 2, uint16_t size = 64, uint32_t buffer_bytes = 2048)
      : buffer_bytes(buffer_bytes), queues(queue_count) {
    file = vanity::Fd(memfd_create("guest", MFD_CLOEXEC));
    if (ftruncate(file.get(), kMemoryBytes) != 0) std::abort();
    memory = static_cast<uint8_t*>(
        mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
    for (uint32_t i = 0; i < queue_count; ++i) {
      queues[i].size = size;
      queues[i].at = 0x4000 * i;
    }
  }
  ~Guest() { munmap(memory, kMemoryBytes); }
  Guest(const Guest&) = delete;

  // ---- the socket
  bool dial(const std::string& path) {
    socket = vanity::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    return connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  void send(uint32_t request, const void* payload, uint32_t bytes, const std::vector<int>& fds = {},
            uint32_t flags = 1) const {
    const uint32_t header[3] = {request, flags, bytes};
    Bytes all(sizeof header + bytes);
    std::memcpy(all.data(), header, sizeof header);
    if (bytes != 0) std::memcpy(all.data() + sizeof header, payload, bytes);
    send_raw(all, fds);
  }
  void send_raw(const Bytes& bytes, const std::vector<int>& fds = {}) const {
    iovec part{const_cast<uint8_t*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(32 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
      cmsghdr* const rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
    }
    // A peer that has let go is no error here.
    static_cast<void>(sendmsg(socket.get(), &message, MSG_NOSIGNAL));
  }
  void send_u64(uint32_t request, uint64_t value, const std::vector<int>& fds = {},
                uint32_t flags = 1) const {
    send(request, &value, sizeof value, fds, flags);
  }
  void send_state(uint32_t request, uint32_t queue, uint32_t value) const {
    const uint32_t state[2] = {queue, value};
    send(request, state, sizeof state);
  }
  // The payload of an answer that is there; nothing: there is none.
  std::optional<Bytes> answer() const {
    uint32_t header[3];
    if (recv(socket.get(), header, sizeof header, MSG_DONTWAIT) != sizeof header) return {};
    Bytes payload(header[2]);
    if (recv(socket.get(), payload.data(), payload.size(), MSG_DONTWAIT) !=
        static_cast<ssize_t>(payload.size()))
      return {};
    last_flags = header[1];
    return payload;
  }
  std::optional<uint64_t> answer_u64() const {
    const auto payload = answer();
    if (!payload || payload->size() != 8) return {};
    uint64_t value;
    std::memcpy(&value, payload->data(), 8);
    return value;
  }
  // Has the other side let go?
  bool hung_up() const {
    pollfd polled{socket.get(), POLLRDHUP, 0};
    return poll(&polled, 1, 0) == 1 && (polled.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }

  // ---- to the start
  void share_memory() const {
    struct {
      uint32_t count = 1, padding = 0;
      uint64_t guest = kGuest, bytes = kMemoryBytes, user = kUser, offset = 0;
    } const table;
    send(5, &table, sizeof table, {file.get()});
  }
  void make_ring(uint32_t number) {
    Queue& queue = queues[number];
    const bool packed = has(34);
    queue.layout = vanity::virtio::RingLayout::of(packed, queue.size);
    std::memset(memory + queue.at, 0, queue.layout.bytes);
    auto* const at = reinterpret_cast<std::byte*>(memory + queue.at);
    if (packed) {
      queue.ring.emplace<vanity::virtio::PackedRing>(queue.size, at, ring_features());
      queue.base = 0x8000'8000;
    } else {
      queue.ring.emplace<vanity::virtio::SplitRing>(queue.size, at, ring_features());
      queue.base = 0;
    }
    queue.free.clear();
    for (uint32_t i = 0; i < queue.size; ++i)
      queue.free.push_back(number * queue.size + queue.size - 1 - i);
  }
  void tell_of_ring(uint32_t number) const {
    const Queue& queue = queues[number];
    send_state(8, number, queue.size);
    send_state(10, number, queue.base);
    const struct {
      uint32_t queue, flags;
      uint64_t descriptors, device, driver, log;
    } place{number,
            0,
            kUser + queue.at + queue.layout.descriptors,
            kUser + queue.at + queue.layout.device,
            kUser + queue.at + queue.layout.driver,
            0};
    send(9, &place, sizeof place);
    send_u64(13, number, {queue.call.get()});
    send_u64(12, number, {queue.kick.get()});
    if (has(30)) send_state(18, number, 1);
  }
  void begin(uint64_t wanted) {
    features = wanted;
    send(3, nullptr, 0);
    if (has(30)) send_u64(16, 1u << 0 | 1u << 3);
    send_u64(2, features);
    share_memory();
    for (uint32_t i = 0; i < queues.size(); ++i) {
      make_ring(i);
      tell_of_ring(i);
    }
  }

  // ---- the driver
  bool has(unsigned feature) const { return (features >> feature & 1) != 0; }
  vanity::virtio::RingFeatures ring_features() const { return {has(29), false}; }
  template <class Work>
  auto with_ring(uint32_t number, Work work) {
    Ring& ring = queues[number].ring;
    if (auto* const packed = std::get_if<vanity::virtio::PackedRing>(&ring)) return work(*packed);
    return work(std::get<vanity::virtio::SplitRing>(ring));
  }
  uint8_t* buffer(uint32_t token) const { return memory + kBuffers + kBufferStride * token; }
  static uint64_t address(uint32_t token) { return kGuest + kBuffers + kBufferStride * token; }

  // Hands all free buffers of a receive queue out. True: the device wants to be told.
  bool post(uint32_t number, uint32_t parts = 1) {
    Queue& queue = queues[number];
    return with_ring(number, [&](auto& ring) {
      while (!queue.free.empty() && ring.free_count() >= parts) {
        const uint32_t token = queue.free.back();
        queue.free.pop_back();
        std::vector<vanity::virtio::Part> all;
        const uint32_t each = buffer_bytes / parts;
        for (uint32_t i = 0; i < parts; ++i) all.push_back({address(token) + each * i, each, true});
        if (parts == 1) {
          ring.add(all[0], token);
        } else {
          ring.add_chain(all.data(), parts, token);
        }
      }
      return ring.publish();
    });
  }
  // False: no room. `header`: 12 bytes, else zeros.
  bool send_frame(uint32_t number, const Bytes& frame, const Bytes& header = Bytes(kHeaderBytes),
                  uint32_t parts = 1) {
    Queue& queue = queues[number];
    return with_ring(number, [&](auto& ring) {
      if (queue.free.empty() || ring.free_count() < parts) return false;
      const uint32_t token = queue.free.back();
      queue.free.pop_back();
      Bytes all(header);
      all.insert(all.end(), frame.begin(), frame.end());
      std::memcpy(buffer(token), all.data(), all.size());
      const auto total = static_cast<uint32_t>(all.size());
      std::vector<vanity::virtio::Part> pieces;
      for (uint32_t i = 0; i < parts; ++i) {
        const uint32_t from = total * i / parts, to = total * (i + 1) / parts;
        pieces.push_back({address(token) + from, to - from, false});
      }
      if (parts == 1) {
        ring.add(pieces[0], token);
      } else {
        ring.add_chain(pieces.data(), parts, token);
      }
      return true;
    });
  }
  bool publish(uint32_t number) {
    return with_ring(number, [](auto& ring) { return ring.publish(); });
  }
  // Buffers of frames that were sent come back.
  uint32_t reclaim(uint32_t number) {
    vanity::virtio::Used used[64];
    uint32_t all = 0;
    for (uint32_t got;
         (got = with_ring(number, [&](auto& ring) { return ring.collect(used, 64); })) != 0;
         all += got)
      for (uint32_t i = 0; i < got; ++i) queues[number].free.push_back(used[i].token);
    return all;
  }
  // The next frame that came in, its header in front.
  std::optional<Bytes> receive(uint32_t number) {
    Bytes frame;
    for (uint32_t left = 1; left != 0; --left) {
      vanity::virtio::Used used;
      if (with_ring(number, [&](auto& ring) { return ring.collect(&used, 1); }) == 0) return {};
      const bool first = frame.empty();
      frame.insert(frame.end(), buffer(used.token), buffer(used.token) + used.bytes);
      queues[number].free.insert(queues[number].free.begin(), used.token);
      if (first && has(15)) left = frame[10] | frame[11] << 8;
    }
    return frame;
  }

  const uint32_t buffer_bytes;
  vanity::Fd file;
  uint8_t* memory;
  vanity::Fd socket;
  std::vector<Queue> queues;
  uint64_t features = 0;
  mutable uint32_t last_flags = 0;
};

}  // namespace model
