#include "port/gate.hpp"

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

TEST(a_gate_closes_when_the_shard_has_seen_it) {
  Gate gate;
  CHECK(gate.open());
  CHECK(!gate.closed());
  gate.close();
  CHECK(!gate.closed());
  CHECK(!gate.open());
  CHECK(gate.closed());
  CHECK(!gate.released());
  gate.release();
  CHECK(gate.released());
  gate.close();  // again: stays released
  CHECK(gate.released());
  CHECK(!gate.open());
}

// The shard's plain writes come before closed(), the kernel's before released(): TSan holds it.
TEST(a_gate_hands_the_device_over_and_the_buffers_back) {
  for (int round = 0; round < 200; ++round) {
    Gate gate;
    uint64_t device = 0;   // the shard's while the gate is open, then the kernel's
    uint64_t buffers = 0;  // written by the device until it is stopped
    uint64_t found = 0;
    std::thread shard([&] {
      while (gate.open()) ++device;
      while (!gate.released()) std::this_thread::yield();
      found = buffers;
    });
    gate.close();
    while (!gate.closed()) std::this_thread::yield();
    buffers = ++device;
    gate.release();
    shard.join();
    CHECK_EQ(found, device);
  }
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
        CHECK(first + pool.stride() + buffers * sizeof(uint32_t) <= bytes);
        std::memset(pool.buffer(id), 0xff, pool.stride());  // not over the stack of free ones
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
