// A device between two programs that work it one after the other: the first has ended, with its
// process or without, the kernel stops the device, the second begins, and the kernel lets the
// device go on. Two words, each with one writer at a time: what is wished for is the shard's, and
// the same number from the kernel says that it is done. An even number wishes for a device that
// stands still, the next one for one that runs; no number comes twice, so an answer to a wish that
// was overtaken is taken for none.
#pragma once

#include <cstdint>

#include "vanity/platform.hpp"

namespace vanity {

template <class Policy = Hardware>
struct BasicRelayWords {
  using Word = typename Policy::template Atomic<uint32_t>;

  Word wish{1};  // it begins with a device that runs, once the system does
  Word done{1};
};

template <class Policy = Hardware>
class BasicRelay {
 public:
  explicit BasicRelay(BasicRelayWords<Policy>* words) noexcept : words_(words) {}

  // ---- the shard in the system's process, when its program has ended
  void leave() const noexcept {
    const uint32_t last = words_->wish.load(std::memory_order_relaxed);
    words_->wish.store((last | 1) + 1, std::memory_order_release);  // pairs with wish()
  }
  // ---- where the program runs, when it is through with init
  void begin() const noexcept {
    const uint32_t last = words_->wish.load(std::memory_order_relaxed);
    words_->wish.store(last | 1, std::memory_order_release);  // pairs with wish()
  }
  // ---- both: it stands still, or runs, as was last wished for
  bool answered() const noexcept {
    // Pairs with answer(): all that the device still wrote is there, and nothing more comes.
    return words_->done.load(std::memory_order_acquire) ==
           words_->wish.load(std::memory_order_relaxed);
  }

  // ---- the kernel
  // Not what was last done: who worked the device before has ended, or what its successor told it
  // is there.
  bool wish(uint32_t* wish) const noexcept {
    *wish = words_->wish.load(std::memory_order_acquire);  // pairs with leave() and begin()
    return *wish != words_->done.load(std::memory_order_relaxed);
  }
  static constexpr bool to_run(uint32_t wish) noexcept { return wish % 2 == 1; }
  void answer(uint32_t wish) const noexcept {
    words_->done.store(wish, std::memory_order_release);  // pairs with answered()
  }

 private:
  BasicRelayWords<Policy>* words_;
};

using RelayWords = BasicRelayWords<>;
using Relay = BasicRelay<>;

}  // namespace vanity
