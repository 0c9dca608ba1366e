// A channel: a ring of fixed-size elements from one thread to one other, in memory that the caller
// gives. It never waits, allocates, locks or throws after creation.
//
//   Producer   claim(n) -> write the slots -> commit(n)       or send(elements, n)
//   Consumer   peek(n)  -> read the slots  -> release(n)      or receive(elements, n)
//
// Indices are u32 and run freely; a slot is index & (capacity - 1), all slots are usable, and
// tail - head is the depth even when an index has wrapped past 2^32.
//
// Byte map (Hardware policy). Another process, or TypeScript, may map it; it holds no address.
//
//     0   magic | version | capacity | element_bytes | slot_bytes | layout | slots_offset | first
//   128   tail (u32, written by the producer)            producer's line
//   256   head (u32, written by the consumer)            consumer's line
//   384   slot 0 | slot 1 | ...                          capacity * slot_bytes, padded to 128
//
//   bulk slot       | element_bytes |                    slot_bytes = element_bytes
//   latency slot    | element_bytes | padding | seq u32 | slot_bytes = element_bytes + 4, rounded
//   up to
//                                                        a power of two, above 64 to a multiple of
//                                                        64
//
// What crosses between cores:
//   bulk      the element's lines, and per burst (not per element) the line of tail; the line of
//   head
//             comes back once per drain, or per quarter of the ring.
//   latency   the slot's own line(s) and nothing else: seq == index + 1 says that the slot holds
//   the
//             element of this lap. An element of up to 60 bytes travels in one line.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "vanity/atomic.hpp"
#include "vanity/limits.hpp"
#include "vanity/platform.hpp"

namespace vanity {

enum class Layout : uint8_t { bulk, latency };

// What a channel is, decided once. `valid()` is the whole precondition of creating one.
struct ChannelSpec {
  uint32_t capacity = 1024;     // power of two
  uint32_t element_bytes = 16;  // multiple of 8
  Layout layout = Layout::bulk;

  constexpr bool valid() const noexcept {
    return std::has_single_bit(capacity) && capacity >= limits::kCapacityMin &&
           capacity <= limits::kCapacityMax && element_bytes % 8 == 0 &&
           element_bytes >= limits::kElementBytesMin && element_bytes <= limits::kElementBytesMax &&
           (layout == Layout::bulk || layout == Layout::latency);
  }
};

// The byte map above, and the arithmetic on it.
template <class Policy = Hardware>
struct ChannelLayout {
  using Word = typename Policy::template Atomic<uint32_t>;

  static constexpr uint32_t kMagic = 0x48434e56;  // "VNCH"
  static constexpr uint32_t kVersion = 1;

  uint32_t magic;
  uint32_t version;
  uint32_t capacity;
  uint32_t element_bytes;
  uint32_t slot_bytes;
  uint32_t layout;
  uint32_t slots_offset;
  uint32_t first;  // index of the first element ever; 0 outside tests

  alignas(kIsolationBytes) Word tail;
  alignas(kIsolationBytes) Word head;

  static constexpr uint32_t slot_bytes_of(uint32_t element_bytes, Layout layout) noexcept {
    if (layout == Layout::bulk) return element_bytes;
    const uint32_t need = element_bytes + static_cast<uint32_t>(sizeof(Word));
    if (need <= kLineBytes) return std::bit_ceil(need);
    return (need + kLineBytes - 1) / kLineBytes * kLineBytes;
  }
  static constexpr size_t bytes_needed(uint32_t capacity, uint32_t element_bytes,
                                       Layout layout) noexcept {
    const size_t slots = size_t{capacity} * slot_bytes_of(element_bytes, layout);
    return sizeof(ChannelLayout) +
           (slots + kIsolationBytes - 1) / kIsolationBytes * kIsolationBytes;
  }

  std::byte* slots() noexcept { return reinterpret_cast<std::byte*>(this) + sizeof(ChannelLayout); }
  Word& sequence(uint32_t index) noexcept {
    return *reinterpret_cast<Word*>(slots() + size_t{index & (capacity - 1)} * slot_bytes +
                                    slot_bytes - sizeof(Word));
  }
};

static_assert(offsetof(ChannelLayout<>, capacity) == 8);
static_assert(offsetof(ChannelLayout<>, layout) == 20);
static_assert(offsetof(ChannelLayout<>, tail) == 128);
static_assert(offsetof(ChannelLayout<>, head) == 256);
static_assert(sizeof(ChannelLayout<>) == 384);

// Neighbouring slots, to be written or read in place. Elements are `stride` bytes apart: the
// element size in the bulk layout, the slot size in the latency layout.
template <class Byte>
struct Slots {
  Byte* data = nullptr;
  uint32_t count = 0;
  uint32_t stride = 0;

