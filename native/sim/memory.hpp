// What a load may find: memory as threads on several processors see it.
//
//   sequential   every store is there at once
//   tso          a store waits in its thread's buffer, first in, first out; the thread itself reads
//                it there, the others when it has left. Atomic read-modify-writes and full fences
//                wait for the buffer to be empty. As x86
//   weak         every location keeps its last stores, in their order. A load may find any that is
//                not older than what its thread knows; what it knows grows by its own loads and
//                stores, by acquiring what was released, and by fences. As C++20 without
//                consume, and so as weak as Arm and RISC-V may be compiled to
//
// In the weak model what a thread knows is a View: a number for each thread (how far its past is
// known) and one for each location (the oldest store that may still be found). The first half is a
// vector clock, by which plain accesses are held to be ordered.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <unordered_map>

namespace vanity::sim {

enum class Model : uint8_t { sequential, tso, weak };

#if defined(VANITY_SIM)
// Whole systems.
inline constexpr uint32_t kThreadsMax = 24;
inline constexpr uint32_t kLocationsMax = 1000;
inline constexpr uint32_t kPlainWordsMax = 8192;
#else
// Cases that are exhausted: all that is known fits into few lines.
inline constexpr uint32_t kThreadsMax = 6;
inline constexpr uint32_t kLocationsMax = 58;
inline constexpr uint32_t kPlainWordsMax = 256;
#endif
// A bit for each thread, then for each store buffer.
using Mask = std::conditional_t<2 * kThreadsMax <= 32, uint32_t, uint64_t>;
inline constexpr uint32_t kWindow = 8;        // stores of a location that a load may still find
inline constexpr uint32_t kBufferStores = 8;  // of one thread's store buffer

// Locations that were not yet in use when it was written are not in it.
struct View {
  uint32_t used = 0;
  std::array<uint32_t, kThreadsMax + kLocationsMax> at;

  View() noexcept = default;
  View(const View& other) noexcept { *this = other; }
  View& operator=(const View& other) noexcept {
    used = other.used;
    for (uint32_t i = 0; i < used; ++i) at[i] = other.at[i];
    return *this;
  }
  void grow(uint32_t to) noexcept {
    while (used < to) at[used++] = 0;
  }
  void join(const View& other) noexcept {
    grow(other.used);
    for (uint32_t i = 0; i < other.used; ++i) at[i] = at[i] < other.at[i] ? other.at[i] : at[i];
  }
};

// One that was written, and by whom: what a trace says of a load.
struct Origin {
  uint32_t step = 0;  // 0: before the threads began
  uint8_t thread = 0;
  bool released = false;
};

struct Location {
  struct Store {
    uint64_t value;
    Origin origin;
    View view;  // what an acquiring load of it learns
  };
  std::byte* address;
  uint32_t key;
  uint32_t bytes;
  uint32_t newest;  // stores so far; 0 is what was there before
  std::array<Store, kWindow> stores;

  Store& store(uint32_t number) noexcept { return stores[number % kWindow]; }
  uint32_t oldest() const noexcept { return newest >= kWindow ? newest - kWindow + 1 : 0; }
};

class Memory {
 public:
  // What is watched lies within [base, base + bytes), but for a few words. Forgets what was.
  void begin(Model model, std::byte* base, size_t bytes, uint32_t threads) noexcept;
  Model model() const noexcept { return model_; }

  // ---- atomics
  // Its number; kNone when more are in use than there is room for.
  static constexpr uint32_t kNone = ~0u;
  uint32_t touch(const void* address, uint32_t bytes) noexcept;
  Location& location(uint32_t number) noexcept { return locations_[number]; }
  uint32_t locations() const noexcept { return count_; }
  // Where it lies from the beginning on. Words outside are counted as they are met, a line each, so
  // that no address of theirs is seen.
  uint32_t key(const void* address) const noexcept {
    const auto* at = static_cast<const std::byte*>(address);
    if (at >= base_ && at < base_ + bytes_) return static_cast<uint32_t>(at - base_);
    const auto [found, fresh] = outside_.try_emplace(address, 0);
    if (fresh) found->second = static_cast<uint32_t>(bytes_ + 64 * outside_count_++);
    return found->second;
  }

  // Another word lies there from now on.
  void forget(const void* address) noexcept { outside_.erase(address); }

