// boost::lockfree::spsc_queue.
#include <boost/lockfree/spsc_queue.hpp>

#include "channel_harness.hpp"

namespace bench {
namespace {

template <class E>
struct Boost {
  boost::lockfree::spsc_queue<E, boost::lockfree::capacity<kCapacity>> queue;
  uint32_t send(uint64_t number, uint32_t) {
    E element;
    fill(element, number);
    return queue.push(element);
  }
  uint32_t receive(uint32_t, Check& check) {
    E element;
    if (!queue.pop(element)) return 0;
    check(element);
    return 1;
  }
};

}  // namespace

void add_boost(Cases& cases) {
  cases.push_back(rate_case<Boost<Element<64>>>("64 B single, boost spsc_queue", kSingles));
  cases.push_back(trip_case<Boost<Element<64>>>("64 B round trip, boost spsc_queue"));
}

}  // namespace bench
