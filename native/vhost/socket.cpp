#include "vhost/socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "platform/error.hpp"

namespace vanity::vhost {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void refuse(const std::string& who, const std::string& what, const std::string& hint) {
  throw Error("VANITY_E_PORT_PEER", who + ": " + what, hint);
}

sockaddr_un address_of(const std::string& path, const std::string& who) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    refuse(who,
           "the path of a socket has 1 to " + std::to_string(sizeof address.sun_path - 1) +
               " bytes: " + path,
           "choose a shorter one, such as /run/vanity/net0.sock");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Fd make_socket(const std::string& who) {
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) refuse(who, std::string("no socket: ") + std::strerror(errno), "ulimit -n");
  return fd;
}

void check_peer(int fd, const PeerRule& rule, const std::string& who, const std::string& path) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0)
    refuse(who, path + ": the peer does not say who it is", "");
  if (peer.uid == 0 || peer.uid == geteuid() || peer.uid == rule.uid) return;
  refuse(who,
         path + ": process " + std::to_string(peer.pid) + " of user " + std::to_string(peer.uid) +
             " is at the other end, who may not share memory with this system",
         "peer_uid = " + std::to_string(peer.uid) + ", if that is right");
}

// poll() with a deadline. False: it is over.
bool wait_for(int fd, short events, Clock::time_point until) noexcept {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd polled{fd, events, 0};
    const int ready = poll(&polled, 1, static_cast<int>(std::max<long long>(left, 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

}  // namespace

void Connection::close() noexcept {
  fd_.reset();
  partial_.clear();
  have_header_ = have_payload_ = 0;
}

bool Connection::send(Request request, uint32_t flags, const void* payload, uint32_t bytes,
                      const int* fds, uint32_t fd_count, int limit_ms) noexcept {
  if (!fd_ || fd_count > kFdsMax) return false;
  Header header{static_cast<uint32_t>(request), Header::kVersion | flags, bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsMax * sizeof(int))] = {};
  iovec parts[2] = {{&header, sizeof header}, {const_cast<void*>(payload), bytes}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  if (fd_count != 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
  }
  const auto until = Clock::now() + std::chrono::milliseconds(limit_ms);
  size_t left = sizeof header + bytes;
  while (left != 0) {
    const ssize_t sent = sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN || !wait_for(fd_.get(), POLLOUT, until)) return false;
      continue;
    }
    left -= static_cast<size_t>(sent);
    message.msg_control = nullptr;  // they went with the first byte
    message.msg_controllen = 0;
    size_t past = static_cast<size_t>(sent);
    for (iovec& part : parts) {
      const size_t step = std::min(past, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + step;
      part.iov_len -= step;
      past -= step;
    }
  }
  return true;
}

Connection::Got Connection::fill(std::byte* to, uint32_t& have, uint32_t want) noexcept {
  while (have < want) {
    alignas(cmsghdr) char control[CMSG_SPACE(kFdsMax * sizeof(int))];
    iovec part{to + have, want - have};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN ? Got::nothing : Got::gone;
    bool too_many = (message.msg_flags & MSG_CTRUNC) != 0;
    for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
      if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(one) + i * sizeof fd, sizeof fd);
        Fd taken(fd);
        too_many |= partial_.fd_count == kFdsMax;
        if (!too_many) partial_.fds[partial_.fd_count++] = std::move(taken);
      }
    }
    if (too_many) return Got::nonsense;
    if (got == 0) return Got::gone;
    have += static_cast<uint32_t>(got);
  }
  return Got::message;
}

Connection::Got Connection::receive(Message& message) noexcept {
  if (!fd_) return Got::gone;
  Got got = fill(reinterpret_cast<std::byte*>(&header_), have_header_, sizeof header_);
  if (got != Got::message) return got;
  if ((header_.flags & Header::kVersionMask) != Header::kVersion || header_.bytes > kPayloadMax)
    return Got::nonsense;
  got = fill(partial_.payload, have_payload_, header_.bytes);
  if (got != Got::message) return got;
  partial_.request = static_cast<Request>(header_.request);
  partial_.flags = header_.flags;
  partial_.bytes = header_.bytes;
  message = std::move(partial_);
  partial_.clear();
  have_header_ = have_payload_ = 0;
  return Got::message;
}

Connection::Got Connection::receive(Message& message, int limit_ms) noexcept {
  const auto until = Clock::now() + std::chrono::milliseconds(limit_ms);
  for (;;) {
    const Got got = receive(message);
    if (got != Got::nothing || !wait_for(fd_.get(), POLLIN, until)) return got;
  }
}

Listener::Listener(const std::string& path, const std::string& who) : path_(path), who_(who) {
  const sockaddr_un address = address_of(path, who);
  const auto* const any = reinterpret_cast<const sockaddr*>(&address);
  struct stat file;
  if (lstat(path.c_str(), &file) == 0) {
    if (!S_ISSOCK(file.st_mode))
      refuse(who, path + " exists and is no socket", "choose another path, or remove the file");
    const Fd probe = make_socket(who);
    if (::connect(probe.get(), any, sizeof address) == 0 || errno != ECONNREFUSED)
      refuse(who, path + " is in use: somebody listens on it",
             "stop that process, choose another path, or be its client: role = \"client\"");
    unlink(path.c_str());
  }
  fd_ = make_socket(who);
  // Before there is a file, so that it never has another mode.
  fchmod(fd_.get(), 0600);
  if (bind(fd_.get(), any, sizeof address) != 0) {
    const int why = errno;
    const size_t slash = path.rfind('/');
    refuse(who, "can't make the socket " + path + ": " + std::strerror(why),
           why == ENOENT && slash != std::string::npos
               ? "make its folder: mkdir -p " + path.substr(0, slash)
               : "choose a path where this user may make files");
  }
  if (listen(fd_.get(), 1) != 0)
    refuse(who, "can't listen on " + path + ": " + std::strerror(errno), "");
  if (lstat(path.c_str(), &file) == 0) {
    device_ = file.st_dev;
    inode_ = file.st_ino;
  }
}

Listener::~Listener() {
  struct stat file;
  if (fd_ && lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ && file.st_ino == inode_)
    unlink(path_.c_str());
}

Connection Listener::accept(const PeerRule& rule) {
  Fd fd(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return {};
  check_peer(fd.get(), rule, who_, path_);
  return Connection(std::move(fd));
}

Connection connect(const std::string& path, const std::string& who, const PeerRule& rule) {
  const sockaddr_un address = address_of(path, who);
  Fd fd = make_socket(who);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    switch (errno) {
      case ENOENT:
        refuse(who, "there is no socket " + path,
               "start the other side first, or correct the path");
      case ECONNREFUSED: {
        struct stat file;
        const bool socket = lstat(path.c_str(), &file) == 0 && S_ISSOCK(file.st_mode);
        refuse(who, socket ? path + " is stale: nobody listens on it" : path + " is no socket",
               socket ? "start the other side" : "correct the path");
      }
      case EACCES:
        refuse(who, path + " belongs to somebody else: permission denied",
               "let this user write to it: chown or chmod g+w " + path);
      case EPROTOTYPE:
        refuse(who, path + " is a socket of another kind", "correct the path");
      case EAGAIN:
        refuse(who, path + " is busy: its queue of connections is full",
               "a vhost-user socket has one peer");
      default:
        refuse(who, path + ": " + std::strerror(errno), "");
    }
  }
  check_peer(fd.get(), rule, who, path);
  return Connection(std::move(fd));
}

}  // namespace vanity::vhost