  // How many stores a load of this thread may find; 1: the newest only. A seq_cst one finds nothing
  // older than what seq_cst accesses and full fences before it knew.
  uint32_t readable(uint32_t thread, uint32_t location, bool sequential) const noexcept;
  // A seq_cst access found or left the store of this number.
  void sequence(uint32_t location, uint32_t number) noexcept {
    uint32_t& known = sequence_.at[kThreadsMax + location];
    known = known < number ? number : known;
  }
  // `age` 0 is the newest. Says in `number` which one it was.
  uint64_t load(uint32_t thread, uint32_t location, uint32_t age, bool acquire,
                uint32_t& number) noexcept;
  void store(uint32_t thread, uint32_t location, uint64_t value, bool release,
             uint32_t step) noexcept;
  // Reads the newest and follows it.
  uint64_t exchange(uint32_t thread, uint32_t location, uint64_t (*change)(uint64_t, uint64_t),
                    uint64_t operand, bool acquire, bool release, uint32_t step) noexcept;
  void fence(uint32_t thread) noexcept;
  // Everything that the other knows.
  void follow(uint32_t thread, uint32_t other) noexcept {
    threads_[thread].now.join(threads_[other].now);
  }
  void acquire_fence(uint32_t thread) noexcept;
  void release_fence(uint32_t thread) noexcept;
  // The thread has seen the line as it is now: no load of it finds anything older.
  void see_line(uint32_t thread, uint32_t line_key) noexcept;
  // The thread has seen this location as it is now.
  void see(uint32_t thread, uint32_t location) noexcept {
    threads_[thread].now.at[kThreadsMax + location] = locations_[location].newest;
  }
  uint32_t newest(uint32_t location) const noexcept { return locations_[location].newest; }

  // ---- plain words: part of what atomics hand over
  // Null, or who else touched it with nothing in between that orders the two.
  const Origin* race(uint32_t thread, const void* address, bool write) noexcept;
  void note_plain(uint32_t thread, const void* address, bool write, uint32_t step) noexcept;

  // ---- store buffers
  uint32_t buffered(uint32_t thread) const noexcept { return threads_[thread].buffered; }
  bool buffer_full(uint32_t thread) const noexcept {
    return threads_[thread].buffered == kBufferStores;
  }
  bool buffer_empty(uint32_t thread) const noexcept { return threads_[thread].buffered == 0; }
  struct Buffered {
    std::byte* address;
    uint64_t value;
    uint32_t bytes;
    Origin origin;
  };
  void buffer(uint32_t thread, const Buffered& store) noexcept;
  const Buffered& first(uint32_t thread) const noexcept;
  Buffered drain(uint32_t thread) noexcept;
  // Into memory, at once.
  void settle(const Buffered& store) noexcept;
  // What the thread itself finds there, in its buffer or in memory.
  uint64_t forward(uint32_t thread, const std::byte* address, uint32_t bytes,
                   Origin& origin) noexcept;

  static uint64_t raw(const void* address, uint32_t bytes) noexcept;
  static void put(void* address, uint32_t bytes, uint64_t value) noexcept;
  // The sum over memory of what buffers have left in it; part of the state.
  uint64_t hash() const noexcept { return hash_; }

 private:
  struct Thread {
    View now;       // what its loads know
    View acquired;  // what an acquiring fence would add
    View released;  // what was known at the last releasing fence: relaxed stores carry it
    uint32_t buffered = 0;
    uint32_t drained = 0;
    std::array<Buffered, kBufferStores> buffer;
  };
  struct Plain {
    const void* address;
    Origin written;
    uint32_t write_clock;
    std::array<uint32_t, kThreadsMax> read_clock;
    std::array<uint32_t, kThreadsMax> read_step;
    Origin found;
  };
  // Null: there are too many of them to follow.
  Plain* plain(const void* address) noexcept;
  Model model_ = Model::weak;
  std::byte* base_ = nullptr;
  size_t bytes_ = 0;
  uint32_t threads_count_ = 0;
  uint32_t count_ = 0;
  uint32_t plain_count_ = 0;
  uint64_t hash_ = 0;
  View sequence_;  // what full fences and seq_cst accesses hand from one to the next
  std::array<Thread, kThreadsMax> threads_;
  std::array<Location, kLocationsMax> locations_;
  std::array<Plain, kPlainWordsMax> plains_;
  mutable std::unordered_map<const void*, uint32_t> outside_;
  mutable uint32_t outside_count_ = 0;  // that ever were
  // Numbers by address, open addressing; anew with each execution by `generation_`.
  static constexpr uint32_t kSlotBits = kPlainWordsMax > 256 ? 15 : 10;
  static constexpr uint32_t kSlots = 1u << kSlotBits;
  struct Slot {
    uint32_t generation;
    uint32_t key;
    uint32_t number;
  };
  Slot& slot_of(uint32_t key) noexcept;
  uint32_t generation_ = 0;
  std::array<Slot, kSlots> slots_{};
};

}  // namespace vanity::sim