  explicit operator bool() const noexcept { return count != 0; }
  uint32_t size() const noexcept { return count; }
  Byte* operator[](uint32_t i) const noexcept { return data + size_t{i} * stride; }
  template <class T>
  auto& at(uint32_t i) const noexcept {
    using Q = std::conditional_t<std::is_const_v<Byte>, const T, T>;
    return *reinterpret_cast<Q*>((*this)[i]);
  }
};
using WritableSlots = Slots<std::byte>;
using ReadableSlots = Slots<const std::byte>;

// The writing half. One thread at a time; it may move to another thread with a happens-before.
template <class Policy = Hardware>
class BasicProducer {
 public:
  using Memory = ChannelLayout<Policy>;

  BasicProducer() = default;
  explicit BasicProducer(Memory* memory) noexcept
      : memory_(memory),
        slots_(memory->slots()),
        capacity_(memory->capacity),
        slot_bytes_(memory->slot_bytes),
        element_bytes_(memory->element_bytes),
        layout_(static_cast<Layout>(memory->layout)),
        tail_(Policy::template own<Edge::tail>(memory->tail)),
        head_seen_(
            Policy::template observe<Edge::head>(memory->head)),  // pairs with release's publish
        owned_(tail_) {
    // Not in the latency layout: its reader waits on the next slot's line, and has it already.
    if (layout_ == Layout::bulk && slot_bytes_ >= kPrefetchSlotMin &&
        slot_bytes_ <= kPrefetchSlotMax)
      ahead_ = std::max(1u, kPrefetchBytes / slot_bytes_);
  }

  // Up to `n` neighbouring free slots; fewer at the end of the ring or when it fills, none when
  // full.
  [[nodiscard]] WritableSlots claim(uint32_t n) noexcept {
    uint32_t room = capacity_ - (tail_ - head_seen_);
    if (room < n) [[unlikely]] {
      head_seen_ =
          Policy::template observe<Edge::head>(memory_->head);  // pairs with consumer's publish
      room = capacity_ - (tail_ - head_seen_);
    }
    const uint32_t at = tail_ & (capacity_ - 1);
    const uint32_t count = std::min({n, room, capacity_ - at});
    if (ahead_ != 0) own_ahead(count);
    return {slots_ + size_t{at} * slot_bytes_, count, slot_bytes_};
  }

  // Gives the first `n` claimed slots to the consumer. n <= what was claimed.
  void commit(uint32_t n) noexcept {
    assert(n <= capacity_ - (tail_ - head_seen_));
    if (layout_ == Layout::bulk) {
      tail_ += n;
      Policy::template publish<Edge::tail>(memory_->tail, tail_);  // pairs with consumer's observe
      return;
    }
    for (uint32_t i = 0; i < n; ++i, ++tail_)  // pairs with consumer's observe of the same slot
      Policy::template publish<Edge::slot>(memory_->sequence(tail_), tail_ + 1);
    Policy::template mirror<Edge::tail>(memory_->tail, tail_);
  }

  // Copies up to `n` elements in; returns how many went in, fewer than `n` only when full.
  [[nodiscard]] uint32_t send(const void* elements, uint32_t n = 1) noexcept {
    const auto* from = static_cast<const std::byte*>(elements);
    uint32_t done = 0;
    while (done < n) {
      const WritableSlots to = claim(n - done);
      if (!to) break;
      Policy::write_elements(to.data, to.stride, from, element_bytes_, element_bytes_, to.count);
      commit(to.count);
      from += size_t{to.count} * element_bytes_;
      done += to.count;
    }
    return done;
  }

  // One element of a type known at compile time.
  template <class T>
  [[nodiscard]] bool send_one(const T& element) noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    assert(sizeof(T) == element_bytes_);
    const WritableSlots to = claim(1);
    if (!to) return false;
    std::memcpy(to.data, &element, sizeof(T));
    commit(1);
    return true;
  }

