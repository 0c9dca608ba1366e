#include "port/tenure.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "check.hpp"
#include "port/buffer_map.hpp"

using namespace vanity;

namespace {

struct FreeMemory {
  void operator()(void* p) const { std::free(p); }
};

constexpr uint64_t kPage = 16384;

}  // namespace

TEST(a_queue_stops_when_its_shard_has_seen_it) {
  Tenure tenure;
  CHECK(!tenure.live());  // nothing was made yet
  CHECK(tenure.drained());
  CHECK(!tenure.released());
  for (int life = 0; life < 3; ++life) {
    tenure.revive();
    CHECK(!tenure.stopped());
    CHECK(tenure.live());
    tenure.stop();
    CHECK(!tenure.stopped());
    CHECK(!tenure.live());
    CHECK(tenure.stopped());
    CHECK(!tenure.released());
    tenure.release();
    CHECK(tenure.released());
    tenure.stop();  // again: stays released
    CHECK(!tenure.live());
    CHECK(tenure.released());
    CHECK(!tenure.drained());
    tenure.drain();
    CHECK(tenure.drained());
    CHECK(!tenure.released());
    tenure.release();  // again: was given back already
    CHECK(!tenure.released());
  }
}

TEST(a_queue_that_gave_up_stays_stopped_until_it_is_made_anew) {
  Tenure tenure;
  tenure.revive();
  CHECK(tenure.live());
  tenure.give_up();
  CHECK(tenure.trouble());
  CHECK(tenure.stopped());
  CHECK(!tenure.live());
  CHECK(!tenure.released());
  tenure.stop();
  CHECK(!tenure.live());
  tenure.release();
  CHECK(tenure.released());
  tenure.drain();
  tenure.revive();
  CHECK(!tenure.trouble());
  CHECK(tenure.live());
}

TEST(an_answer_is_never_taken_for_one_to_a_later_question) {
  Tenure tenure;
  tenure.revive();
  CHECK(tenure.live());
  tenure.stop();
  CHECK(!tenure.live());
  tenure.release();
  tenure.drain();
  tenure.revive();  // the shard has not looked since
  tenure.stop();
  CHECK(!tenure.stopped());
  CHECK(!tenure.drained());
  CHECK(!tenure.live());
  CHECK(tenure.stopped());
}

TEST(a_parked_queue_is_stopped_without_its_shard) {
  Tenure tenure;
  tenure.revive();
  CHECK(tenure.live());
  tenure.park();
  CHECK(tenure.live());  // asleep no more, in the same life
  tenure.park();
  tenure.stop();
  CHECK(tenure.stopped());
  CHECK(!tenure.live());
  CHECK(tenure.stopped());  // by its own word now
  tenure.park();
  tenure.revive();
  CHECK(tenure.live());
  CHECK(!tenure.stopped());
  tenure.give_up();
  tenure.park();
  CHECK(!tenure.live());  // parking forgets nothing
  CHECK(tenure.trouble());
}

