// A doorbell: the one line that says which of a shard's inbound channels have new elements.
//
//    0 .. 31   a byte for each group of channels: up to 32 channels it is one channel's own, above
//              that 16 neighbours share it, two to a bit
//   32 .. 63   control bytes, one for each other writer (kControlKernel is the kernel's)
//
// A producer publishes its elements first and then its mark. The consumer takes the mark, and only
// then looks at the channels of the group, so a mark may be found with nothing behind it, but
// elements are never there without a mark or a look to come. What crosses between cores: this line,
// once per burst; the producer's store buffer hides it when the byte is its own. A shared byte
// costs a read-modify-write: with plain stores the mark of one producer may hide another's, and the
// taker would then be ordered after the last writer only.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "vanity/atomic.hpp"
#include "vanity/channel.hpp"
#include "vanity/limits.hpp"

namespace vanity {

enum class Strategy : uint8_t {
  doorbell,  // producers mark a line; finding work costs the same with 1 and with 512 channels
  rotate,    // look at every channel in turn
  primary,   // look at one channel between any two others, and wait on it
};

template <class Policy = Hardware>
struct alignas(kLineBytes) BasicDoorbell {
  using Byte = typename Policy::template Atomic<uint8_t>;

  static constexpr uint32_t kGroups = 32;
  static constexpr uint32_t kGroupChannels = 16;
  static constexpr uint32_t kControlKernel = 32;
  static constexpr uint32_t kControlIrq = 33;     // the kernel's too: an interrupt of a device
  static constexpr uint32_t kControlReload = 34;  // of the thread that replaces its program
  static_assert(kGroups * kGroupChannels == limits::kChannelsIntoShard);

  Byte bytes[kLineBytes];

  BasicDoorbell() noexcept {
    for (Byte& byte : bytes) Policy::template mirror<Edge::bell>(byte, uint8_t{0});
  }

  static constexpr bool grouped(uint32_t channels) noexcept { return channels > kGroups; }
  static constexpr uint32_t byte_of(uint32_t channel, uint32_t channels) noexcept {
    return grouped(channels) ? channel / kGroupChannels : channel;
  }
  static constexpr uint8_t bit_of(uint32_t channel) noexcept {
    return static_cast<uint8_t>(1u << (channel % kGroupChannels / 2));
  }

  // The caller is the only one who writes this byte non-zero.
  void ring(uint32_t byte) noexcept {
    Policy::template publish<Edge::bell>(bytes[byte], uint8_t{1});  // pairs with take
  }
  // Other producers ring other bits of this byte.
  void ring_bits(uint32_t byte, uint8_t bits) noexcept {
    Policy::template publish_bits<Edge::bell>(bytes[byte], bits);  // pairs with take
  }

  // Bits of the bytes that are marked, channels and control; a hint that orders nothing.
  uint64_t marks() const noexcept { return Policy::marks(bytes); }
  bool any() const noexcept { return marks() != 0; }
  // Clears the byte and says what it held; what was published before is visible from here on.
  uint8_t take(uint32_t byte) noexcept {
    return Policy::template take<Edge::bell>(bytes[byte],
                                             uint8_t{0});  // pairs with ring, ring_bits
  }
};
static_assert(sizeof(BasicDoorbell<>) == kLineBytes);

// A producer's end of a doorbell: nothing at all when its consumer watches the channel itself.
template <class Policy = Hardware>
class BasicBell {
 public:
  BasicBell() = default;
  BasicBell(BasicDoorbell<Policy>* line, uint32_t channel, uint32_t channels) noexcept
      : line_(line),
        byte_(BasicDoorbell<Policy>::byte_of(channel, channels)),
        bit_(BasicDoorbell<Policy>::grouped(channels) ? BasicDoorbell<Policy>::bit_of(channel)
                                                      : 0) {}

  // After commit. Pairs with take in Inputs::next.
  void ring() const noexcept {
    if (line_ == nullptr) return;
    if (bit_ != 0)
      line_->ring_bits(byte_, bit_);
    else
      line_->ring(byte_);
  }
  explicit operator bool() const noexcept { return line_ != nullptr; }
  // For who rings it without this: null when nothing is rung, and a bit only of a shared byte.
  BasicDoorbell<Policy>* line() const noexcept { return line_; }
  uint32_t byte() const noexcept { return byte_; }
  uint8_t bit() const noexcept { return bit_; }

 private:
  BasicDoorbell<Policy>* line_ = nullptr;
  uint32_t byte_ = 0;
  uint8_t bit_ = 0;  // of a shared byte
};

// A shard's inbound channels: names the next one that may have work, whatever the strategy.
template <class Policy = Hardware>
class BasicInputs {
 public:
  static constexpr uint32_t kNoInput = 0xffffffffu;

  BasicInputs() = default;
  // `consumers` stays the caller's and outlives this; count <= limits::kChannelsIntoShard.
  BasicInputs(BasicConsumer<Policy>* consumers, uint32_t count, Strategy strategy,
              BasicDoorbell<Policy>* line, uint32_t primary = 0) noexcept
      : BasicInputs(consumers, count, strategy, line, primary, needs_bell(count, strategy)) {}
  // With a say in whether producers ring: a shard may want its only channel on the line.
  BasicInputs(BasicConsumer<Policy>* consumers, uint32_t count, Strategy strategy,
              BasicDoorbell<Policy>* line, uint32_t primary, bool by_bell) noexcept
      : consumers_(consumers),
        count_(count),
        strategy_(strategy),
        line_(line),
        primary_(primary),
        by_bell_(by_bell),
        grouped_(BasicDoorbell<Policy>::grouped(count)) {
    for (uint32_t i = 0; i < count; ++i) pend(i);  // whatever came before the bell was hung
  }