  // Asks for the ownership of this many slots in advance, whatever the slot size: for a ring of
  // small elements whose consumer is far behind, so that the lines it still reads are not these.
  void own_in_advance(uint32_t slots) noexcept { ahead_ = slots; }

  // Elements not yet known to be taken: exact when the producer last refreshed, never too small.
  uint32_t depth() const noexcept { return tail_ - head_seen_; }
  // Asks the consumer's line; costs a crossing when the consumer has moved.
  uint32_t depth_now() noexcept {
    head_seen_ =
        Policy::template observe<Edge::head>(memory_->head);  // pairs with consumer's publish
    return depth();
  }
  uint32_t capacity() const noexcept { return capacity_; }
  uint32_t element_bytes() const noexcept { return element_bytes_; }
  Layout layout() const noexcept { return layout_; }
  explicit operator bool() const noexcept { return memory_ != nullptr; }

 private:
  static constexpr uint32_t kPrefetchBytes = 16 * kLineBytes;
  static constexpr uint32_t kPrefetchSlotMin = 16;
  static constexpr uint32_t kPrefetchSlotMax = 1024;  // larger elements: the hardware's own streams

  // Stores retire in order, so the ownership miss of each slot would wait for the one before.
  // Asking ahead lets them overlap. Never past head_seen + capacity: those lines the consumer still
  // reads.
  void own_ahead(uint32_t count) noexcept {
    const uint32_t wanted = count + ahead_;
    const uint32_t end = tail_ + std::min(wanted, capacity_ - (tail_ - head_seen_));
    if (static_cast<int32_t>(owned_ - tail_) < 0) owned_ = tail_;
    const uint32_t step = slot_bytes_ >= kLineBytes ? 1 : kLineBytes / slot_bytes_;
    while (static_cast<int32_t>(end - owned_) >= static_cast<int32_t>(step)) {
      const std::byte* slot = slots_ + size_t{owned_ & (capacity_ - 1)} * slot_bytes_;
      Policy::prefetch_write(slot);
      for (uint32_t b = kLineBytes; b < slot_bytes_; b += kLineBytes)
        Policy::prefetch_write(slot + b);
      owned_ += step;
    }
  }

  Memory* memory_ = nullptr;
  std::byte* slots_ = nullptr;
  uint32_t capacity_ = 0;
  uint32_t slot_bytes_ = 0;
  uint32_t element_bytes_ = 0;
  Layout layout_ = Layout::bulk;
  uint32_t tail_ = 0;
  uint32_t head_seen_ = 0;  // private copy of the consumer's index
  uint32_t owned_ = 0;      // ownership was asked for up to this index
  uint32_t ahead_ = 0;      // slots to ask for in advance; 0: none
};

// The reading half.
template <class Policy = Hardware>
class BasicConsumer {
 public:
  using Memory = ChannelLayout<Policy>;

  BasicConsumer() = default;
  explicit BasicConsumer(Memory* memory) noexcept
      : memory_(memory),
        slots_(memory->slots()),
        capacity_(memory->capacity),
        slot_bytes_(memory->slot_bytes),
        element_bytes_(memory->element_bytes),
        layout_(static_cast<Layout>(memory->layout)),
        head_(Policy::template own<Edge::head>(memory->head)),
        head_given_(head_),
        tail_seen_(head_) {}

  // Up to `n` neighbouring elements; fewer at the end of the ring, none when empty.
  [[nodiscard]] ReadableSlots peek(uint32_t n) noexcept {
    const uint32_t at = head_ & (capacity_ - 1);
    const uint32_t used = available(std::min(n, capacity_ - at));
    return {slots_ + size_t{at} * slot_bytes_, std::min({n, used, capacity_ - at}), slot_bytes_};
  }

  // The first `n` peeked elements are done with. The producer learns of it once per drain or per
  // quarter of the ring, whichever comes first: a line that moves once is a line well moved.
  void release(uint32_t n) noexcept {
    assert(n <= tail_seen_ - head_);
    head_ += n;
    if (head_ == tail_seen_ || head_ - head_given_ >= std::max(1u, capacity_ / 4)) flush();
  }

