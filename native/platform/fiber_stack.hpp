// The stack of a fiber. Below it lies what faults; pages come with their first use.
#pragma once

#include <sys/mman.h>

#include <cstddef>

namespace vanity {

class FiberStack {
 public:
  // Null where there is no room for it; errno says why.
  explicit FiberStack(size_t bytes) noexcept : bytes_(bytes) {
    void* const at = mmap(nullptr, kGuardBytes + bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (at == MAP_FAILED) return;
    base_ = static_cast<char*>(at);
    mprotect(base_, kGuardBytes, PROT_NONE);
  }
  ~FiberStack() {
    if (base_ != nullptr) munmap(base_, kGuardBytes + bytes_);
  }
  FiberStack(const FiberStack&) = delete;
  FiberStack& operator=(const FiberStack&) = delete;

  void* begin() const noexcept { return base_ == nullptr ? nullptr : base_ + kGuardBytes; }
  size_t bytes() const noexcept { return bytes_; }

 private:
  // What a function of a program may take below the end of its stack and still fault.
  static constexpr size_t kGuardBytes = 64 << 10;

  char* base_ = nullptr;
  size_t bytes_;
};

}  // namespace vanity
