// DPDK's rte_ring, single producer and single consumer, on plain memory without its EAL.
#ifndef ALLOW_EXPERIMENTAL_API
#define ALLOW_EXPERIMENTAL_API
#endif
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "channel_harness.hpp"

namespace bench {
namespace {

template <class E>
struct Memory {
  rte_ring* ring;
  Memory() {
    const ssize_t bytes = rte_ring_get_memsize_elem(sizeof(E), kCapacity * 2);
    ring = static_cast<rte_ring*>(std::aligned_alloc(128, (size_t(bytes) + 127) & ~size_t{127}));
    // RING_F_EXACT_SZ: all 1024 slots usable, as in the others.
    if (rte_ring_init(ring, "bench", kCapacity, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ) !=
        0)
      std::abort();
  }
  ~Memory() { std::free(ring); }
};

template <class E, uint32_t Push, uint32_t Pop = Push>
struct Copying : Memory<E> {
  uint32_t send(uint64_t number, uint32_t most) {
    E elements[Push];
    const uint32_t n = std::min(most, Push);
    for (uint32_t i = 0; i < n; ++i) fill(elements[i], number + i);
    uint32_t done = 0;
    while (done < n)
      done +=
          rte_ring_sp_enqueue_burst_elem(this->ring, elements + done, sizeof(E), n - done, nullptr);
    return n;
  }
  uint32_t receive(uint32_t most, Check& check) {
    E elements[Pop];
    const uint32_t n = rte_ring_sc_dequeue_burst_elem(this->ring, elements, sizeof(E),
                                                      std::min(most, Pop), nullptr);
    for (uint32_t i = 0; i < n; ++i) check(elements[i]);
    return n;
  }
};

template <class E, uint32_t Burst>
struct ZeroCopy : Memory<E> {
  uint32_t send(uint64_t number, uint32_t most) {
    rte_ring_zc_data z;
    const uint32_t n = rte_ring_enqueue_zc_burst_elem_start(this->ring, sizeof(E),
                                                            std::min(most, Burst), &z, nullptr);
    if (n == 0) return 0;
    E* slots = static_cast<E*>(z.ptr1);
    for (uint32_t i = 0; i < z.n1; ++i) fill(slots[i], number + i);
    slots = static_cast<E*>(z.ptr2);
    for (uint32_t i = z.n1; i < n; ++i) fill(slots[i - z.n1], number + i);
    rte_ring_enqueue_zc_elem_finish(this->ring, n);
    return n;
  }
  uint32_t receive(uint32_t most, Check& check) {
    rte_ring_zc_data z;
    const uint32_t n = rte_ring_dequeue_zc_burst_elem_start(this->ring, sizeof(E),
                                                            std::min(most, Burst), &z, nullptr);
    if (n == 0) return 0;
    const E* slots = static_cast<const E*>(z.ptr1);
    for (uint32_t i = 0; i < z.n1; ++i) check(slots[i]);
    slots = static_cast<const E*>(z.ptr2);
    for (uint32_t i = z.n1; i < n; ++i) check(slots[i - z.n1]);
    rte_ring_dequeue_zc_elem_finish(this->ring, n);
    return n;
  }
};

}  // namespace

void add_rte_ring(Cases& cases) {
  cases.push_back(rate_case<Copying<Element<64>, 1>>("64 B single, rte_ring", kSingles));
  cases.push_back(
      rate_case<Copying<Element<64>, 1, 32>>("64 B single, rte_ring, 32 out", kSingles));
  cases.push_back(rate_case<Copying<Element<64>, 32>>("64 B burst 32, rte_ring", kBursts));
  cases.push_back(rate_case<ZeroCopy<Element<64>, 32>>("64 B zero-copy 32, rte_ring", kBursts));
  cases.push_back(rate_case<ZeroCopy<Element<8>, 32>>("8 B zero-copy 32, rte_ring", 4 * kBursts));
  cases.push_back(trip_case<Copying<Element<64>, 1>>("64 B round trip, rte_ring"));
}

}  // namespace bench