  // For a reader with nothing else to do, before it looks again: after a short drain of dense
  // traffic lets the writer get ahead, for some hundred nanoseconds at most. A reader that follows
  // on the writer's heels takes the lines of tail and of the next slots away from it at every
  // element, and both crawl at the speed of a crossing. Sparse traffic is not delayed: its looks
  // come back empty.
  void gather() noexcept {
    if (!crowding_) return;
    crowding_ = false;
    gathered_ = true;
    const uint64_t since = Policy::now();
    for (uint32_t i = 0; i < kGatherPauses && Policy::now() - since < kGatherTicks; ++i)
      Policy::relax();
  }

  // Gives back now what release still holds. Never needed for progress: an empty ring holds
  // nothing.
  void flush() noexcept {
    if (head_given_ == head_) return;
    head_given_ = head_;
    Policy::template publish<Edge::head>(memory_->head, head_);  // pairs with producer's observe
  }

  // Copies up to `n` elements out; returns how many, fewer than `n` only when empty.
  [[nodiscard]] uint32_t receive(void* elements, uint32_t n = 1) noexcept {
    auto* to = static_cast<std::byte*>(elements);
    uint32_t done = 0;
    while (done < n) {
      const ReadableSlots from = peek(n - done);
      if (!from) break;
      Policy::read_elements(to, element_bytes_, from.data, from.stride, element_bytes_, from.count);
      release(from.count);
      to += size_t{from.count} * element_bytes_;
      done += from.count;
    }
    return done;
  }

  template <class T>
  [[nodiscard]] bool receive_one(T& element) noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    assert(sizeof(T) == element_bytes_);
    const ReadableSlots from = peek(1);
    if (!from) return false;
    std::memcpy(&element, from.data, sizeof(T));
    release(1);
    return true;
  }

  // Is there an element? Looks at the shared word unless one is already known.
  [[nodiscard]] bool ready() noexcept { return available(1) != 0; }

  // The word whose change means new elements, for a consumer of a single channel to monitor, and
  // the value it has while there are none.
  const typename Memory::Word* watch() const noexcept {
    return layout_ == Layout::bulk ? &memory_->tail : &memory_->sequence(head_);
  }
  // False while watch() still holds what it held when the ring was last found empty.
  [[nodiscard]] bool watch_fired() const noexcept {
    if (layout_ == Layout::bulk)
      return Policy::template observe<Edge::tail>(memory_->tail) != head_;  // pairs with commit
    return Policy::template observe<Edge::slot>(memory_->sequence(head_)) ==
           head_ + 1;  // with commit
  }

  // Elements known to be there, without looking.
  uint32_t depth() const noexcept { return tail_seen_ - head_; }
  // Elements that were there at the last look; never more than the ring holds.
  uint32_t found() const noexcept { return found_; }
  // Looks at the producer's index (bulk: exact now; latency: a mirror that may be a moment old).
  uint32_t depth_now() const noexcept {
    return Policy::template observe<Edge::tail>(memory_->tail) - head_;  // pairs with commit
  }
  uint32_t capacity() const noexcept { return capacity_; }
  uint32_t element_bytes() const noexcept { return element_bytes_; }
  Layout layout() const noexcept { return layout_; }
  explicit operator bool() const noexcept { return memory_ != nullptr; }

 private:
  // Elements that may be read, at least min(n, present) of them; looks only when none is known
  // (bulk) or as far as `n` needs (latency).
  uint32_t available(uint32_t n) noexcept {
    if (layout_ == Layout::bulk) {
      if (tail_seen_ == head_) look();
      return tail_seen_ - head_;
    }
    while (tail_seen_ - head_ < n) {  // pairs with commit
      if (Policy::template observe<Edge::slot>(memory_->sequence(tail_seen_)) != tail_seen_ + 1)
        break;
      ++tail_seen_;
    }
    found_ = tail_seen_ - head_;
    return found_;
  }

  void look() noexcept {
    tail_seen_ = Policy::template observe<Edge::tail>(memory_->tail);  // pairs with commit
    const uint32_t found = found_ = tail_seen_ - head_;
    if (found == 0) {
      ++looks_empty_;
      return;
    }
    if (gathered_) {
      gathered_ = false;
      patience_ = found >= kGatheredAtLeast ? 0 : std::min(2 * patience_ + 1, kPatienceMax);
      looks_to_skip_ = patience_;
    }
    const bool crowded =
        found < kCrowdedBelow && looks_empty_ < kSparseLooks && capacity_ > kCrowdedBelow;
    crowding_ = crowded && looks_to_skip_ == 0;
    if (crowded && looks_to_skip_ != 0) --looks_to_skip_;
    looks_empty_ = 0;
  }

  // A pause is 1 to 70 ns and a tick 0.2 to 40 ns, as processors go: whichever bound comes first.
  static constexpr uint32_t kGatherPauses = 100;
  static constexpr uint64_t kGatherTicks = 5000;
  static constexpr uint32_t kCrowdedBelow = 64;    // elements a look should find in dense traffic
  static constexpr uint32_t kGatheredAtLeast = 8;  // elements that make a wait worth it
  static constexpr uint32_t kPatienceMax = 1023;
  static constexpr uint32_t kSparseLooks = 128;  // empty looks after which traffic is not dense

  Memory* memory_ = nullptr;
  const std::byte* slots_ = nullptr;
  uint32_t capacity_ = 0;
  uint32_t slot_bytes_ = 0;
  uint32_t element_bytes_ = 0;
  Layout layout_ = Layout::bulk;
  uint32_t head_ = 0;
  uint32_t head_given_ = 0;  // what the producer has been told
  uint32_t tail_seen_ = 0;   // private copy of the producer's index, or of the sequence words read
  uint32_t found_ = 0;
  uint32_t looks_empty_ = 0;
  uint32_t patience_ = 0;  // short looks to let pass after a wait that gathered nothing
  uint32_t looks_to_skip_ = 0;
  bool gathered_ = false;  // since the last look
  bool crowding_ = false;  // the last look was short and traffic is dense
};

