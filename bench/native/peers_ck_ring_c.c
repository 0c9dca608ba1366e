/* ck_ring.h does not compile as C++; -flto inlines these into peers_ck_ring.cpp. */
#include <ck_ring.h>
#include <stdint.h>
#include <string.h>

struct element {
  uint64_t words[8];
};
CK_RING_PROTOTYPE(element, element)

unsigned long bench_ck_ring_bytes(void) {
  return sizeof(ck_ring_t);
}
void bench_ck_ring_init(void* ring, unsigned capacity) {
  ck_ring_init(ring, capacity);
}
int bench_ck_ring_push(void* ring, void* slots, void* element) {
  return ck_ring_enqueue_spsc_element(ring, slots, element);
}
int bench_ck_ring_pop(void* ring, void* slots, void* element) {
  return ck_ring_dequeue_spsc_element(ring, slots, element);
}
