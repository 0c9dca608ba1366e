// Channels and doorbells against the machine's own floors and against the peers found at build
// time.
//
//   channel_bench [--rounds N] [--json] [--quick] [--cpus A,B] [--no-peers] [--only TEXT]
//
// A figure is the median over rounds of a ratio taken inside each round.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/utsname.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <optional>

#include "channel_harness.hpp"
#include "vanity/channel.hpp"
#include "vanity/doorbell.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bench {
namespace {

using vanity::Bell;
using vanity::Channel;
using vanity::ChannelSpec;
using vanity::Consumer;
using vanity::Doorbell;
using vanity::Inputs;
using vanity::Layout;
using vanity::Producer;
using vanity::Strategy;

// The most that fits beside a sequence word in one line.
struct Element56 {
  uint64_t words[7];
};

// ---- ours --------------------------------------------------------------------------------------

// Each half on its own lines, as in two shards.
template <class E, Layout L>
struct Ours {
  alignas(128) std::byte memory[vanity::ChannelLayout<>::bytes_needed(kCapacity, sizeof(E), L)];
  Channel channel = Channel::create(memory, ChannelSpec{kCapacity, sizeof(E), L});
  alignas(128) Producer producer = channel.producer();
  alignas(128) Consumer consumer = channel.consumer();
};

// A shard's shape: pushes one at a time, and the reader drains what is there.
template <class E, Layout L>
struct Single : Ours<E, L> {
  uint32_t send(uint64_t number, uint32_t) {
    const auto slots = this->producer.claim(1);
    if (!slots) return 0;
    fill(slots.template at<E>(0), number);
    this->producer.commit(1);
    return 1;
  }
  uint32_t receive(uint32_t most, Check& check) {
    this->consumer.gather();
    const auto slots = this->consumer.peek(std::min(most, 256u));
    for (uint32_t i = 0; i < slots.count; ++i) check(slots.template at<E>(i));
    this->consumer.release(slots.count);
    return slots.count;
  }
};

// The same by copy: send one, receive up to 32.
template <class E>
struct Copying : Ours<E, Layout::bulk> {
  uint32_t send(uint64_t number, uint32_t) {
    E element;
    fill(element, number);
    return this->producer.send(&element);
  }
  uint32_t receive(uint32_t most, Check& check) {
    E elements[32];
    this->consumer.gather();
    const uint32_t n = this->consumer.receive(elements, std::min(most, 32u));
    for (uint32_t i = 0; i < n; ++i) check(elements[i]);
    return n;
  }
};

template <class E, uint32_t Burst>
struct ZeroCopy : Ours<E, Layout::bulk> {
  uint32_t send(uint64_t number, uint32_t most) {
    const auto slots = this->producer.claim(std::min(most, Burst));
    E* elements = reinterpret_cast<E*>(slots.data);
    for (uint32_t i = 0; i < slots.count; ++i) fill(elements[i], number + i);
    if (slots) this->producer.commit(slots.count);
    return slots.count;
  }
  uint32_t receive(uint32_t most, Check& check) {
    const auto slots = this->consumer.peek(std::min(most, Burst));
    const E* elements = reinterpret_cast<const E*>(slots.data);
    for (uint32_t i = 0; i < slots.count; ++i) check(elements[i]);
    if (slots) this->consumer.release(slots.count);
    return slots.count;
  }
};

// ---- floors: what this pair of cores can do with no queue at all
// ----------------------------------

template <bool TwoLines>
Sample ping_pong(Cpus cpus) {
  struct Lines {
    alignas(128) std::atomic<uint64_t> a{0};
    alignas(128) std::atomic<uint64_t> b{0};
  };
  const auto lines = std::make_unique<Lines>();
  std::atomic<uint64_t>& there = lines->a;
  std::atomic<uint64_t>& back = TwoLines ? lines->b : lines->a;
  std::vector<uint32_t> trips(kTrips);
  Sample sample;
  sample.clean = together(
      cpus,
      [&] {
        uint64_t last = ticks();
        for (uint64_t i = 0; i < kTrips; ++i) {
          there.store(2 * i + 1, std::memory_order_release);
          while (back.load(std::memory_order_acquire) != 2 * i + 2) {
          }
          const uint64_t now = ticks();
          trips[i] = uint32_t(now - last);
          last = now;
        }
      },
      [&] {
        for (uint64_t i = 0; i < kTrips; ++i) {
          while (there.load(std::memory_order_acquire) != 2 * i + 1) {
          }
          back.store(2 * i + 2, std::memory_order_release);
        }
      });
  percentiles(trips, sample);
  return sample;
}

constexpr uint32_t kBlockLines = 512;

void write_block(uint64_t* block, uint64_t value) {
  for (uint32_t i = 0; i < kBlockLines * 8; ++i) block[i] = value;
}
uint64_t read_block(const uint64_t* block) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < kBlockLines * 8; ++i) sum += block[i];
  return sum;
}
#if defined(__x86_64__)
__attribute__((target("avx512f"))) void write_block_512(uint64_t* block, uint64_t value) {
  const __m512i v = _mm512_set1_epi64(int64_t(value));
  for (uint32_t i = 0; i < kBlockLines; ++i) _mm512_store_si512(block + 8 * i, v);
}
__attribute__((target("avx512f"))) uint64_t read_block_512(const uint64_t* block) {
  __m512i sum = _mm512_setzero_si512();
  for (uint32_t i = 0; i < kBlockLines; ++i)
    sum = _mm512_add_epi64(sum, _mm512_load_si512(block + 8 * i));
  alignas(64) uint64_t lanes[8];
  _mm512_store_si512(lanes, sum);
  uint64_t total = 0;
  for (const uint64_t lane : lanes) total += lane;
  return total;
}
__attribute__((target("avx2"))) void write_block_256(uint64_t* block, uint64_t value) {
  const __m256i v = _mm256_set1_epi64x(int64_t(value));
  for (uint32_t i = 0; i < 2 * kBlockLines; ++i)
    _mm256_store_si256(reinterpret_cast<__m256i*>(block + 4 * i), v);
}
#endif

