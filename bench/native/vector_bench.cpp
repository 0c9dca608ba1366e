// Would vector instructions pay in a virtqueue? The two loops where four entries can be looked at
// together, as they ship and four at a time: the flags of a packed ring (a line of descriptors,
// AVX-512), and the used elements of a split ring whose ids go up by one (AVX2). A lap is a ring of
// 1024 in bursts of 32, whose lines were written by this core or by another one just before, as
// they are when somebody is at the other end. On other processors the plain loops are shown.
//   vector_bench [--json] [--quick] [--rounds N]
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "options.hpp"
#include "platform/clock.hpp"
#include "platform/topology.hpp"
#include "vanity/platform.hpp"
#include "virtio/layout.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace vanity;
using virtio::PackedDescriptor;
using virtio::UsedElement;

namespace {

constexpr uint32_t kRing = 1024;
constexpr uint32_t kBurst = 32;
constexpr uint16_t kBoth = PackedDescriptor::kAvailable | PackedDescriptor::kUsed;

struct Rings {
  alignas(64) PackedDescriptor packed[kRing];
  alignas(64) UsedElement used[kRing];

  void write() noexcept {
    for (uint32_t i = 0; i < kRing; ++i) {
      virtio::put(packed[i].flags, PackedDescriptor::kAvailable);
      virtio::put(used[i].bytes, 64 + (i & 1));
      virtio::put(used[i].id, i);
    }
  }
};

// How many of a burst are available; what they are of is read by whoever takes them.
struct PackedPlain {
  static uint32_t burst(const Rings& rings, uint32_t from, uint32_t*) noexcept {
    uint32_t n = 0;
    while (n < kBurst &&
           (virtio::look(rings.packed[from + n].flags) & kBoth) == PackedDescriptor::kAvailable)
      ++n;
    return n;
  }
};
// How many of a burst have the id that is due, and their lengths.
struct SplitPlain {
  static uint32_t burst(const Rings& rings, uint32_t from, uint32_t* bytes) noexcept {
    uint32_t n = 0;
    for (; n < kBurst; ++n) {
      const UsedElement& element = rings.used[from + n];
      if (virtio::look(element.id) != from + n) break;
      bytes[n] = virtio::look(element.bytes);
    }
    return n;
  }
};

#if defined(__x86_64__)
struct PackedVector {
  static bool runs_here() noexcept { return __builtin_cpu_supports("avx512f") != 0; }
  [[gnu::target("avx512f")]] static uint32_t burst(const Rings& rings, uint32_t from,
                                                   uint32_t*) noexcept {
    const __m512i both = _mm512_set1_epi64(static_cast<int64_t>(uint64_t{kBoth} << 48));
    const __m512i wanted =
        _mm512_set1_epi64(static_cast<int64_t>(uint64_t{PackedDescriptor::kAvailable} << 48));
    constexpr __mmask8 kFlags = 0xaa;  // the upper words of four descriptors
    uint32_t n = 0;
    for (; n < kBurst; n += 4) {
      const __m512i line = _mm512_load_si512(&rings.packed[from + n]);
      const __mmask8 unlike =
          _mm512_mask_cmpneq_epi64_mask(kFlags, _mm512_and_si512(line, both), wanted);
      if (unlike != 0) return n + static_cast<uint32_t>(__builtin_ctz(unlike)) / 2;
    }
    return n;
  }
};
struct SplitVector {
  static bool runs_here() noexcept { return __builtin_cpu_supports("avx2") != 0; }
  [[gnu::target("avx2")]] static uint32_t burst(const Rings& rings, uint32_t from,
                                                uint32_t* bytes) noexcept {
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);  // ids, then lengths
    __m128i due = _mm_add_epi32(_mm_set1_epi32(static_cast<int>(from)), _mm_setr_epi32(0, 1, 2, 3));
    uint32_t n = 0;
    for (; n < kBurst; n += 4) {
      const __m256i four = _mm256_permutevar8x32_epi32(
          _mm256_load_si256(reinterpret_cast<const __m256i*>(&rings.used[from + n])), order);
      const __m128i same = _mm_cmpeq_epi32(_mm256_castsi256_si128(four), due);
      const auto mask = static_cast<uint32_t>(_mm_movemask_ps(_mm_castsi128_ps(same)));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + n), _mm256_extracti128_si256(four, 1));
      if (mask != 0xf) return n + static_cast<uint32_t>(__builtin_ctz(~mask));
      due = _mm_add_epi32(due, _mm_set1_epi32(4));
    }
    return n;
  }
};
#endif

