// One visit of a cell: some wakes of one mechanism between two processors at one idle time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "platform/wait.hpp"
#include "wake/disturbance.hpp"
#include "wake/pair.hpp"

namespace vanity::wake {

enum class Mode : uint8_t {
  oneway,     // from the store to the first instruction after the wait
  roundtrip,  // there and back, both sides waiting by the mechanism
  signal,     // what a signal costs whose consumer is awake
  floor,      // a line each way between two bare loops, there and back
  line,       // the same by one line that both write
};

inline constexpr uint32_t kNoCpu = 0xffffffffu;

struct VisitSpec {
  std::string mechanism;
  Mode mode = Mode::oneway;
  uint32_t from = 0;  // signals
  uint32_t to = 0;    // waits
  uint64_t idle_ns = 0;
  uint64_t samples = 0;  // ends the visit, as does
  uint64_t max_ns = 0;
  uint64_t spin_ns = 0;  // window of `adaptive`
  double offset_ns = 0;  // clock of `to` minus clock of `from`
  uint64_t seed = 0;
  uint32_t kernel = kNoCpu;  // has a part in the mechanism; visit() chooses it
};

// One entry a sample; times are without what reading the clock takes. In mode signal, `latency_ns`
// is one plain store and `signal_ns` one with its signal(), each from a batch.
struct Visit {
  std::vector<double> latency_ns;
  std::vector<double> signal_ns;
  std::vector<uint8_t> marks;
  double idled_ns = 0;
  uint64_t overrun = 0;
  double wall_ns = 0;
  double cpu_ns = 0;  // of the waiter
  WaitCounters wakes;
  uint64_t involuntary[2] = {};  // of the signaller and of the waiter
};

// Errors: VANITY_E_WAKE_SPEC, VANITY_E_WAKE_MECHANISM, VANITY_E_WAKE_PAIR, VANITY_E_CORE_PIN.
Visit visit(const VisitSpec& spec, Pair& pair);

}  // namespace vanity::wake