// Blocks of 512 lines change hands, two of them in turn; the best store this processor has.
Sample block_ceiling(Cpus cpus) {
  struct Blocks {
    alignas(128) std::atomic<uint64_t> full{0};
    alignas(128) std::atomic<uint64_t> empty{0};
    alignas(4096) uint64_t data[2][kBlockLines * 8];
  };
  auto write = write_block;
  auto read = read_block;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    write = write_block_512;
    read = read_block_512;
  } else if (__builtin_cpu_supports("avx2")) {
    write = write_block_256;
  }
#endif
  constexpr uint64_t kBlocks = 3000;
  Placed<Blocks> blocks;
  uint64_t begin = 0, end = 0;
  Sample sample;
  sample.clean = together(
      cpus,
      [&] {
        begin = ticks();
        for (uint64_t b = 0; b < kBlocks; ++b) {
          while (b - blocks->empty.load(std::memory_order_acquire) >= 2) {
          }
          write(blocks->data[b & 1], b);
          blocks->full.store(b + 1, std::memory_order_release);
        }
      },
      [&] {
        uint64_t wrong = 0;
        for (uint64_t b = 0; b < kBlocks; ++b) {
          while (blocks->full.load(std::memory_order_acquire) <= b) {
          }
          wrong += read(blocks->data[b & 1]) != b * kBlockLines * 8;
          blocks->empty.store(b + 1, std::memory_order_release);
        }
        end = ticks();
        if (wrong != 0) std::abort();
      });
  sample.rate = double(kBlocks * kBlockLines) / (double(end - begin) * ns_per_tick()) * 1e3;
  return sample;
}

// ---- doorbell
// ------------------------------------------------------------------------------------

// One element into a random one of N channels; the shard finds it by the doorbell, takes it and
// answers on a line of its own. The trip holds everything that finding costs on both sides.
struct ManyChannels {
  static constexpr uint32_t kMost = vanity::limits::kChannelsIntoShard;
  static constexpr ChannelSpec kSpec{64, 16, Layout::bulk};
  static constexpr size_t kStride =
      vanity::ChannelLayout<>::bytes_needed(kSpec.capacity, kSpec.element_bytes, kSpec.layout);

  alignas(128) std::byte memory[kMost * kStride];
  alignas(128) Doorbell line;
  alignas(128) std::atomic<uint64_t> answer{0};
  alignas(128) Producer producers[kMost];
  alignas(128) Consumer consumers[kMost];

