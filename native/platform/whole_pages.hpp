// Memory in whole pages of its own, zeroed and there from the start. What a page has been given (a
// protection key) goes with it.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <utility>

namespace vanity {

class WholePages {
 public:
  WholePages() = default;
  // Throws std::bad_alloc.
  explicit WholePages(size_t bytes) : bytes_(bytes) {
    void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<std::byte*>(at);
  }
  ~WholePages() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  WholePages(WholePages&& other) noexcept { swap(other); }
  WholePages& operator=(WholePages&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const noexcept { return data_; }
  size_t bytes() const noexcept { return bytes_; }

 private:
  void swap(WholePages& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace vanity
