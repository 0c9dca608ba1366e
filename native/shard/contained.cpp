// The calls that move packets, for a program that may be left at any instruction: what it points at
// is read before the runtime begins and written when the books are right. The other calls touch
// nothing that a jump out of them would leave half done.
#include <algorithm>
#include <cstring>

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

uint32_t receive(vanity_shard* handle, vanity_packet* packets, uint32_t n) {
  Shard& shard = of(handle);
  leave_if_asked(shard);
  vanity_packet got[limits::kBurstMax];
  uint32_t count;
  {
    const Guard::Runtime in(shard.guard());
    n = std::min(n, limits::kBurstMax);
    count = shard.attentive() ? shard.receive_attentively(got, n) : shard.receive(got, n);
    shard.held().add(got, count);
  }
  std::memcpy(packets, got, count * sizeof(vanity_packet));
  return count;
}

uint32_t allocate(vanity_shard* handle, vanity_packet* packets, uint32_t n) {
  Shard& shard = of(handle);
  vanity_packet got[limits::kBurstMax];
  uint32_t count;
  {
    const Guard::Runtime in(shard.guard());
    count = shard.allocate(got, std::min(n, limits::kBurstMax));
    shard.held().add(got, count);
  }
  std::memcpy(packets, got, count * sizeof(vanity_packet));
  return count;
}

// Takes the program's packets from it, at most a burst: into `taken`, in the runtime's memory.
void take(Shard& shard, const vanity_packet* packets, uint32_t n, vanity_packet* taken) {
  std::memcpy(taken, packets, n * sizeof(vanity_packet));
  const uint32_t good = shard.held().remove(taken, n);
  if (good == n) [[likely]]
    return;
  shard.held().add(taken, good);
  shard.guard().leave(FaultKind::descriptor, "it gave away a packet that it does not hold");
}

template <class Give>
void give(vanity_shard* handle, const vanity_packet* packets, uint32_t n, Give&& gives) {
  Shard& shard = of(handle);
  vanity_packet taken[limits::kBurstMax];
  while (n != 0) {
    const uint32_t count = std::min(n, limits::kBurstMax);
    take(shard, packets, count, taken);
    const Guard::Runtime in(shard.guard());
    gives(shard, taken, count);
    packets += count;
    n -= count;
  }
}

uint32_t send(vanity_shard* handle, uint32_t index, const vanity_packet* packets, uint32_t n) {
  Shard& shard = of(handle);
  uint32_t all = 0;
  bool refused = false;
  vanity_packet taken[limits::kBurstMax];
  while (n != 0 && !refused) {
    const uint32_t count = std::min(n, limits::kBurstMax);
    take(shard, packets, count, taken);
    const Guard::Runtime in(shard.guard());
    const uint32_t sent = kApi.send(handle, index, taken, count);
    const vanity_channel* const channel = shard.output(index);
    if (sent < count && channel != nullptr && channel->overflow == Overflow::program) {
      shard.held().add(taken + sent, count - sent);
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
  give(handle, packets, n, [](Shard& shard, const vanity_packet* taken, uint32_t count) {
    shard.consume(taken, count);
  });
}

void discard(vanity_shard* handle, const vanity_packet* packets, uint32_t n) {
  give(handle, packets, n, [](Shard& shard, const vanity_packet* taken, uint32_t count) {
    shard.discard(taken, count);
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
