// The memory of the front-end as it shares it (Vhost-user Protocol, "Memory regions description"):
// up to eight files, each mapped where it comes to lie. An address of the peer is believed only
// when all of its bytes lie in one region.
//
// Made and ended by the kernel's thread, read by the shards in between. The peer may write all of
// it at any time, and may take it away: that reads as ones (GuardedMapping), and gone() says so.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "memory/guarded_mapping.hpp"
#include "vhost/message.hpp"

namespace vanity::vhost {

class PeerMemory {
 public:
  // A piece of the peer's addresses, and where it is here.
  struct Window {
    uint64_t first = 0;
    uint64_t bytes = 0;
    std::byte* base = nullptr;

    // Null: not all of it lies in the window.
    std::byte* at(uint64_t address, uint64_t length) const noexcept {
      const uint64_t offset = address - first;
      return offset < bytes && length <= bytes - offset ? base + offset : nullptr;
    }
  };

  PeerMemory() = default;
  // The regions' descriptors, in order; they stay the caller's. Throws VANITY_E_PORT_SOCKET for a
  // table or a file that can't be, and VANITY_E_SYSTEM.
  PeerMemory(const MemoryTable& table, const std::array<Fd, kFdsMax>& files);

  // The window that this address lies in, by the addresses in descriptors; an empty one: none.
  Window window(uint64_t address) const noexcept {
    for (uint32_t i = 0; i < count_; ++i)
      if (guest_[i].at(address, 1) != nullptr) return guest_[i];
    return {};
  }
  // By the front-end's own addresses, in which it tells where its rings are. Null: not there.
  std::byte* of_user(uint64_t address, uint64_t length) const noexcept;

  bool empty() const noexcept { return count_ == 0; }
  // The peer has taken some of it away.
  bool gone() const noexcept;

 private:
  std::array<Window, kRegionsMax> guest_{};
  std::array<Window, kRegionsMax> user_{};
  std::array<std::unique_ptr<GuardedMapping>, kRegionsMax> mappings_;
  uint32_t count_ = 0;
};

// A queue's own way into it: nearly all of its addresses lie where the one before did.
class PeerView {
 public:
  PeerView() = default;
  explicit PeerView(const PeerMemory& memory) noexcept : memory_(&memory) {}

  // Null: it does not lie in one region.
  std::byte* at(uint64_t address, uint64_t length) noexcept {
    std::byte* const found = last_.at(address, length);
    return found != nullptr ? found : look_up(address, length);
  }

 private:
  [[gnu::noinline]] std::byte* look_up(uint64_t address, uint64_t length) noexcept {
    const PeerMemory::Window window = memory_->window(address);
    if (window.base == nullptr) return nullptr;
    last_ = window;
    return last_.at(address, length);
  }

  const PeerMemory* memory_ = nullptr;
  PeerMemory::Window last_;
};

}  // namespace vanity::vhost