  // Must producers of these inputs ring? One channel is watched directly.
  static bool needs_bell(uint32_t count, Strategy strategy) noexcept {
    return strategy == Strategy::doorbell && count > 1;
  }
  bool by_bell() const noexcept { return by_bell_; }

  // The next input with elements, fairly in turn; kNoInput when a whole look found none.
  [[nodiscard]] uint32_t next() noexcept {
    if (by_bell_) return next_marked();
    if (strategy_ == Strategy::primary && count_ > 1) return next_beside_primary();
    return next_in_turn();
  }

  // The look between monitor and wait: is there anything at all? Takes nothing. Control bytes
  // count.
  [[nodiscard]] bool anything() noexcept {
    if (line_ != nullptr && line_->any()) return true;
    if (by_bell_) {
      for (uint64_t word : pending_)
        if (word != 0) return true;
      return false;
    }
    for (uint32_t i = 0; i < count_; ++i)
      if (consumers_[i].ready()) return true;
    return false;
  }

  // What to monitor: the doorbell's line, or the one input that the strategy waits on.
  const void* watch() const noexcept {
    if (by_bell_ || count_ == 0) return line_;
    return consumers_[watched()].watch();
  }
  // The input behind watch(), kNoInput for the doorbell.
  uint32_t watched() const noexcept {
    if (by_bell_ || count_ == 0) return kNoInput;
    return strategy_ == Strategy::primary ? primary_ : count_ - 1;
  }

  // Is there work that a store to the line of watch() announced?
  [[nodiscard]] bool anything_watched() noexcept {
    const uint32_t input = watched();
    return input == kNoInput ? anything() : consumers_[input].ready();
  }

  // Gives every held slot back now, where a shard stops in the middle of a drain.
  void flush() noexcept {
    for (uint32_t i = 0; i < count_; ++i) consumers_[i].flush();
  }
  uint32_t count() const noexcept { return count_; }

 private:
  static constexpr uint32_t kWords = limits::kChannelsIntoShard / 64;

  void pend(uint32_t input) noexcept { pending_[input / 64] |= uint64_t{1} << (input % 64); }

  // Every bit twice: 0b101 -> 0b110011.
  static uint64_t pairs(uint64_t bits) noexcept {
    bits = (bits | bits << 4) & 0x0f0f;
    bits = (bits | bits << 2) & 0x3333;
    bits = (bits | bits << 1) & 0x5555;
    return bits | bits << 1;
  }

  // An input stays pending from the taking of its mark until a look after that finds it empty, so
  // elements behind a burst limit or behind an old tail need no second mark.
  uint32_t next_marked() noexcept {
    for (uint32_t turn = 0; turn < 2; ++turn) {
      while (cursor_ < count_) {
        const uint64_t word = pending_[cursor_ / 64] >> (cursor_ % 64);
        if (word == 0) {
          cursor_ = (cursor_ / 64 + 1) * 64;
          continue;
        }
        const uint32_t input = cursor_ + static_cast<uint32_t>(std::countr_zero(word));
        cursor_ = input + 1;
        if (consumers_[input].ready()) return input;
        pending_[input / 64] &= ~(uint64_t{1} << (input % 64));
      }
      cursor_ = 0;
      take_marks();
    }
    return kNoInput;
  }

  void take_marks() noexcept {
    constexpr uint64_t kChannelBytes = (uint64_t{1} << BasicDoorbell<Policy>::kGroups) - 1;
    for (uint64_t marks = line_->marks() & kChannelBytes; marks != 0; marks &= marks - 1) {
      const auto byte = static_cast<uint32_t>(std::countr_zero(marks));
      const uint64_t bits = line_->take(byte);
      if (!grouped_) {
        if (bits != 0) pend(byte);
        continue;
      }
      const uint32_t first = byte * BasicDoorbell<Policy>::kGroupChannels;  // within one word
      pending_[first / 64] |= pairs(bits) << (first % 64);
    }
    if (grouped_ && count_ % 64 != 0) pending_[count_ / 64] &= (uint64_t{1} << (count_ % 64)) - 1;
  }

  uint32_t next_in_turn() noexcept {
    if (count_ == 1 && !consumers_[0].depth()) consumers_[0].gather();
    for (uint32_t i = 0; i < count_; ++i) {
      const uint32_t input = cursor_;
      cursor_ = cursor_ + 1 == count_ ? 0 : cursor_ + 1;
      if (consumers_[input].ready()) return input;
    }
    return kNoInput;
  }

  uint32_t next_beside_primary() noexcept {
    primary_turn_ = !primary_turn_;
    if (primary_turn_ && consumers_[primary_].ready()) return primary_;
    for (uint32_t i = 0; i < count_; ++i) {
      const uint32_t input = cursor_;
      cursor_ = cursor_ + 1 == count_ ? 0 : cursor_ + 1;
      if (input != primary_ && consumers_[input].ready()) return input;
    }
    return consumers_[primary_].ready() ? primary_ : kNoInput;
  }

  BasicConsumer<Policy>* consumers_ = nullptr;
  uint32_t count_ = 0;
  Strategy strategy_ = Strategy::doorbell;
  BasicDoorbell<Policy>* line_ = nullptr;
  uint32_t primary_ = 0;
  bool by_bell_ = false;
  bool grouped_ = false;
  bool primary_turn_ = false;
  uint32_t cursor_ = 0;
  std::array<uint64_t, kWords> pending_{};
};

using Doorbell = BasicDoorbell<>;
using Bell = BasicBell<>;
using Inputs = BasicInputs<>;

}  // namespace vanity