// The shard's plain writes come before stopped(), the kernel's before live(): TSan holds it. That
// not both miss the other's word is what ends this.
TEST(a_ring_goes_to_and_fro_between_the_kernel_and_a_shard_that_parks) {
  Tenure tenure;
  uint64_t ring = 0;  // the shard's while the queue is live, then the kernel's
  std::atomic<bool> end{false};
  std::atomic<uint64_t> worked{0};
  std::thread shard([&] {
    while (!end.load(std::memory_order_relaxed)) {
      if (tenure.live()) {
        const uint64_t before = ring;
        ring = before + 1;
        CHECK_EQ(ring, before + 1);
        worked.store(worked.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      }
      tenure.park();
    }
  });
  for (int life = 0; life < 20'000; ++life) {
    tenure.revive();
    if (life % 3 == 0) std::this_thread::yield();
    tenure.stop();
    while (!tenure.stopped()) std::this_thread::yield();
    CHECK_EQ(ring, worked.load(std::memory_order_relaxed));
    ring += 0;
  }
  end.store(true, std::memory_order_relaxed);
  shard.join();
}

// The shard's plain writes come before stopped() and drained(), the kernel's before released() and
// live(): TSan holds it.
TEST(a_device_goes_to_and_fro_between_kernel_and_shard) {
  Tenure tenure;
  uint64_t device = 0;  // the shard's while the queue is live, then the kernel's
  uint64_t held = 0;    // the shard's, once it is released
  uint64_t worked = 0;
  std::atomic<bool> end{false};
  std::thread shard([&] {
    while (!end.load(std::memory_order_relaxed)) {
      if (tenure.live()) {
        ++device;
        ++worked;
      } else if (tenure.released()) {
        CHECK_EQ(device, worked * 2);
        held = 0;
        tenure.drain();
      }
    }
  });
  for (int life = 0; life < 500; ++life) {
    held = 1;
    device /= 2;
    tenure.revive();
    if (life % 3 != 0) std::this_thread::yield();
    tenure.stop();
    while (!tenure.stopped()) std::this_thread::yield();
    device *= 2;
    tenure.release();
    while (!tenure.drained()) std::this_thread::yield();
    CHECK_EQ(held, 0u);
  }
  end.store(true, std::memory_order_relaxed);
  shard.join();
}

TEST(no_buffer_of_a_paged_pool_lies_across_two_pages) {
  for (const uint32_t buffer_bytes : {256u, 2048u, 4096u}) {
    for (const uint32_t buffers : {1u, 5u, 7u, 64u, 257u}) {
      const uint64_t bytes = Pool::memory_bytes(buffers, buffer_bytes, kPage);
      std::unique_ptr<void, FreeMemory> memory(
          std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage));
      Pool pool(3, buffers, buffer_bytes, memory.get(), nullptr, kPage);
      std::vector<uint32_t> ids(buffers);
      CHECK_EQ(pool.take(ids.data(), buffers), buffers);
      for (const uint32_t id : ids) {
        const auto first = static_cast<uint64_t>(pool.buffer(id) - pool.base());
        CHECK_EQ(first / kPage, (first + pool.stride() - 1) / kPage);
        CHECK(first + pool.stride() <= bytes);
        std::memset(pool.buffer(id), 0xff, pool.stride());
      }
      pool.give(ids.data(), buffers);
      CHECK_EQ(pool.missing(), 0u);
      CHECK_EQ(pool.take(ids.data(), buffers), buffers);
      for (const uint32_t id : ids) CHECK_EQ(id >> kPoolShift, 3u);
    }
  }
}

TEST(a_map_finds_every_byte_of_every_buffer) {
  const uint32_t buffers = 40;
  const uint64_t bytes = Pool::memory_bytes(buffers, 2048, kPage);
  const uint64_t pages = (bytes + kPage - 1) / kPage;
  std::unique_ptr<void, FreeMemory> memory(std::aligned_alloc(kPage, pages * kPage));
  Pool pool(9, buffers, 2048, memory.get(), nullptr, kPage);
  std::vector<uint64_t> scattered;  // as physical pages are, in no order
  for (uint64_t i = 0; i < pages; ++i) scattered.push_back(((i * 7 + 3) % 31) << 20);
  const uint64_t linear[] = {0x7000'0000};
  BufferMap by_page;
  BufferMap by_iommu;
  by_page.add(pool, scattered.data(), 14);
  by_iommu.add(pool, linear, 63);
  uint32_t ids[buffers];
  CHECK_EQ(pool.take(ids, buffers), buffers);
  for (const uint32_t id : ids) {
    for (const uint32_t offset : {0u, 80u, 2047u}) {
      const auto at = static_cast<uint64_t>(pool.buffer(id) + offset - pool.base());
      CHECK_EQ(by_iommu.address(id, offset), linear[0] + at);
      CHECK_EQ(by_page.address(id, offset), scattered[at / kPage] + at % kPage);
    }
  }
  CHECK(by_page.reaches(ids[0]));
  CHECK(!by_page.reaches(ids[0] + (1u << kPoolShift)));
}
