#include "sim/apart.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

namespace vanity::sim {
namespace {

// What goes through the pipe ahead of the texts.
struct Head {
  uint32_t verdict;
  uint32_t steps;
  uint64_t what, decisions, text;  // bytes of each
};

void write_all(int to, const void* from, size_t bytes) noexcept {
  const auto* at = static_cast<const char*>(from);
  while (bytes != 0) {
    const ssize_t written = write(to, at, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) _exit(1);  // nobody listens
    at += written;
    bytes -= static_cast<size_t>(written);
  }
}

std::string read_all(int from) {
  std::string all;
  char part[16384];
  for (;;) {
    const ssize_t got = read(from, part, sizeof(part));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return all;
    all.append(part, static_cast<size_t>(got));
  }
}

// What a program prints is printed once, when it is run again to be shown.
void be_silent() noexcept {
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0) return;
  dup2(nowhere, STDOUT_FILENO);
  dup2(nowhere, STDERR_FILENO);
  close(nowhere);
}

[[noreturn]] void tell(int to, const Left& left) noexcept {
  const Head head{static_cast<uint32_t>(left.verdict), left.steps, left.what.size(),
                  left.decisions.size(), left.text.size()};
  write_all(to, &head, sizeof(head));
  write_all(to, left.what.data(), left.what.size());
  write_all(to, left.decisions.data(), left.decisions.size());
  write_all(to, left.text.data(), left.text.size());
  _exit(0);
}

bool understood(const std::string& told, Left& left) {
  Head head;
  if (told.size() < sizeof(head)) return false;
  std::memcpy(&head, told.data(), sizeof(head));
  if (told.size() != sizeof(head) + head.what + head.decisions + head.text) return false;
  left.verdict = static_cast<Verdict>(head.verdict);
  left.steps = head.steps;
  size_t at = sizeof(head);
  left.what = told.substr(at, head.what);
  at += head.what;
  left.decisions.assign(told.begin() + static_cast<std::ptrdiff_t>(at),
                        told.begin() + static_cast<std::ptrdiff_t>(at + head.decisions));
  left.text = told.substr(at + head.decisions);
  return true;
}

}  // namespace

Left apart(const std::function<Left()>& run) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::bad_alloc();
  const pid_t child = fork();
  if (child < 0) throw std::bad_alloc();
  if (child == 0) {
    close(ends[0]);
    be_silent();
    tell(ends[1], run());
  }
  close(ends[1]);
  const std::string told = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  Left left;
  if (understood(told, left)) return left;
  left.verdict = Verdict::broken;
  left.what = WIFSIGNALED(status)
                  ? std::string("its process was ended: ") + strsignal(WTERMSIG(status))
                  : "its process ended with exit code " + std::to_string(WEXITSTATUS(status));
  return left;
}

}  // namespace vanity::sim
