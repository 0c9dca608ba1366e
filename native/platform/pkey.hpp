// Memory protection keys (Intel SDM 3A, 4.6.2): each page has one of 16 keys, and a register of the
// thread says which of them it may write to. Changing that is one instruction, without Linux.
// Reading is never restricted here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace vanity {

struct KeySupport {
  bool usable = false;
  std::string reason;  // what it offers, or why not
};

// Does the processor have keys, does Linux hand them out, and can a thread that may write to hardly
// anything still be interrupted by a signal? Tried in a child process, once; it takes a
// millisecond.
const KeySupport& key_support();

// What a thread may write to, as PKRU has it: two bits a key, the upper one forbids writing. All of
// them allowed where there are no keys.
class Rights {
 public:
  static constexpr uint32_t kAll = 0;
  static constexpr uint32_t kKeys = 16;  // of the processor; Linux keeps the first for all memory

  // To write to the pages of these keys (a bit each) and to no other.
  static constexpr uint32_t only(uint32_t keys) noexcept {
    uint32_t rights = 0;
    for (uint32_t key = 0; key < kKeys; ++key) {
      if ((keys >> key & 1) == 0) rights |= 2u << (2 * key);
    }
    return rights;
  }
#if defined(__x86_64__)
  static uint32_t now() noexcept {
    uint32_t rights;
    uint32_t high;
    asm volatile("rdpkru" : "=a"(rights), "=d"(high) : "c"(0));
    return rights;
  }
  // No access is moved across it, by the compiler or by the processor.
  static void set(uint32_t rights) noexcept {
    asm volatile("wrpkru" : : "a"(rights), "c"(0), "d"(0) : "memory");
  }
#else
  static uint32_t now() noexcept {
    return kAll;
  }
  static void set(uint32_t) noexcept {}
#endif
  // The thread that calls may write to everything, if it could not before. For threads that were
  // there before a key was: to such, Linux forbids even reading. Does nothing without keys.
  static void take_all() noexcept;
};

// One key of the process. Whoever takes it, and the threads that are started by it from then on,
// may write to its pages.
class ProtectionKey {
 public:
  // Throws VANITY_E_PROTECTION_KEYS when there are none, or none left.
  ProtectionKey();
  ~ProtectionKey();
  ProtectionKey(const ProtectionKey&) = delete;
  ProtectionKey& operator=(const ProtectionKey&) = delete;

  uint32_t number() const noexcept { return number_; }
  uint32_t bit() const noexcept { return 1u << number_; }
  // The whole pages are its own from here on, until they are unmapped or free_pages() is called.
  // Throws VANITY_E_PROTECTION_KEYS.
  void protect(void* begin, size_t bytes) const;
  // The same for pages that stay mapped: they are anybody's again when the key goes.
  void protect_for_good(void* begin, size_t bytes);
  static void free_pages(void* begin, size_t bytes) noexcept;

 private:
  uint32_t number_;
  std::mutex mutex_;  // modules are loaded on several threads
  std::vector<std::pair<void*, size_t>> kept_;
};

// The calling thread's stack has that key to the end of the scope, and with it the thread's own
// block of memory, which lies at its end. Linux writes there no more where the thread moves to
// another processor (rseq): it does that with the rights of the moment, also those of a handler.
class KeyedStack {
 public:
  // Throws VANITY_E_PROTECTION_KEYS.
  explicit KeyedStack(const ProtectionKey& key);
  ~KeyedStack();
  KeyedStack(const KeyedStack&) = delete;
  KeyedStack& operator=(const KeyedStack&) = delete;

 private:
  void* begin_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace vanity
