// How two threads on two cores are measured. Every queue, ours or a peer's, is an adapter with
//   uint32_t send(uint64_t number, uint32_t most)   how many it took, at most `most`
//   uint32_t receive(uint32_t most, Check&)         how many it gave; Check reads every word of
//   each
// and runs through the same loops below.
//
//   - A round runs every case once, so slow drift hits all alike; figures are ratios inside a
//   round.
//   - Threads are pinned and SCHED_FIFO where that is allowed, with a rest between runs.
//   - A run in which a thread was preempted is thrown away and repeated.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace bench {

constexpr uint32_t kCapacity = 1024;  // of every queue

struct Cpus {
  int first = 0;
  int second = 1;
};

// Throughput fills `rate` (millions a second); a round trip fills the percentiles (nanoseconds).
struct Sample {
  bool clean = false;
  double rate = 0;
  double p50 = 0;
  double p99 = 0;
};

struct Case {
  std::string name;
  std::string unit;  // "M/s" or "ns"
  std::function<Sample(Cpus)> run;
};

// Peers register themselves when they were found at build time.
using Cases = std::vector<Case>;
void add_rte_ring(Cases& cases);
void add_boost(Cases& cases);
void add_moodycamel(Cases& cases);
void add_ck_ring(Cases& cases);

// Everything below is a copy of its own in each file: peers are compiled with other flags than our
// code, and neither may end up with the other's instructions.
namespace {

inline uint64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return uint64_t(t.tv_sec) * 1'000'000'000 + uint64_t(t.tv_nsec);
}

inline uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t t;
  asm volatile("isb\n mrs %0, cntvct_el0" : "=r"(t)::"memory");
  return t;
#else
  return now_ns();
#endif
}

inline double ns_per_tick() {
  static const double value = [] {
    const uint64_t n0 = now_ns(), t0 = ticks();
    while (now_ns() - n0 < 50'000'000) {
    }
    const uint64_t n1 = now_ns(), t1 = ticks();
    return double(n1 - n0) / double(t1 - t0);
  }();
  return value;
}

inline void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
    std::fprintf(stderr, "cannot pin to cpu %d\n", cpu);
    std::exit(1);
  }
  sched_param param{};
  param.sched_priority = 10;  // without the right to it, the preemption check still guards the run
  (void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
}

inline long preemptions() {
  rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

// Runs both bodies at once on their cores; true when neither was preempted in its body.
template <class A, class B>
bool together(Cpus cpus, A&& a, B&& b) {
  std::atomic<int> arrived{0};
  std::atomic<long> switches{0};
  const auto run = [&](int cpu, auto& body) {
    pin(cpu);
    arrived.fetch_add(1);
    while (arrived.load(std::memory_order_acquire) < 2) {
    }
    const long before = preemptions();
    body();
    switches.fetch_add(preemptions() - before);
  };
  (void)ns_per_tick();
  std::thread other([&] { run(cpus.second, b); });
  std::thread one([&] { run(cpus.first, a); });
  one.join();
  other.join();
  return switches.load() == 0;
}

// Zeroed memory on huge pages where the system gives them without asking, for every queue alike.
template <class Q>
struct Placed {
  static constexpr size_t kPage = size_t{2} << 20;
  const size_t bytes = (sizeof(Q) + kPage - 1) / kPage * kPage;
  void* map =
      mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Q* q;
  Placed() {
    if (map == MAP_FAILED) std::abort();
    void* at =
        reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(map) + kPage - 1) & ~(kPage - 1));
    madvise(at, bytes, MADV_HUGEPAGE);
    q = new (at) Q();
  }
  ~Placed() {
    q->~Q();
    munmap(map, bytes + kPage);
  }
  Placed(const Placed&) = delete;
  Q* operator->() { return q; }
};

template <unsigned Bytes>
struct alignas(Bytes) Element {
  uint64_t words[Bytes / 8];
};

template <class E>
inline void fill(E& element, uint64_t number) {
  for (unsigned k = 0; k < sizeof(element.words) / 8; ++k) element.words[k] = number + k;
}

struct Check {
  uint64_t expected = 0;
  uint64_t sum = 0;
  uint64_t wrong = 0;
  template <class E>
  void operator()(const E& element) {
    for (unsigned k = 0; k < sizeof(element.words) / 8; ++k) sum += element.words[k];
    wrong += element.words[0] != expected;
    ++expected;
  }
};

inline void demand_order(const Check& check) {
  asm volatile("" ::"r"(check.sum));
  if (check.wrong == 0) return;
  std::fprintf(stderr, "%llu elements out of order\n",
               static_cast<unsigned long long>(check.wrong));
  std::exit(1);
}

template <class Q>
Sample throughput(uint64_t count, Cpus cpus) {
  Placed<Q> q;
  uint64_t begin = 0, end = 0;
  Check check;
  Sample sample;
  sample.clean = together(
      cpus,
      [&] {
        begin = ticks();
        for (uint64_t i = 0; i < count;)
          i += q->send(i, uint32_t(std::min<uint64_t>(count - i, 1u << 20)));
      },
      [&] {
        Check mine;
        for (uint64_t i = 0; i < count;)
          i += q->receive(uint32_t(std::min<uint64_t>(count - i, 1u << 20)), mine);
        end = ticks();
        check = mine;
      });
  demand_order(check);
  sample.rate = double(count) / (double(end - begin) * ns_per_tick()) * 1e3;
  return sample;
}

inline void percentiles(std::vector<uint32_t>& trips, Sample& sample) {
  std::sort(trips.begin(), trips.end());
  sample.p50 = trips[trips.size() / 2] * ns_per_tick();
  sample.p99 = trips[trips.size() * 99 / 100] * ns_per_tick();
}

// One element in flight: there by one queue, back by another.
template <class Q>
Sample round_trip(uint64_t count, Cpus cpus) {
  Placed<Q> there;
  Placed<Q> back;
  std::vector<uint32_t> trips(count);
  Check near, far;
  Sample sample;
  sample.clean = together(
      cpus,
      [&] {
        Check mine;
        uint64_t last = ticks();
        for (uint64_t i = 0; i < count; ++i) {
          while (there->send(i, 1) == 0) {
          }
          while (back->receive(1, mine) == 0) {
          }
          const uint64_t now = ticks();
          trips[i] = uint32_t(now - last);
          last = now;
        }
        near = mine;
      },
      [&] {
        Check mine;
        for (uint64_t i = 0; i < count; ++i) {
          while (there->receive(1, mine) == 0) {
          }
          while (back->send(i, 1) == 0) {
          }
        }
        far = mine;
      });
  demand_order(near);
  demand_order(far);
  percentiles(trips, sample);
  return sample;
}

constexpr uint64_t kSingles = 300'000;
constexpr uint64_t kBursts = 1'500'000;
constexpr uint64_t kTrips = 20'000;

template <class Q>
Case rate_case(std::string name, uint64_t count) {
  return {std::move(name), "M/s", [count](Cpus cpus) { return throughput<Q>(count, cpus); }};
}
template <class Q>
Case trip_case(std::string name) {
  return {std::move(name), "ns", [](Cpus cpus) { return round_trip<Q>(kTrips, cpus); }};
}

}  // namespace
}  // namespace bench
