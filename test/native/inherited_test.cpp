// native/device/inherited: descriptors that a parent left, by the protocol of sd_listen_fds(3).
#include "device/inherited.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "check.hpp"

using namespace vanity;

namespace {

void tell(long pid, const char* count) {
  setenv("LISTEN_PID", std::to_string(pid).c_str(), 1);
  setenv("LISTEN_FDS", count, 1);
}

}  // namespace

TEST(a_node_is_found_by_what_it_is_and_taken_once) {
  const int zero = open("/dev/zero", O_RDWR);
  CHECK(zero >= 3);
  CHECK(!is_inherited("/dev/zero"));  // nobody said so
  tell(getpid(), "32");
  CHECK(is_inherited("/dev/zero"));
  CHECK(!is_inherited("/dev/full"));
  CHECK(!is_inherited("/dev/no such node"));
  CHECK(!is_inherited("/etc/passwd"));
  {
    const Fd copy = copy_inherited("/dev/zero");
    CHECK(copy && copy.get() != zero);
    CHECK(is_inherited("/dev/zero"));
    const Fd taken = take_inherited("/dev/zero");
    CHECK_EQ(taken.get(), zero);
    CHECK((fcntl(zero, F_GETFD) & FD_CLOEXEC) != 0);
  }
  CHECK(fcntl(zero, F_GETFD) < 0);
  const Fd again(open("/dev/zero", O_RDWR));  // the same number, and ours
  CHECK(!is_inherited("/dev/zero"));
  CHECK(!take_inherited("/dev/zero"));
}

TEST(what_is_meant_for_others_or_beyond_the_count_is_left_alone) {
  const Fd low(open("/dev/full", O_RDWR));
  const Fd full(fcntl(low.get(), F_DUPFD_CLOEXEC, 16));  // a number that nobody took before
  tell(getpid() + 1, "32");
  CHECK(!is_inherited("/dev/full"));
  tell(getpid(), "0");
  CHECK(!is_inherited("/dev/full"));
  tell(getpid(), "no number");
  CHECK(!is_inherited("/dev/full"));
  tell(getpid(), "-1");
  CHECK(!is_inherited("/dev/full"));
  tell(getpid(), "1000000");
  CHECK(is_inherited("/dev/full"));
}
