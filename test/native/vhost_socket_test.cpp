// Sockets of vhost-user: files, peers, messages whole and in pieces, descriptors, and what is no
// message.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "check.hpp"
#include "platform/error.hpp"
#include "vhost/socket.hpp"

using namespace vanity;
using namespace vanity::vhost;

namespace {

struct Folder {
  Folder() { CHECK(mkdtemp(path) != nullptr); }
  ~Folder() {
    unlink(file("a").c_str());
    rmdir(path);
  }
  std::string file(const std::string& name) const { return std::string(path) + "/" + name; }
  char path[32] = "/tmp/vanity-vhost-XXXXXX";
};

struct Ends {
  Ends() {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    ours = Connection(Fd(pair[0]));
    theirs = pair[1];
  }
  ~Ends() { ::close(theirs); }
  void write(const void* bytes, size_t count) const {
    CHECK_EQ(::write(theirs, bytes, count), static_cast<ssize_t>(count));
  }
  Connection ours;
  int theirs;
};

std::string why(const std::string& path, bool listen) {
  try {
    if (listen)
      Listener(path, "port p");
    else
      static_cast<void>(connect(path, "port p", {}));
  } catch (const Error& error) {
    CHECK_EQ(std::string(error.code()), "VANITY_E_PORT_PEER");
    CHECK(!error.hint().empty());
    return error.what();
  }
  return "";
}
bool says(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

uint32_t open_descriptors() {
  uint32_t count = 0;
  for (int fd = 0; fd < 256; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

TEST(a_socket_is_its_users_alone_and_goes_with_its_listener) {
  const Folder folder;
  {
    const Listener listener(folder.file("a"), "port p");
    struct stat file;
    CHECK(stat(folder.file("a").c_str(), &file) == 0);
    CHECK_EQ(file.st_mode & 0777, 0600u);
  }
  CHECK(access(folder.file("a").c_str(), F_OK) != 0);
}

TEST(a_socket_that_nobody_answers_on_is_replaced_and_no_other) {
  const Folder folder;
  const std::string path = folder.file("a");
  {
    const Fd stale(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    CHECK(bind(stale.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  CHECK(says(why(path, false), "is stale"));
  {
    const Listener listener(path, "port p");
    CHECK(says(why(path, true), "is in use"));
  }
  std::ofstream(path) << "text";
  CHECK(says(why(path, true), "is no socket"));
  CHECK(says(why(path, false), "is no socket"));
}

TEST(paths_that_cannot_be) {
  CHECK(says(why("/tmp/nowhere/at/all", false), "there is no socket"));
  CHECK(says(why("/tmp/nowhere/at/all", true), "can't make the socket"));
  CHECK(says(why("/tmp/" + std::string(102, 'x'), false), "there is no socket"));  // 107 bytes
  CHECK(says(why("/tmp/" + std::string(103, 'x'), false), "1 to 107 bytes"));
  CHECK(says(why("", true), "1 to 107 bytes"));
}

TEST(whoever_may_not_share_memory_is_turned_away) {
  if (geteuid() != 0) return;  // only root can be somebody else
  const Folder folder;
  chmod(folder.path, 0777);
  Listener listener(folder.file("a"), "port p");
  chmod(folder.file("a").c_str(), 0777);
  constexpr uid_t kOther = 4711;
  const auto dial = [&] {
    const pid_t child = fork();
    if (child == 0) {
      if (setuid(kOther) != 0) _exit(1);
      try {
        const Connection connection = connect(folder.file("a"), "port p", {});
        usleep(200'000);
      } catch (const Error&) {
        _exit(2);
      }
      _exit(0);
    }
  };
  // Root's socket is as good as one's own, so the child connects; who may come is said here.
  dial();
  usleep(100'000);
  std::string text;
  try {
    static_cast<void>(listener.accept({}));
  } catch (const Error& error) {
    text = std::string(error.what()) + error.hint();
  }
  CHECK(says(text, "of user 4711"));
  CHECK(says(text, "peer_uid = 4711"));
  dial();
  usleep(100'000);
  CHECK(listener.accept({kOther}));
}

TEST(a_socket_of_somebody_else_is_said_to_be_so) {
  if (geteuid() != 0) return;  // only root can be somebody else
  const Folder folder;
  chmod(folder.path, 0755);
  const Listener listener(folder.file("a"), "port p");
  const pid_t child = fork();
  if (child == 0) {
    constexpr uid_t kOther = 4711;
    if (setuid(kOther) != 0) _exit(1);
    _exit(says(why(folder.file("a"), false), "permission denied") ? 0 : 2);
  }
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

TEST(a_message_arrives_whole_however_it_is_cut) {
  const uint32_t before = open_descriptors();
  {
    Ends ends;
    Message message;
    CHECK(ends.ours.receive(message) == Connection::Got::nothing);
    struct {
      Header header{static_cast<uint32_t>(Request::set_ring_size), Header::kVersion, 8};
      RingState state{3, 256};
    } wire;
    static_assert(sizeof wire == 20);
    const auto* const bytes = reinterpret_cast<const char*>(&wire);
    for (size_t i = 0; i < sizeof wire; ++i) {
      CHECK(ends.ours.receive(message) == Connection::Got::nothing);
      ends.write(bytes + i, 1);
    }
    CHECK(ends.ours.receive(message) == Connection::Got::message);
    CHECK(message.request == Request::set_ring_size);
    CHECK_EQ(message.as<RingState>().value, 256u);
    CHECK(ends.ours.receive(message) == Connection::Got::nothing);

    // Two at once, with descriptors.
    Connection peer{Fd(dup(ends.theirs))};
    const int fds[2] = {0, 1};
    const uint64_t value = 7;
    CHECK(peer.send(Request::set_ring_kick, Header::kNeedReply, &value, sizeof value, fds, 2));
    CHECK(peer.send(Request::set_owner, 0, nullptr, 0));
    CHECK(ends.ours.receive(message, 100) == Connection::Got::message);
    CHECK_EQ(message.fd_count, 2u);
    CHECK(message.wants_reply());
    CHECK(fcntl(message.fds[1].get(), F_GETFD) == FD_CLOEXEC);
    CHECK(ends.ours.receive(message, 100) == Connection::Got::message);
    CHECK_EQ(message.fd_count, 0u);
    CHECK_EQ(message.bytes, 0u);
  }
  CHECK_EQ(open_descriptors(), before);
}

TEST(what_is_no_message_ends_the_trust_and_leaks_nothing) {
  const uint32_t before = open_descriptors();
  for (const Header header : {Header{1, 0, 0}, Header{1, 2, 0}, Header{1, 1, kPayloadMax + 1}}) {
    Ends ends;
    Message message;
    ends.write(&header, sizeof header);
    CHECK(ends.ours.receive(message) == Connection::Got::nonsense);
  }
  {
    Ends ends;
    Message message;
    const Header header{1, 1, kPayloadMax};  // the most, of which half comes
    ends.write(&header, sizeof header);
    const char half[kPayloadMax / 2] = {};
    ends.write(half, sizeof half);
    CHECK(ends.ours.receive(message) == Connection::Got::nothing);
    CHECK(ends.ours.receive(message, 20) == Connection::Got::nothing);
    shutdown(ends.theirs, SHUT_WR);
    CHECK(ends.ours.receive(message) == Connection::Got::gone);
  }
  for (const uint32_t count : {kFdsMax, kFdsMax + 1}) {
    Ends ends;
    Header header{1, 1, 0};
    alignas(cmsghdr) char control[CMSG_SPACE((kFdsMax + 1) * sizeof(int))] = {};
    iovec part{&header, sizeof header};
    msghdr wire{};
    wire.msg_iov = &part;
    wire.msg_iovlen = 1;
    wire.msg_control = control;
    wire.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* const rights = CMSG_FIRSTHDR(&wire);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (uint32_t i = 0; i < count; ++i) reinterpret_cast<int*>(CMSG_DATA(rights))[i] = 0;
    CHECK(sendmsg(ends.theirs, &wire, 0) > 0);
    Message message;
    CHECK(ends.ours.receive(message) ==
          (count == kFdsMax ? Connection::Got::message : Connection::Got::nonsense));
  }
  CHECK_EQ(open_descriptors(), before);
}

TEST(nobody_is_waited_for_longer_than_said) {
  Ends ends;
  char much[4096] = {};
  bool sent = true;
  for (int i = 0; sent && i < 4096; ++i)
    sent = ends.ours.send(Request::set_owner, 0, much, kPayloadMax, nullptr, 0, 10);
  CHECK(!sent);  // a peer that does not read
}

}  // namespace
