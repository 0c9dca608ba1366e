// The native end of the TypeScript bench: fills every output with bursts of numbered messages as
// fast as they are taken, and reads every input, checking that no number is missing.
#include <cstdint>

#include "vanity/program.h"

namespace {

constexpr uint32_t kBurst = 32;

struct State {
  double next = 0;  // exact up to 2^53, and what JavaScript numbers with
  double expected = 0;
  vanity_counter* wrong = nullptr;
};
State state;

int init(vanity_shard* shard, void** out) {
  state = {};
  state.wrong = vanity_api_of(shard)->counter(shard, "wrong");
  *out = &state;
  return 0;
}

uint32_t poll(vanity_shard* shard, void*) {
  const vanity_api* api = vanity_api_of(shard);
  uint32_t done = 0;
  if (api->output_count(shard) != 0) {
    vanity_channel* channel = api->output(shard, 0);
    uint32_t got = 0;
    auto* slots = static_cast<double*>(api->claim(channel, kBurst, &got));
    const uint32_t words = api->element_bytes(channel) / sizeof(double);
    for (uint32_t i = 0; i < got; ++i) {
      for (uint32_t w = 0; w < words; ++w) slots[i * words + w] = state.next;
      state.next += 1;
    }
    if (got != 0) api->commit(channel, got);
    done += got != 0 ? got : 1;  // full: nobody wakes a producer, so it must not sleep
  }
  if (api->input_count(shard) != 0) {
    vanity_channel* channel = api->input(shard, 0);
    uint32_t got = 0;
    const auto* slots = static_cast<const double*>(api->peek(channel, kBurst, &got));
    const uint32_t words = api->element_bytes(channel) / sizeof(double);
    for (uint32_t i = 0; i < got; ++i) {
      const double number = slots[i * words];
      if (number != state.expected) api->count(state.wrong, 1);
      state.expected = number + 1;
    }
    if (got != 0) api->release(channel, got);
    done += got;
  }
  return done;
}

}  // namespace

extern "C" const vanity_program* vanity_program_entry(void) {
  static const vanity_program program = {
      VANITY_ABI_VERSION, sizeof(vanity_program), "traffic", "1", init, poll, nullptr, nullptr};
  return &program;
}
