// What does one core make of a looping capture: the copy into pool buffers alone, and with the flow
// hash of every packet? Prints medians of interleaved rounds.
//   replay_bench FILE.pcap [rounds]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <vector>

#include "packet/flow.hpp"
#include "platform/error.hpp"
#include "port/port.hpp"

using namespace vanity;

namespace {

constexpr uint32_t kBurst = 32;
constexpr uint32_t kBuffers = 8192;

double now_s() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double median(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

uint32_t sink;

// Packets a second. `lag`: bursts in flight before the first is given back, as when a worker is
// behind; 0 gives the same buffers back at once.
double replay(RxQueue& queue, Pool& pool, const PoolTable& table, bool hash, uint32_t lag) {
  std::vector<vanity_packet> ring((lag + 1) * kBurst);
  std::vector<uint32_t> counts(lag + 1);
  uint64_t packets = 0;
  const double start = now_s();
  double end = start;
  while (end - start < 0.2) {
    for (uint32_t turn = 0; turn < 1000; ++turn) {
      const uint32_t slot = turn % (lag + 1);
      vanity_packet* burst = ring.data() + slot * kBurst;
      pool.give(burst, counts[slot]);
      counts[slot] = queue.receive(pool, burst, kBurst);
      packets += counts[slot];
      if (hash) {
        for (uint32_t i = 0; i < counts[slot]; ++i)
          sink += flow_hash(table.data(burst[i]), burst[i].length);
      }
    }
    end = now_s();
  }
  for (uint32_t slot = 0; slot <= lag; ++slot) pool.give(ring.data() + slot * kBurst, counts[slot]);
  return static_cast<double>(packets) / (end - start);
}

// Nanoseconds a packet of the hash alone, over frames that are in the cache.
double hash_only(RxQueue& queue, Pool& pool, const PoolTable& table) {
  std::vector<vanity_packet> packets(256);
  uint32_t n = 0;
  while (n < 256) n += queue.receive(pool, packets.data() + n, std::min(kBurst, 256 - n));
  const double start = now_s();
  constexpr uint32_t kTurns = 20'000;
  for (uint32_t turn = 0; turn < kTurns; ++turn) {
    for (uint32_t i = 0; i < n; ++i) sink += flow_hash(table.data(packets[i]), packets[i].length);
  }
  const double spent = now_s() - start;
  pool.give(packets.data(), n);
  return spent * 1e9 / (static_cast<double>(kTurns) * n);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: replay_bench FILE.pcap [rounds]\n");
    return 2;
  }
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 9;
  try {
    PortOptions options;
    options.name = "in";
    options.driver = "capture";
    options.rx_queues = 1;
    options.file = argv[1];
    options.replay = ReplayMode::loop;
    auto port_record = std::make_unique<PortRecord>();
    auto queue_record = std::make_unique<QueueRecord>();
    auto pool_record = std::make_unique<PoolRecord>();
    auto port = create_port(options, {port_record.get(), {queue_record.get()}, {}});
    port->start();
    const uint64_t bytes = Pool::memory_bytes(kBuffers, options.buffer_bytes);
    void* memory =
        std::aligned_alloc(2u << 20, (bytes + (2u << 20) - 1) & ~uint64_t{(2u << 20) - 1});
    Pool pool(0, kBuffers, options.buffer_bytes, memory, pool_record.get());
    PoolTable table;
    table.add(pool);

    std::vector<double> copy, hashed, behind, hash;
    for (int round = 0; round < rounds; ++round) {
      copy.push_back(replay(port->rx(0), pool, table, false, 0));
      hashed.push_back(replay(port->rx(0), pool, table, true, 0));
      behind.push_back(replay(port->rx(0), pool, table, true, 31));
      hash.push_back(hash_only(port->rx(0), pool, table));
    }
    std::printf("frames, mean           %8.1f bytes\n",
                static_cast<double>(queue_record->bytes.get()) /
                    static_cast<double>(queue_record->packets.get()));
    std::printf("replay loop            %8.1f Mpps\n", median(copy) / 1e6);
    std::printf("replay loop + hash     %8.1f Mpps\n", median(hashed) / 1e6);
    std::printf("  1024 buffers in turn %8.1f Mpps\n", median(behind) / 1e6);
    std::printf("flow hash, hot         %8.2f ns/packet\n", median(hash));
    std::printf("(%u)\n", sink);
    if (pool.missing() != 0) return 1;
    std::free(memory);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", error.code(), error.what());
    return 1;
  }
  return 0;
}