  void open(uint32_t channels) {
    for (uint32_t i = 0; i < channels; ++i) {
      const Channel channel = Channel::create(memory + i * kStride, kSpec);
      producers[i] = channel.producer();
      consumers[i] = channel.consumer();
    }
  }
};

Sample doorbell_trip(uint32_t channels, Cpus cpus) {
  Placed<ManyChannels> m;
  m->open(channels);
  std::vector<uint32_t> trips(kTrips);
  uint64_t wrong = 0;
  Sample sample;
  sample.clean = together(
      cpus,
      [&] {
        uint64_t random = 88172645463325252u;
        uint64_t last = ticks();
        for (uint64_t i = 0; i < kTrips; ++i) {
          random ^= random << 13, random ^= random >> 7, random ^= random << 17;
          const auto channel = uint32_t(random % channels);
          const uint64_t element[2] = {i, channel};
          (void)m->producers[channel].send(element);
          Bell(&m->line, channel, channels).ring();
          while (m->answer.load(std::memory_order_acquire) != i + 1) {
          }
          const uint64_t now = ticks();
          trips[i] = uint32_t(now - last);
          last = now;
        }
      },
      [&] {
        Inputs inputs(m->consumers, channels, Strategy::doorbell, &m->line, 0, true);
        for (uint64_t i = 0; i < kTrips; ++i) {
          uint32_t input;
          while ((input = inputs.next()) == Inputs::kNoInput) {
          }
          uint64_t element[2] = {};
          (void)m->consumers[input].receive(element);
          wrong += element[0] != i || element[1] != input;
          m->answer.store(i + 1, std::memory_order_release);
        }
      });
  if (wrong != 0) std::abort();
  percentiles(trips, sample);
  return sample;
}

// ---- cases, figures, report
// ------------------------------------------------------------------------

Cases own_cases() {
  using E8 = Element<8>;
  using E64 = Element<64>;
  Cases cases;
  cases.push_back({"floor, one line", "ns", ping_pong<false>});
  cases.push_back({"floor, two lines", "ns", ping_pong<true>});
  cases.push_back({"ceiling, 512-line blocks", "M/s", block_ceiling});
  cases.push_back(rate_case<Single<E64, Layout::bulk>>("64 B single, vanity", kSingles));
  cases.push_back(rate_case<Copying<E64>>("64 B single, vanity by copy", kSingles));
  cases.push_back(rate_case<Single<E64, Layout::latency>>("64 B single, vanity latency", kSingles));
  cases.push_back(rate_case<ZeroCopy<E64, 32>>("64 B zero-copy 32, vanity", kBursts));
  cases.push_back(rate_case<ZeroCopy<E8, 32>>("8 B zero-copy 32, vanity", 4 * kBursts));
  cases.push_back(trip_case<Single<E64, Layout::latency>>("64 B round trip, vanity latency"));
  cases.push_back(trip_case<Single<Element56, Layout::latency>>("56 B round trip, vanity latency"));
  cases.push_back(trip_case<Single<E64, Layout::bulk>>("64 B round trip, vanity bulk"));
  for (const uint32_t n : {1u, 8u, 32u, 64u, 512u})
    cases.push_back({"doorbell, " + std::to_string(n) + " channels", "ns",
                     [n](Cpus cpus) { return doorbell_trip(n, cpus); }});
  return cases;
}

struct Round {
  std::map<std::string, Sample> samples;
  uint32_t thrown_away = 0;
};

