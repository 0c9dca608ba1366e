#include "sim/memory.hpp"

#include <algorithm>
#include <cstring>

#include "sim/random.hpp"

namespace vanity::sim {

void Memory::begin(Model model, std::byte* base, size_t bytes, uint32_t threads) noexcept {
  model_ = model;
  base_ = base;
  bytes_ = bytes;
  threads_count_ = threads;
  count_ = 0;
  plain_count_ = 0;
  hash_ = 0;
  ++generation_;
  outside_.clear();
  outside_count_ = 0;
  const auto empty = [](View& view) {
    view.used = 0;
    view.grow(kThreadsMax);
  };
  empty(sequence_);
  for (uint32_t i = 0; i < threads; ++i) {
    for (View* view : {&threads_[i].now, &threads_[i].acquired, &threads_[i].released})
      empty(*view);
    threads_[i].buffered = threads_[i].drained = 0;
  }
}

// Atomics and plain words share the table: no address is both.
Memory::Slot& Memory::slot_of(uint32_t key) noexcept {
  uint32_t at = (key * 0x9e3779b1u) >> (32 - kSlotBits);
  while (slots_[at].generation == generation_ && slots_[at].key != key) at = (at + 1) % kSlots;
  return slots_[at];
}

uint32_t Memory::touch(const void* address, uint32_t bytes) noexcept {
  Slot& slot = slot_of(key(address));
  if (slot.generation == generation_) return slot.number;
  if (count_ == kLocationsMax) return kNone;
  slot = {generation_, key(address), count_};
  Location& location = locations_[count_];
  location.address = static_cast<std::byte*>(const_cast<void*>(address));
  location.key = key(address);
  location.bytes = bytes;
  location.newest = 0;
  location.stores[0].value = raw(address, bytes);
  location.stores[0].origin = {};
  location.stores[0].view.used = 0;
  ++count_;
  for (uint32_t i = 0; i < threads_count_; ++i)
    for (View* view : {&threads_[i].now, &threads_[i].acquired, &threads_[i].released})
      view->grow(kThreadsMax + count_);
  sequence_.grow(kThreadsMax + count_);
  return count_ - 1;
}

uint64_t Memory::raw(const void* address, uint32_t bytes) noexcept {
  switch (bytes) {
    case 1:
      return *static_cast<const uint8_t*>(address);
    case 2:
      return *static_cast<const uint16_t*>(address);
    case 4:
      return *static_cast<const uint32_t*>(address);
    default:
      return *static_cast<const uint64_t*>(address);
  }
}

void Memory::put(void* address, uint32_t bytes, uint64_t value) noexcept {
  switch (bytes) {
    case 1:
      *static_cast<uint8_t*>(address) = static_cast<uint8_t>(value);
      return;
    case 2:
      *static_cast<uint16_t*>(address) = static_cast<uint16_t>(value);
      return;
    case 4:
      *static_cast<uint32_t*>(address) = static_cast<uint32_t>(value);
      return;
    default:
      *static_cast<uint64_t*>(address) = value;
  }
}

// ---- weak
// ----------------------------------------------------------------------------------------

uint32_t Memory::readable(uint32_t thread, uint32_t number, bool sequential) const noexcept {
  const Location& location = locations_[number];
  uint32_t oldest = std::max(threads_[thread].now.at[kThreadsMax + number], location.oldest());
  if (sequential) oldest = std::max(oldest, sequence_.at[kThreadsMax + number]);
  return location.newest - oldest + 1;
}

uint64_t Memory::load(uint32_t thread, uint32_t number, uint32_t age, bool acquire,
                      uint32_t& found) noexcept {
  Location& location = locations_[number];
  found = location.newest - age;
  const Location::Store& store = location.store(found);
  Thread& self = threads_[thread];
  uint32_t& known = self.now.at[kThreadsMax + number];
  if (known < found) known = found;
  if (found != 0) {
    if (acquire) self.now.join(store.view);
    self.acquired.join(store.view);
  }
  return store.value;
}

void Memory::store(uint32_t thread, uint32_t number, uint64_t value, bool release,
                   uint32_t step) noexcept {
  Location& location = locations_[number];
  Thread& self = threads_[thread];
  const uint32_t now = ++location.newest;
  ++self.now.at[thread];
  self.now.at[kThreadsMax + number] = now;
  Location::Store& store = location.store(now);
  store.value = value;
  store.origin = {step, static_cast<uint8_t>(thread), release};
  store.view = release ? self.now : self.released;
  store.view.grow(kThreadsMax + number + 1);
  if (store.view.at[kThreadsMax + number] < now) store.view.at[kThreadsMax + number] = now;
  put(location.address, location.bytes, value);
}

uint64_t Memory::exchange(uint32_t thread, uint32_t number, uint64_t (*change)(uint64_t, uint64_t),
                          uint64_t operand, bool acquire, bool release, uint32_t step) noexcept {
  Location& location = locations_[number];
  const View before = location.store(location.newest).view;
  uint32_t found;
  const uint64_t old = load(thread, number, 0, acquire, found);
  store(thread, number, change(old, operand), release, step);
  // Goes on with the release sequence of what it replaces.
  location.store(location.newest).view.join(before);
  return old;
}

void Memory::fence(uint32_t thread) noexcept {
  Thread& self = threads_[thread];
  ++self.now.at[thread];
  self.now.join(self.acquired);
  self.now.join(sequence_);
  sequence_ = self.now;
  self.acquired = self.released = self.now;
}

void Memory::acquire_fence(uint32_t thread) noexcept {
  threads_[thread].now.join(threads_[thread].acquired);
}

void Memory::release_fence(uint32_t thread) noexcept {
  ++threads_[thread].now.at[thread];
  threads_[thread].released = threads_[thread].now;
}

void Memory::see_line(uint32_t thread, uint32_t line_key) noexcept {
  for (uint32_t i = 0; i < count_; ++i)
    if (locations_[i].key / 64 == line_key)
      threads_[thread].now.at[kThreadsMax + i] = locations_[i].newest;
}

Memory::Plain* Memory::plain(const void* address) noexcept {
  Slot& slot = slot_of(key(address));
  if (slot.generation == generation_) return &plains_[slot.number];
  if (plain_count_ == kPlainWordsMax) return nullptr;
  const uint32_t number = plain_count_++;
  slot = {generation_, key(address), number};
  plains_[number] = {};
  plains_[number].address = address;
  return &plains_[number];
}

// A clock is the number of stores and fences of its thread: an access is known to whoever knows
// more of them than there were.
const Origin* Memory::race(uint32_t thread, const void* address, bool write) noexcept {
  Plain* const found = plain(address);
  if (found == nullptr) return nullptr;
  Plain& word = *found;
  const View& now = threads_[thread].now;
  if (word.write_clock != 0 && word.written.thread != thread &&
      now.at[word.written.thread] < word.write_clock)
    return &word.written;
  for (uint32_t other = 0; write && other < threads_count_; ++other) {
    if (other == thread || word.read_clock[other] == 0 || now.at[other] >= word.read_clock[other])
      continue;
    word.found = {word.read_step[other], static_cast<uint8_t>(other), false};
    return &word.found;
  }
  return nullptr;
}

void Memory::note_plain(uint32_t thread, const void* address, bool write, uint32_t step) noexcept {
  Plain* const found = plain(address);
  if (found == nullptr) return;
  Plain& word = *found;
  const uint32_t clock = threads_[thread].now.at[thread] + 1;  // the next release tells of it
  if (write) {
    word.written = {step, static_cast<uint8_t>(thread), false};
    word.write_clock = clock;
    word.read_clock = {};
  } else {
    word.read_clock[thread] = clock;
    word.read_step[thread] = step;
  }
}

// ---- store buffers
// -------------------------------------------------------------------------------

void Memory::buffer(uint32_t thread, const Buffered& store) noexcept {
  Thread& self = threads_[thread];
  self.buffer[(self.drained + self.buffered) % kBufferStores] = store;
  ++self.buffered;
}

const Memory::Buffered& Memory::first(uint32_t thread) const noexcept {
  return threads_[thread].buffer[threads_[thread].drained % kBufferStores];
}

Memory::Buffered Memory::drain(uint32_t thread) noexcept {
  Thread& self = threads_[thread];
  const Buffered store = first(thread);
  ++self.drained;
  --self.buffered;
  settle(store);
  return store;
}

void Memory::settle(const Buffered& store) noexcept {
  const uint64_t place = Random::mix(uint64_t{key(store.address)} + 1);
  hash_ -= Random::mix(place + raw(store.address, store.bytes));
  put(store.address, store.bytes, store.value);
  hash_ += Random::mix(place + raw(store.address, store.bytes));
  // A location's newest store is the one in memory: loads say whose they found.
  const Slot& slot = slot_of(key(store.address));
  if (slot.generation != generation_) return;
  Location& location = locations_[slot.number];
  ++location.newest;
  location.store(location.newest).origin = store.origin;
}

uint64_t Memory::forward(uint32_t thread, const std::byte* address, uint32_t bytes,
                         Origin& origin) noexcept {
  Thread& self = threads_[thread];
  for (uint32_t i = self.buffered; i-- > 0;) {
    const Buffered& store = self.buffer[(self.drained + i) % kBufferStores];
    if (store.address != address) continue;
    origin = store.origin;
    return store.value;
  }
  const Slot& slot = slot_of(key(address));
  if (slot.generation == generation_) {
    Location& location = locations_[slot.number];
    origin = location.store(location.newest).origin;
  }
  return raw(address, bytes);
}

}  // namespace vanity::sim
