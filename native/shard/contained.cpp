// The calls that move packets, for a program that may be left at any instruction: what it points at
// is touched before the runtime begins, so that a wild pointer faults while the books are right.
// The other calls touch nothing that a jump out of them would leave half done.
#include <algorithm>

#include "shard/shard.hpp"

namespace vanity {
namespace {

Shard& of(vanity_shard* shard) {
  return *Shard::of(shard);
}

// Where a program that only calls the runtime can be left.
void leave_if_asked(Shard& shard) noexcept {
  if (shard.asked_to_leave() || shard.asked_to_leave_trial()) [[unlikely]]
    shard.guard().leave(FaultKind::asked, "");
}

// A burst lies in two pages at most: its first and its last byte are in all of them.
static_assert(limits::kBurstMax * sizeof(vanity_packet) <= 4096);
void touch(const vanity_packet* packets, uint32_t n) noexcept {
  const auto* const bytes = reinterpret_cast<const volatile uint8_t*>(packets);
  static_cast<void>(bytes[0]);
  static_cast<void>(bytes[n * sizeof(vanity_packet) - 1]);
}
void touch_to_write(vanity_packet* packets, uint32_t n) noexcept {
  auto* const bytes = reinterpret_cast<volatile uint8_t*>(packets);
  bytes[0] = 0;
  bytes[n * sizeof(vanity_packet) - 1] = 0;
}

uint32_t receive(vanity_shard* handle, vanity_packet* packets, uint32_t n) {
  Shard& shard = of(handle);
  leave_if_asked(shard);
  n = std::min(n, limits::kBurstMax);
  if (n == 0) return 0;
  touch_to_write(packets, n);
  const Guard::Runtime in(shard.guard());
  const uint32_t count =
      shard.attentive() ? shard.receive_attentively(packets, n) : shard.receive(packets, n);
  shard.held().add(packets, count);
  return count;
}

uint32_t allocate(vanity_shard* handle, vanity_packet* packets, uint32_t n) {
  Shard& shard = of(handle);
  n = std::min(n, limits::kBurstMax);
  if (n == 0) return 0;
  touch_to_write(packets, n);
  const Guard::Runtime in(shard.guard());
  const uint32_t count = shard.allocate(packets, n);
  shard.held().add(packets, count);
  return count;
}

// Takes the program's packets from it, at most a burst, at least one.
void take(Shard& shard, const vanity_packet* packets, uint32_t n) {
  touch(packets, n);
  const uint32_t good = shard.held().remove(packets, n);
  if (good == n) [[likely]]
    return;
  shard.held().add(packets, good);
  shard.guard().leave(FaultKind::descriptor, "it gave away a packet that it does not hold");
}

template <class Give>
void give(vanity_shard* handle, const vanity_packet* packets, uint32_t n, Give&& gives) {
  Shard& shard = of(handle);
  while (n != 0) {
    const uint32_t count = std::min(n, limits::kBurstMax);
    take(shard, packets, count);
    const Guard::Runtime in(shard.guard());
    gives(shard, packets, count);
    packets += count;
    n -= count;
  }
}

uint32_t send(vanity_shard* handle, uint32_t index, const vanity_packet* packets, uint32_t n) {
  Shard& shard = of(handle);
  uint32_t all = 0;
  bool refused = false;
  while (n != 0 && !refused) {
    const uint32_t count = std::min(n, limits::kBurstMax);
    take(shard, packets, count);
    const Guard::Runtime in(shard.guard());
    const uint32_t sent = kApi.send(handle, index, packets, count);
    const vanity_channel* const channel = shard.output(index);
    if (sent < count && channel != nullptr && channel->overflow == Overflow::program) {
      shard.held().add(packets + sent, count - sent);
      refused = true;
    }
    all += sent;
    packets += count;
    n -= count;
  }
  leave_if_asked(shard);
  return all;
}

void free_packets(vanity_shard* handle, const vanity_packet* packets, uint32_t n) {
  give(handle, packets, n, [](Shard& shard, const vanity_packet* given, uint32_t count) {
    shard.consume(given, count);
  });
}

void discard(vanity_shard* handle, const vanity_packet* packets, uint32_t n) {
  give(handle, packets, n, [](Shard& shard, const vanity_packet* given, uint32_t count) {
    shard.discard(given, count);
  });
}

vanity_api contained() {
  vanity_api api = kApi;
  api.receive = receive;
  api.send = send;
  api.free_packets = free_packets;
  api.discard = discard;
  api.allocate = allocate;
  return api;
}

}  // namespace

const vanity_api kContainedApi = contained();

}  // namespace vanity