// Writes the rings on a core of its own, each time it is told to.
class OtherCore {
 public:
  OtherCore(Rings& rings, uint32_t cpu)
      : thread_([this, &rings, cpu] {
          pin_thread(cpu);
          for (uint32_t turn = 1;; ++turn) {
            // Pairs with write() and the end.
            while (asked_.load(std::memory_order_acquire) < turn) relax();
            if (end_) return;
            rings.write();
            done_.store(turn, std::memory_order_release);  // pairs with write()
          }
        }) {}
  ~OtherCore() {
    end_ = true;
    asked_.store(turn_ + 1, std::memory_order_release);  // pairs with the thread's look
    thread_.join();
  }
  void write() noexcept {
    asked_.store(++turn_, std::memory_order_release);  // pairs with the thread's look
    // Pairs with the thread's store.
    while (done_.load(std::memory_order_acquire) != turn_) relax();
  }

 private:
  alignas(64) std::atomic<uint32_t> asked_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  uint32_t turn_ = 0;
  bool end_ = false;
  std::thread thread_;
};

// Cycles of the clock an entry, the median of so many laps.
template <class Loop, class Write>
double measure(Rings& rings, uint32_t laps, Write&& write) {
  std::vector<double> samples;
  uint32_t bytes[kBurst];
  for (uint32_t lap = 0; lap < laps; ++lap) {
    write();
    uint32_t seen = 0;
    const uint64_t since = now_ticks();
    for (uint32_t from = 0; from < kRing; from += kBurst) {
      seen += Loop::burst(rings, from, bytes);
      asm volatile("" ::"r"(bytes) : "memory");
    }
    samples.push_back(static_cast<double>(now_ticks() - since) / kRing);
    if (seen != kRing) {
      std::fprintf(stderr, "vector_bench: saw %u entries of %u\n", seen, kRing);
      std::exit(1);
    }
  }
  std::nth_element(samples.begin(), samples.begin() + laps / 2, samples.end());
  return samples[laps / 2];
}

struct Figure {
  std::string name;
  std::vector<double> rounds;
};
double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const BenchOptions options(argc, argv, 11, 3);
  const uint32_t laps = options.quick ? 101 : 1001;
  if (std::thread::hardware_concurrency() < 2) {
    std::fprintf(stderr, "vector_bench: this takes two processors, and there is one\n");
    return 1;
  }
  ticks_to_ns(1);  // calibrated before, not within
  pin_thread(0);
  const auto rings = std::make_unique<Rings>();
  OtherCore other(*rings, 1);
  std::vector<Figure> figures;
  for (uint32_t round = 0; round < options.rounds; ++round) {
    size_t at = 0;
    const auto note = [&](std::string name, double value) {
      if (round == 0) figures.push_back({std::move(name), {}});
      figures[at++].rounds.push_back(value);
    };
    const auto both = [&]<class Loop>(Loop, const char* name) {
      note(std::string(name) + ", own lines", measure<Loop>(*rings, laps, [&] { rings->write(); }));
      note(std::string(name) + ", lines of the other core",
           measure<Loop>(*rings, laps, [&] { other.write(); }));
    };
    both(PackedPlain{}, "packed, flags, one at a time");
#if defined(__x86_64__)
    if (PackedVector::runs_here()) both(PackedVector{}, "packed, flags, four at a time");
#endif
    both(SplitPlain{}, "split, used elements, one at a time");
#if defined(__x86_64__)
    if (SplitVector::runs_here()) both(SplitVector{}, "split, used elements, four at a time");
#endif
  }
  if (options.json) std::printf("{\"figures\":[");
  for (size_t i = 0; i < figures.size(); ++i) {
    const double value = median(figures[i].rounds);
    if (options.json) {
      std::printf(
          "%s{\"name\":\"%s\",\"value\":%.2f,\"unit\":\"cycles/entry\",\"target\":null,\"met\":"
          "null}",
          i == 0 ? "" : ",", figures[i].name.c_str(), value);
    } else {
      std::printf("%-60s %6.2f cycles an entry\n", figures[i].name.c_str(), value);
    }
  }
  if (options.json) {
    std::printf("],\"rounds\":[");
    for (size_t i = 0; i < figures.size(); ++i) {
      std::printf("%s[", i == 0 ? "" : ",");
      for (size_t k = 0; k < figures[i].rounds.size(); ++k)
        std::printf("%s%.3f", k == 0 ? "" : ",", figures[i].rounds[k]);
      std::printf("]");
    }
    std::printf("]}\n");
  }
  return 0;
}
