// The device's side of virtqueues, written from VIRTIO 1.2 §2.7 and §2.8 and from nothing of ours:
// offsets are the specification's, and addresses of buffers are pointers of this process.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace model {

struct Part {
  uint64_t address;
  uint32_t bytes;
  bool writes;  // by the device

  uint8_t* data() const { return reinterpret_cast<uint8_t*>(address); }
};

struct Chain {
  uint16_t id = 0;
  uint32_t descriptors = 0;  // places in a packed ring
  std::vector<Part> parts;
};

template <class T>
T load(const uint8_t* at) {
  T value = __atomic_load_n(reinterpret_cast<const T*>(at), __ATOMIC_ACQUIRE);
  return value;
}
template <class T>
void store(uint8_t* at, T value) {
  __atomic_store_n(reinterpret_cast<T*>(at), value, __ATOMIC_RELEASE);
}
inline void full_fence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

// The three areas as the driver told the device.
struct Areas {
  uint8_t* descriptors;
  uint8_t* driver;
  uint8_t* device;
  uint16_t size;
  bool event_index;
};

// §2.7
class SplitDevice {
 public:
  explicit SplitDevice(Areas areas) : a_(areas) {}

  bool pop(Chain& chain) {
    const uint16_t index = load<uint16_t>(a_.driver + 2);
    if (index == seen_) return false;
    chain = {};
    chain.id = load<uint16_t>(a_.driver + 4 + 2 * (seen_ % a_.size));
    ++seen_;
    for (uint16_t id = chain.id;;) {
      const uint8_t* const d = a_.descriptors + 16 * id;
      uint64_t address;
      uint32_t bytes;
      uint16_t flags, next;
      std::memcpy(&address, d, 8);
      std::memcpy(&bytes, d + 8, 4);
      std::memcpy(&flags, d + 12, 2);
      std::memcpy(&next, d + 14, 2);
      chain.parts.push_back({address, bytes, (flags & 2) != 0});
      ++chain.descriptors;
      if ((flags & 1) == 0) break;
      id = next;
    }
    return true;
  }
  void push(const Chain& chain, uint32_t written) {
    uint8_t* const e = a_.device + 4 + 8 * (used_ % a_.size);
    const uint32_t id = chain.id;
    std::memcpy(e, &id, 4);
    std::memcpy(e + 4, &written, 4);
    ++used_;
  }
  // Shows the driver what was pushed. True: it wants an interrupt.
  bool show() {
    const uint16_t before = load<uint16_t>(a_.device + 2);
    store<uint16_t>(a_.device + 2, used_);
    full_fence();
    if (!a_.event_index) return (load<uint16_t>(a_.driver) & 1) == 0;
    const uint16_t event = load<uint16_t>(a_.driver + 4 + 2 * a_.size);
    return static_cast<uint16_t>(used_ - event - 1) < static_cast<uint16_t>(used_ - before);
  }
  // Does the device want to be told of buffers? False: something came meanwhile.
  bool listen(bool on) {
    if (a_.event_index) {
      store<uint16_t>(a_.device + 4 + 8 * a_.size, static_cast<uint16_t>(on ? seen_ : seen_ - 1));
    } else {
      store<uint16_t>(a_.device, on ? 0 : 1);
    }
    full_fence();
    return load<uint16_t>(a_.driver + 2) == seen_;
  }

 private:
  Areas a_;
  uint16_t seen_ = 0;
  uint16_t used_ = 0;
};

// §2.8
class PackedDevice {
 public:
  explicit PackedDevice(Areas areas) : a_(areas) {}

  bool pop(Chain& chain) {
    if (!available()) return false;
    chain = {};
    for (;;) {
      const uint8_t* const d = a_.descriptors + 16 * next_;
      const uint16_t flags = load<uint16_t>(d + 14);
      uint64_t address;
      uint32_t bytes;
      std::memcpy(&address, d, 8);
      std::memcpy(&bytes, d + 8, 4);
      std::memcpy(&chain.id, d + 12, 2);  // of the last
      chain.parts.push_back({address, bytes, (flags & 2) != 0});
      ++chain.descriptors;
      forward(next_, next_wrap_, 1);
      if ((flags & 1) == 0) break;
    }
    return true;
  }
  void push(const Chain& chain, uint32_t written) {
    uint8_t* const d = a_.descriptors + 16 * used_;
    std::memcpy(d + 8, &written, 4);
    std::memcpy(d + 12, &chain.id, 2);
    const uint16_t flags = used_wrap_ ? 0x8080 : 0;
    if (held_.count == 0) {
      held_ = {used_, used_, used_wrap_, flags, 0};  // the first is shown last
    } else {
      store<uint16_t>(d + 14, flags);
    }
    held_.count += chain.descriptors;
    forward(used_, used_wrap_, chain.descriptors);
  }
  bool show() {
    if (held_.count == 0) return false;
    store<uint16_t>(a_.descriptors + 16 * held_.at + 14, held_.flags);
    const uint32_t count = held_.count;
    held_.count = 0;
    full_fence();
    const uint16_t place = load<uint16_t>(a_.driver), flags = load<uint16_t>(a_.driver + 2);
    if (flags == 1) return false;
    if (flags == 0) return true;
    // Did we write the descriptor at `place`, of the lap that it names?
    uint16_t at = held_.from;
    bool wrap = held_.wrap;
    for (uint32_t i = 0; i < count; ++i) {
      if (at == (place & 0x7fff) && wrap == (place >> 15 != 0)) return true;
      forward(at, wrap, 1);
    }
    return false;
  }
  bool listen(bool on) {
    if (on && a_.event_index) {
      store<uint16_t>(a_.device, static_cast<uint16_t>(next_ | next_wrap_ << 15));
      store<uint16_t>(a_.device + 2, 2);
    } else {
      store<uint16_t>(a_.device + 2, on ? 0 : 1);
    }
    full_fence();
    return !available();
  }

 private:
  bool available() const {
    const uint16_t flags = load<uint16_t>(a_.descriptors + 16 * next_ + 14);
    return ((flags & 0x80) != 0) == next_wrap_ && ((flags & 0x8000) != 0) != next_wrap_;
  }
  void forward(uint16_t& at, bool& wrap, uint32_t n) const {
    uint32_t sum = at + n;
    if (sum >= a_.size) {
      sum -= a_.size;
      wrap = !wrap;
    }
    at = static_cast<uint16_t>(sum);
  }

  struct Held {
    uint16_t at = 0, from = 0;
    bool wrap = true;
    uint16_t flags = 0;
    uint32_t count = 0;
  };
  Areas a_;
  uint16_t next_ = 0, used_ = 0;
  bool next_wrap_ = true, used_wrap_ = true;
  Held held_;
};

}  // namespace model
