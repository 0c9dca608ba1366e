#include "platform/child.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "platform/fd.hpp"

namespace vanity {
namespace {

constexpr int kFirst = 3;
constexpr long kLookNs = 200'000;

// What start() asks of it, and takes down again.
class Spawn {
 public:
  Spawn() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    // Ctrl-C on a terminal, and a service manager that ends a group, reach every process: the
    // system stops in order, and says to each shard when.
    sigset_t all;
    sigfillset(&all);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF})
      sigdelset(&all, own);
    posix_spawnattr_setsigmask(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~Spawn() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  Spawn(const Spawn&) = delete;
  Spawn& operator=(const Spawn&) = delete;

  // By way of numbers that are no targets themselves.
  void pass(const std::vector<int>& open) {
    const int above = kFirst + static_cast<int>(open.size());
    for (const int fd : open) {
      const int copy = fcntl(fd, F_DUPFD_CLOEXEC, above);
      if (copy < 0) throw system_error("VANITY_E_PROCESS", "cannot pass a descriptor", errno);
      posix_spawn_file_actions_adddup2(&actions_, copy, kFirst + static_cast<int>(copies_.size()));
      copies_.emplace_back(copy);
    }
  }
  pid_t run(const std::string& path, const std::string& name) {
    std::string argument = name;
    std::array<char*, 2> arguments{argument.data(), nullptr};
    std::string libraries = "LD_LIBRARY_PATH=";
    const char* const given = getenv("LD_LIBRARY_PATH");
    if (given != nullptr) libraries += given;
    std::array<char*, 2> environment{given == nullptr ? nullptr : libraries.data(), nullptr};
    pid_t pid = 0;
    const int error = posix_spawn(&pid, path.c_str(), &actions_, &attributes_, arguments.data(),
                                  environment.data());
    if (error != 0) {
      throw system_error("VANITY_E_PROCESS", "cannot start " + path, error,
                         "it is built beside the addon: npm run build:native");
    }
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
  std::vector<Fd> copies_;
};

}  // namespace

Child::~Child() {
  kill();
  int status = 0;
  wait(UINT64_MAX, &status);
}

void Child::start(const std::string& path, const std::string& name, const std::vector<int>& open) {
  Spawn spawn;
  spawn.pass(open);
  const pid_t pid = spawn.run(path, name);
  const std::lock_guard<std::mutex> lock(mutex_);
  pid_ = pid;
}

bool Child::wait(uint64_t ns, int* status) noexcept {
  if (pid_ == 0) return true;
  const uint64_t began = monotonic_ns();
  for (;;) {
    siginfo_t ended{};
    const int how = WEXITED | WNOWAIT | (ns == UINT64_MAX ? 0 : WNOHANG);
    const bool gone = waitid(P_PID, static_cast<id_t>(pid_), &ended, how) != 0 && errno != EINTR;
    if (gone || ended.si_pid != 0) {
      const std::lock_guard<std::mutex> lock(mutex_);
      waitpid(pid_, status, 0);  // none when the process lets Linux take down its children
      pid_ = 0;
      return true;
    }
    if (ns != UINT64_MAX && monotonic_ns() - began >= ns) return false;
    const timespec nap{0, kLookNs};
    if (ns != UINT64_MAX) nanosleep(&nap, nullptr);
  }
}

void Child::kill() noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (pid_ != 0) ::kill(pid_, SIGKILL);
}

}  // namespace vanity