struct Figure {
  std::string name;
  double value;
  std::string unit;
  std::optional<double> target;
  bool at_least = true;
  bool met() const { return !target || (at_least ? value >= *target : value <= *target); }
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double main_value(const Case& one, const Sample& sample) {
  return one.unit == "ns" ? sample.p50 : sample.rate;
}

// The median over rounds of value(a) / value(b); b the best of several when there are several.
std::optional<double> ratio(const std::vector<Round>& rounds, const std::string& a,
                            const std::vector<std::string>& b) {
  std::vector<double> values;
  for (const Round& round : rounds) {
    const auto value = [&round](const std::string& name) -> double {
      const auto found = round.samples.find(name);
      if (found == round.samples.end()) return 0;
      return found->second.rate != 0 ? found->second.rate : found->second.p50;
    };
    double best = 0;
    for (const std::string& name : b) best = std::max(best, value(name));
    if (value(a) != 0 && best != 0) values.push_back(value(a) / best);
  }
  if (values.empty()) return std::nullopt;
  return median(values);
}

std::vector<Figure> figures_of(const std::vector<Round>& rounds, const Cases& cases) {
  std::vector<Figure> figures;
  for (const Case& one : cases) {
    std::vector<double> main, tail;
    for (const Round& round : rounds) {
      const auto found = round.samples.find(one.name);
      if (found == round.samples.end()) continue;
      main.push_back(main_value(one, found->second));
      tail.push_back(found->second.p99);
    }
    if (main.empty()) continue;
    figures.push_back({one.name + (one.unit == "ns" ? ", p50" : ""), median(main), one.unit, {}});
    if (one.unit == "ns") figures.push_back({one.name + ", p99", median(tail), one.unit, {}});
  }
  const auto compare = [&](const std::string& name, const std::string& a,
                           const std::vector<std::string>& b, double target, bool at_least) {
    if (const auto value = ratio(rounds, a, b))
      figures.push_back({name, *value, "x", target, at_least});
  };
  const std::string single = "64 B single, ";
  compare("64 B single push / rte_ring", single + "vanity", {single + "rte_ring"}, 10, true);
  compare(
      "64 B single push / best peer", single + "vanity",
      {single + "rte_ring", single + "boost spsc_queue", single + "moodycamel", single + "ck_ring"},
      3, true);
  compare("64 B single push / block ceiling", single + "vanity", {"ceiling, 512-line blocks"}, 0.7,
          true);
  compare("64 B zero-copy 32 / rte_ring", "64 B zero-copy 32, vanity",
          {"64 B zero-copy 32, rte_ring"}, 1.2, true);
  compare("8 B zero-copy 32 / rte_ring", "8 B zero-copy 32, vanity", {"8 B zero-copy 32, rte_ring"},
          1.5, true);
  const std::string trip = "64 B round trip, ";
  compare("64 B round trip / two-line floor", trip + "vanity latency", {"floor, two lines"}, 1.15,
          false);
  compare("64 B round trip / rte_ring", trip + "vanity latency", {trip + "rte_ring"}, 0.6, false);
  compare("doorbell, 512 channels / 1 channel", "doorbell, 512 channels", {"doorbell, 1 channels"},
          1.5, false);
  return figures;
}

// Below this, a two-line round trip never left the core: sibling threads, whatever the system says
// of their topology (a hypervisor may move them from one core to two and back while it runs).
constexpr double kSharedCoreNs = 200;

std::string placement_note(const std::vector<Figure>& figures) {
  for (const Figure& f : figures) {
    if (f.name != "floor, two lines, p50" || f.value >= kSharedCoreNs) continue;
    return "the two processors answered each other within one core's cache: sibling threads, for "
           "which the targets, set between cores, say little";
  }
  return {};
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= ' ') out += c;
  }
  return out + '"';
}

void print_json(const std::vector<Round>& rounds, const Cases& cases,
                const std::vector<Figure>& figures, Cpus cpus) {
  std::printf("{\n  \"rounds\": [");
  for (size_t r = 0; r < rounds.size(); ++r) {
    std::printf("%s\n    {\"thrown_away\": %u, \"samples\": [", r != 0 ? "," : "",
                rounds[r].thrown_away);
    bool first = true;
    for (const Case& one : cases) {
      const auto found = rounds[r].samples.find(one.name);
      if (found == rounds[r].samples.end()) continue;
      const Sample& sample = found->second;
      std::printf("%s\n      {\"name\": %s, \"unit\": %s, ", first ? "" : ",",
                  quoted(one.name).c_str(), quoted(one.unit).c_str());
      if (one.unit == "ns")
        std::printf("\"p50\": %.1f, \"p99\": %.1f}", sample.p50, sample.p99);
      else
        std::printf("\"rate\": %.2f}", sample.rate);
      first = false;
    }
    std::printf("]}");
  }
  std::printf("\n  ],\n  \"figures\": [");
  for (size_t i = 0; i < figures.size(); ++i) {
    const Figure& f = figures[i];
    std::printf("%s\n    {\"name\": %s, \"value\": %.3f, \"unit\": %s, ", i != 0 ? "," : "",
                quoted(f.name).c_str(), f.value, quoted(f.unit).c_str());
    if (f.target)
      std::printf("\"target\": \"%s %g\", \"met\": %s}", f.at_least ? ">=" : "<=", *f.target,
                  f.met() ? "true" : "false");
    else
      std::printf("\"target\": null, \"met\": null}");
  }
  const std::string note = placement_note(figures);
  std::printf("\n  ],\n  \"notes\": [%s", note.empty() ? "" : quoted(note).c_str());
  utsname system{};
  uname(&system);
  std::printf(
      "],\n  \"host\": {\"processor\": %s, \"kernel\": %s, \"cpus\": [%d, %d], "
      "\"capacity\": %u}\n}\n",
      quoted(processor_name()).c_str(), quoted(system.release).c_str(), cpus.first, cpus.second,
      kCapacity);
}