// A channel in somebody's memory. `create` writes the header, the halves are taken once each.
template <class Policy = Hardware>
class BasicChannel {
 public:
  using Memory = ChannelLayout<Policy>;

  BasicChannel() = default;

  static size_t bytes_needed(const ChannelSpec& spec) noexcept {
    return Memory::bytes_needed(spec.capacity, spec.element_bytes, spec.layout);
  }

  // `memory` is aligned to 128 bytes and holds bytes_needed(spec); `first` is the index of the
  // first element (tests start near 2^32). An empty handle when the spec is not valid.
  static BasicChannel create(void* memory, const ChannelSpec& spec, uint32_t first = 0) noexcept {
    if (!spec.valid() || reinterpret_cast<uintptr_t>(memory) % kIsolationBytes != 0) return {};
    auto* at = new (memory) Memory;
    at->magic = Memory::kMagic;
    at->version = Memory::kVersion;
    at->capacity = spec.capacity;
    at->element_bytes = spec.element_bytes;
    at->slot_bytes = Memory::slot_bytes_of(spec.element_bytes, spec.layout);
    at->layout = static_cast<uint32_t>(spec.layout);
    at->slots_offset = sizeof(Memory);
    at->first = first;
    Policy::template mirror<Edge::tail>(at->tail, first);
    Policy::template mirror<Edge::head>(at->head, first);
    if (spec.layout == Layout::latency) {
      for (uint32_t i = 0; i < spec.capacity; ++i) {  // as if the lap before had been consumed
        auto* word = new (&at->sequence(first + i)) typename Memory::Word;
        Policy::template mirror<Edge::slot>(*word, first + i + 1 - spec.capacity);
      }
    }
    return BasicChannel(at);
  }

  // A channel that somebody created in this memory; an empty handle when there is none.
  static BasicChannel attach(void* memory) noexcept {
    auto* at = static_cast<Memory*>(memory);
    if (at->magic != Memory::kMagic || at->version != Memory::kVersion) return {};
    return BasicChannel(at);
  }

  BasicProducer<Policy> producer() const noexcept { return BasicProducer<Policy>(memory_); }
  BasicConsumer<Policy> consumer() const noexcept { return BasicConsumer<Policy>(memory_); }
  Memory* memory() const noexcept { return memory_; }
  explicit operator bool() const noexcept { return memory_ != nullptr; }

 private:
  explicit BasicChannel(Memory* memory) noexcept : memory_(memory) {}
  Memory* memory_ = nullptr;
};

using Producer = BasicProducer<>;
using Consumer = BasicConsumer<>;
using Channel = BasicChannel<>;

}  // namespace vanity
