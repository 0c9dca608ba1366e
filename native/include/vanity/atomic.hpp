// The memory primitives of the data path; nothing else in a channel or a doorbell names an
// ordering.
//
// Every word that crosses between cores belongs to one Edge. A store to it is a `publish`, a load
// of it by the other side an `observe`, and the pair is found by searching for the edge's name.
// Channels and doorbells take these primitives as a policy, so that a model checker or a simulator
// runs the shipping code with its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace vanity {

inline constexpr size_t kLineBytes = 64;        // what moves between cores
inline constexpr size_t kIsolationBytes = 128;  // adjacent-line prefetchers pull lines in pairs

// The words that carry data from one core to another, each with its writer and reader.
enum class Edge : uint8_t {
  tail,  // producer -> consumer: elements up to here may be read (bulk)
  head,  // consumer -> producer: slots up to here may be written again
  slot,  // producer -> consumer: this slot holds the element of this lap (latency)
  bell,  // producers -> consumer: a channel of this group has new elements
};

namespace detail {

// Copies `count` elements between strided rows. The size is a constant for the common elements: a
// memcpy of unknown length costs three times an 8-byte push.
template <size_t N>
inline void copy_rows(std::byte* to, size_t to_stride, const std::byte* from, size_t from_stride,
                      uint32_t count) noexcept {
  for (uint32_t i = 0; i < count; ++i, to += to_stride, from += from_stride)
    std::memcpy(to, from, N);
}

inline void copy_elements(std::byte* to, size_t to_stride, const std::byte* from,
                          size_t from_stride, uint32_t bytes, uint32_t count) noexcept {
  asm("" : "+r"(to), "+r"(from));  // else gcc warns of the sizes that a small array is never given
  switch (bytes) {
    case 8:
      return copy_rows<8>(to, to_stride, from, from_stride, count);
    case 16:
      return copy_rows<16>(to, to_stride, from, from_stride, count);
    case 32:
      return copy_rows<32>(to, to_stride, from, from_stride, count);
    case 64:
      return copy_rows<64>(to, to_stride, from, from_stride, count);
    default:
      if (to_stride == bytes && from_stride == bytes) {
        std::memcpy(to, from, size_t{bytes} * count);
        return;
      }
      for (uint32_t i = 0; i < count; ++i, to += to_stride, from += from_stride)
        std::memcpy(to, from, bytes);
  }
}

}  // namespace detail

// What an edge asks of memory, whatever the atomic words are: those of the processor, or those of a
// simulator, which is to run these very orders.
template <template <class> class Word>
struct EdgeMemory {
  template <class T>
  using Atomic = Word<T>;

  // The only writer reads its own word back.
  template <Edge, class T>
  static T own(const Atomic<T>& word) noexcept {
    return word.load(std::memory_order_relaxed);
  }
  // A value for observers outside the edge (depth in the segment); carries nothing with it.
  template <Edge, class T>
  static void mirror(Atomic<T>& word, T value) noexcept {
    word.store(value, std::memory_order_relaxed);
  }
  // Everything written before is visible to whoever observes `value`. Pairs with observe and take.
  template <Edge, class T>
  static void publish(Atomic<T>& word, T value) noexcept {
    word.store(value, std::memory_order_release);
  }
  // Pairs with publish of the same edge.
  template <Edge, class T>
  static T observe(const Atomic<T>& word) noexcept {
    return word.load(std::memory_order_acquire);
  }
  // Publish bits of a word that other threads publish bits of too. A read-modify-write continues
  // the release sequences of the marks it finds; a plain store would break them, and the taker
  // would then owe nothing to the writer whose mark was overwritten.
  template <Edge, class T>
  static void publish_bits(Atomic<T>& word, T bits) noexcept {
    word.fetch_or(bits, std::memory_order_release);
  }
  // Elements into their slots, before they are published, and out of them, once they were observed.
  static void write_elements(std::byte* to, size_t to_stride, const std::byte* from,
                             size_t from_stride, uint32_t bytes, uint32_t count) noexcept {
    detail::copy_elements(to, to_stride, from, from_stride, bytes, count);
  }
  static void read_elements(std::byte* to, size_t to_stride, const std::byte* from,
                            size_t from_stride, uint32_t bytes, uint32_t count) noexcept {
    detail::copy_elements(to, to_stride, from, from_stride, bytes, count);
  }
  // Observe and reset in one step. Pairs with publish and publish_bits of the same edge.
  template <Edge, class T>
  static T take(Atomic<T>& word, T value) noexcept {
    return word.exchange(value, std::memory_order_acq_rel);
  }
};

// The processor itself; platform.hpp completes it to `Hardware` with the clock, fences and waits.
struct HardwareMemory : EdgeMemory<std::atomic> {
  // A word that is counted in places only.
  template <class T>
  using Ref = std::atomic_ref<T>;

  // One bit for each non-zero byte of a 64-byte line. A hint: the caller takes each byte it acts
  // on.
  static uint64_t marks(const Atomic<uint8_t>* line) noexcept {
    static_assert(sizeof(Atomic<uint8_t>) == 1);
#if defined(__SANITIZE_THREAD__)
    uint64_t mask = 0;  // byte by byte, in terms the sanitizer understands
    for (unsigned i = 0; i < kLineBytes; ++i)
      mask |= uint64_t{line[i].load(std::memory_order_relaxed) != 0} << i;
    return mask;
#elif defined(__SSE2__)
    const auto* vectors = reinterpret_cast<const volatile __m128i*>(line);
    const __m128i zero = _mm_setzero_si128();
    uint64_t mask = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const __m128i bytes = const_cast<const __m128i&>(vectors[i]);
      asm volatile("" ::: "memory");  // read anew on every call
      mask |= uint64_t{static_cast<uint16_t>(~_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, zero)))}
              << (16 * i);
    }
    return mask;
#elif defined(__aarch64__)
    uint64_t mask = 0;
    const uint8x16_t weights = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    for (unsigned i = 0; i < 4; ++i) {
      asm volatile("" ::: "memory");  // read anew on every call
      const uint8x16_t bytes = vld1q_u8(reinterpret_cast<const uint8_t*>(line) + 16 * i);
      const uint8x16_t bits = vandq_u8(vtstq_u8(bytes, bytes), weights);
      mask |= uint64_t{vaddv_u8(vget_low_u8(bits))} << (16 * i);
      mask |= uint64_t{vaddv_u8(vget_high_u8(bits))} << (16 * i + 8);
    }
    return mask;
#else
    uint64_t mask = 0;
    for (unsigned i = 0; i < 8; ++i) {
      uint64_t word;
      asm volatile("" ::: "memory");  // read anew on every call
      std::memcpy(&word, reinterpret_cast<const char*>(line) + 8 * i, 8);
      if (word == 0) continue;
      for (unsigned k = 0; k < 8; ++k)
        if (line[8 * i + k].load(std::memory_order_relaxed) != 0)
          mask |= uint64_t{1} << (8 * i + k);
    }
    return mask;
#endif
  }

  // Ask for a line's ownership before writing it. gcc emits PREFETCHW only with -mprfchw; x86
  // processors without it run it as a NOP.
  static void prefetch_write(const void* address) noexcept {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" ::"m"(*static_cast<const char*>(address)));
#else
    __builtin_prefetch(address, 1, 3);
#endif
  }
  static void prefetch_read(const void* address) noexcept {
    __builtin_prefetch(address, 0, 3);
  }
};

}  // namespace vanity