void print_table(const std::vector<Figure>& figures) {
  for (const Figure& f : figures) {
    std::printf("%-44s %10.2f %-4s", f.name.c_str(), f.value, f.unit.c_str());
    if (f.target)
      std::printf("  %s %g  %s", f.at_least ? ">=" : "<=", *f.target, f.met() ? "met" : "MISSED");
    std::printf("\n");
  }
  const std::string note = placement_note(figures);
  if (!note.empty()) std::printf("note: %s\n", note.c_str());
}

struct Options {
  uint32_t rounds = 11;
  bool json = false;
  bool peers = true;
  Cpus cpus;
  std::string only;
};

[[noreturn]] void usage(const char* why) {
  std::fprintf(
      stderr,
      "channel_bench: %s\nusage: channel_bench [--rounds N] [--json] [--quick] [--cpus A,B] "
      "[--no-peers] [--only TEXT]\n",
      why);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= argc) usage((flag + " needs a value").c_str());
      return argv[++i];
    };
    if (flag == "--rounds") {
      const int n = std::atoi(value().c_str());
      if (n < 1 || n > 1000) usage("--rounds is 1 to 1000");
      options.rounds = uint32_t(n);
    } else if (flag == "--quick") {
      options.rounds = 3;
    } else if (flag == "--json") {
      options.json = true;
    } else if (flag == "--no-peers") {
      options.peers = false;
    } else if (flag == "--only") {
      options.only = value();
    } else if (flag == "--cpus") {
      if (std::sscanf(value().c_str(), "%d,%d", &options.cpus.first, &options.cpus.second) != 2)
        usage("--cpus is two numbers, as in 2,3");
    } else {
      usage(("unknown flag " + flag).c_str());
    }
  }
  return options;
}

void add_peers(Cases& cases) {
#if BENCH_RTE_RING
  add_rte_ring(cases);
#endif
#if BENCH_BOOST
  add_boost(cases);
#endif
#if BENCH_MOODYCAMEL
  add_moodycamel(cases);
#endif
#if BENCH_CK_RING
  add_ck_ring(cases);
#endif
  (void)cases;
}

// Two of these at once would wait for each other for ever: each pair of real-time threads holds the
// core that the other needs. One runs at a time, and a real-time thread that spins for 3 seconds is
// ended by the kernel.
void guard_the_machine() {
  const int lock = open("/tmp/vanity-channel-bench.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0666);
  if (lock < 0 || flock(lock, LOCK_EX) != 0) {
    std::perror("/tmp/vanity-channel-bench.lock");
    std::exit(1);
  }
  const rlimit limit{3'000'000, 3'000'000};
  setrlimit(RLIMIT_RTTIME, &limit);
}

int run(const Options& options) {
  guard_the_machine();
  Cases cases = own_cases();
  if (options.peers) add_peers(cases);
  std::erase_if(cases,
                [&](const Case& one) { return one.name.find(options.only) == std::string::npos; });
  constexpr uint32_t kAttempts = 20;
  std::vector<Round> rounds(options.rounds);
  for (Round& round : rounds) {
    for (const Case& one : cases) {
      for (uint32_t attempt = 0; attempt < kAttempts; ++attempt) {
        usleep(10'000);  // let others run
        const Sample sample = one.run(options.cpus);
        if (!sample.clean) {
          ++round.thrown_away;
          continue;
        }
        round.samples[one.name] = sample;
        break;
      }
    }
  }
  const std::vector<Figure> figures = figures_of(rounds, cases);
  if (options.json)
    print_json(rounds, cases, figures, options.cpus);
  else
    print_table(figures);
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  return bench::run(bench::parse(argc, argv));
}
