// Unix sockets that carry vhost-user messages. Control path, one thread at a time; nothing here
// waits for a peer unless it is told how long.
#pragma once

#include <cstdint>
#include <string>

#include "platform/fd.hpp"
#include "vhost/message.hpp"

namespace vanity::vhost {

// Who may be at the other end: root, this process's own user, and one more.
struct PeerRule {
  static constexpr uint32_t kNobody = 0xffffffffu;
  uint32_t uid = kNobody;
};

class Connection {
 public:
  enum class Got : uint8_t { message, nothing, gone, nonsense };

  Connection() = default;
  explicit Connection(Fd fd) noexcept : fd_(std::move(fd)) {}

  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
  int fd() const noexcept { return fd_.get(); }
  void close() noexcept;

  // The whole message with its descriptors, which stay the caller's. False: the peer is gone, or
  // has not read for `limit_ms`.
  bool send(Request request, uint32_t flags, const void* payload, uint32_t bytes,
            const int* fds = nullptr, uint32_t fd_count = 0, int limit_ms = 100) noexcept;

  // What has come so far; a message that is not complete is kept for the next call. `nonsense`: no
  // message of this protocol, or one with more than fits; the connection is good for nothing then.
  Got receive(Message& message) noexcept;
  // The same, waiting up to `limit_ms` for a whole one.
  Got receive(Message& message, int limit_ms) noexcept;

 private:
  Got fill(std::byte* to, uint32_t& have, uint32_t want) noexcept;

  Fd fd_;
  uint32_t have_header_ = 0;
  uint32_t have_payload_ = 0;
  Header header_{};
  Message partial_;
};

// A socket file, made with mode 0600 and removed at the end. One that is left over from a process
// that is gone is replaced; one that somebody answers on is an error.
class Listener {
 public:
  // Throws VANITY_E_PORT_PEER.
  Listener(const std::string& path, const std::string& who);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int fd() const noexcept { return fd_.get(); }
  // A peer that has connected, or nothing. Throws VANITY_E_PORT_PEER for one that may not.
  Connection accept(const PeerRule& rule);

 private:
  std::string path_;
  std::string who_;
  Fd fd_;
  uint64_t device_ = 0;  // of the file, to remove no other
  uint64_t inode_ = 0;
};

// Throws VANITY_E_PORT_PEER: there is no such file, it is no socket, nobody listens, the peer may
// not. `who` begins the message.
Connection connect(const std::string& path, const std::string& who, const PeerRule& rule);

}  // namespace vanity::vhost
