// moodycamel::ReaderWriterQueue.
#include <readerwriterqueue/readerwriterqueue.h>

#include "channel_harness.hpp"

namespace bench {
namespace {

template <class E>
struct Moodycamel {
  moodycamel::ReaderWriterQueue<E> queue{kCapacity};
  uint32_t send(uint64_t number, uint32_t) {
    E element;
    fill(element, number);
    return queue.try_enqueue(element);
  }
  uint32_t receive(uint32_t, Check& check) {
    E element;
    if (!queue.try_dequeue(element)) return 0;
    check(element);
    return 1;
  }
};

}  // namespace

void add_moodycamel(Cases& cases) {
  cases.push_back(rate_case<Moodycamel<Element<64>>>("64 B single, moodycamel", kSingles));
  cases.push_back(trip_case<Moodycamel<Element<64>>>("64 B round trip, moodycamel"));
}

}  // namespace bench
