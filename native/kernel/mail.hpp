// The word by which a record of the segment goes from whoever asks to the kernel and back: idle,
// writing, posted, working, and idle again with the answer in it. It lies where the segment says.
#pragma once

#include <atomic>
#include <cstdint>

#include "vanity/platform.hpp"
#include "vanity/segment.hpp"

namespace vanity {

template <class Policy = Hardware>
struct BasicMail {
  using Word = typename Policy::template Atomic<uint32_t>;

  // ---- whoever asks
  // True: the record is the caller's. Of two who ask at once one gets it.
  static bool begin(Word& state) noexcept {
    auto idle = static_cast<uint32_t>(MailState::idle);
    return state.compare_exchange_strong(idle, static_cast<uint32_t>(MailState::writing),
                                         std::memory_order_acquire);  // pairs with settle()
  }
  static void post(Word& state) noexcept {
    state.store(static_cast<uint32_t>(MailState::posted),
                std::memory_order_release);  // pairs with take()
  }

  // ---- the kernel
  static bool take(Word& state) noexcept {
    if (state.load(std::memory_order_acquire) !=  // pairs with post()
        static_cast<uint32_t>(MailState::posted)) {
      return false;
    }
    state.store(static_cast<uint32_t>(MailState::working), std::memory_order_relaxed);
    return true;
  }
  static void settle(Word& state) noexcept {
    state.store(static_cast<uint32_t>(MailState::idle),
                std::memory_order_release);  // pairs with begin(), of the next
  }
};

using Mail = BasicMail<>;

}  // namespace vanity
