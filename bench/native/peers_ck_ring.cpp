// Concurrency Kit's ck_ring, through peers_ck_ring_c.c: its header is C only.
#include "channel_harness.hpp"

extern "C" {
unsigned long bench_ck_ring_bytes(void);
void bench_ck_ring_init(void* ring, unsigned capacity);
int bench_ck_ring_push(void* ring, void* slots, void* element);
int bench_ck_ring_pop(void* ring, void* slots, void* element);
}

namespace bench {
namespace {

struct CkRing {
  using E = Element<64>;
  void* ring = std::aligned_alloc(128, (bench_ck_ring_bytes() + 127) & ~127ul);
  void* slots = std::aligned_alloc(128, kCapacity * sizeof(E));
  CkRing() { bench_ck_ring_init(ring, kCapacity); }
  ~CkRing() {
    std::free(ring);
    std::free(slots);
  }
  uint32_t send(uint64_t number, uint32_t) {
    E element;
    fill(element, number);
    return uint32_t(bench_ck_ring_push(ring, slots, &element));
  }
  uint32_t receive(uint32_t, Check& check) {
    E element;
    if (bench_ck_ring_pop(ring, slots, &element) == 0) return 0;
    check(element);
    return 1;
  }
};

}  // namespace

void add_ck_ring(Cases& cases) {
  cases.push_back(rate_case<CkRing>("64 B single, ck_ring", kSingles));
  cases.push_back(trip_case<CkRing>("64 B round trip, ck_ring"));
}

}  // namespace bench
