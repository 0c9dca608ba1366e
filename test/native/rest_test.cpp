#include "port/rest.hpp"

#include "check.hpp"

using namespace vanity;

namespace {

// A burst, then a look that brings nothing: where a rest begins.
void empty_after(Rest& rest, uint32_t packets) {
  rest.note(packets);
  rest.note(0);
}

bool near(uint64_t ticks, uint64_t ns) {
  return ticks >= ns_to_ticks(ns - 10) && ticks <= ns_to_ticks(ns + 10);
}

}  // namespace

TEST(a_queue_rests_where_many_came_at_once) {
  Rest rest;
  rest.fit(1024);
  CHECK(!rest.lasts());
  empty_after(rest, 15);
  CHECK(!rest.lasts());
  const uint64_t before = now_ticks();
  empty_after(rest, 16);
  while (rest.lasts()) {
  }
  CHECK(now_ticks() - before >= ns_to_ticks(3 * 1024));
  CHECK(!rest.lasts());
  rest.note(0);  // once is enough
  CHECK(!rest.lasts());
}

TEST(rests_are_longer_the_faster_packets_come) {
  Rest rest;
  rest.fit(1024);
  CHECK(near(rest.ticks(), 3072));
  // 64 packets in 3072 ns come faster than one in 50 ns.
  empty_after(rest, 64);
  CHECK(near(rest.ticks(), 6144));
  empty_after(rest, 128);
  CHECK(near(rest.ticks(), 12288));
  empty_after(rest, 256);
  CHECK(near(rest.ticks(), 24576));
  empty_after(rest, 1000);  // half a ring at 21 million a second
  CHECK(near(rest.ticks(), 24576));
  empty_after(rest, 32);
  CHECK(near(rest.ticks(), 3072));
}

TEST(no_rest_is_longer_than_25_us) {
  Rest rest;
  rest.fit(32768);
  CHECK(near(rest.ticks(), 25'000));
  empty_after(rest, 32768);
  CHECK(near(rest.ticks(), 25'000));
}
