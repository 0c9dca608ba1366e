// A process that this one has started and waits for.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace vanity {

class Child {
 public:
  Child() = default;
  ~Child();  // kills it, and waits
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Runs the file `path` under this name, with nothing open but the standard three and, from 3 on,
  // these; with no signals but those that it brings on itself, and LD_LIBRARY_PATH for an
  // environment. It is killed when the calling thread ends. Throws VANITY_E_PROCESS.
  void start(const std::string& path, const std::string& name, const std::vector<int>& open);
  // The thread that started it. True: it has ended, and the first time this is how; ns 0 looks,
  // UINT64_MAX waits.
  bool wait(uint64_t ns, int* status) noexcept;
  // Any thread, at any time.
  void kill() noexcept;

 private:
  std::mutex mutex_;  // what is killed has not been taken down, so its number is nobody else's
  pid_t pid_ = 0;
};

}  // namespace vanity
