#include "memory/pool.hpp"

#include "platform/error.hpp"

namespace vanity {

Pool::Pool(uint32_t pool_index, uint32_t buffers, uint32_t buffer_bytes, void* memory,
           PoolRecord* record, uint64_t page_bytes, void* book, uint32_t* references)
    : base_(static_cast<uint8_t*>(memory)),
      free_(buffers),
      stride_(stride_of(buffer_bytes)),
      tag_(pool_index << kPoolShift),
      buffers_(buffers),
      buffer_bytes_(buffer_bytes),
      record_(record) {
  if (pool_index >= kPoolsMax || buffers == 0 || buffers > limits::kPoolBuffersMax ||
      buffer_bytes < limits::kBufferBytesMin || buffer_bytes > limits::kBufferBytesMax ||
      buffer_bytes % 64 != 0 || reinterpret_cast<uintptr_t>(memory) % 64 != 0 ||
      (page_bytes != 0 && (page_bytes < 2 * uint64_t{stride_} ||
                           reinterpret_cast<uintptr_t>(memory) % page_bytes != 0))) {
    throw Error("VANITY_E_POOL",
                "a pool of " + std::to_string(buffers) + " buffers of " +
                    std::to_string(buffer_bytes) + " bytes is beyond the limits",
                "buffers: 1..1048576; buffer_bytes: 256..65536, a multiple of 64");
  }
  if (book == nullptr) {
    const uint64_t words = book_bytes(buffers, buffer_bytes, page_bytes) / sizeof(uint32_t);
    own_book_ = std::make_unique<uint32_t[]>(words);
    book = own_book_.get();
  }
  stack_ = static_cast<uint32_t*>(book);
  references_ = references != nullptr ? references : stack_ + buffers;
  // Low indices on top, so that a pool that is never drained touches few pages.
  uint64_t slot = 0;
  for (uint32_t i = 0; i < buffers; ++i, ++slot) {
    const auto across = [&] {
      return page_bytes != 0 &&
             slot * stride_ / page_bytes != ((slot + 1) * stride_ - 1) / page_bytes;
    };
    if (across()) ++slot;
    stack_[buffers - 1 - i] = static_cast<uint32_t>(slot);
  }
}

}  // namespace vanity
