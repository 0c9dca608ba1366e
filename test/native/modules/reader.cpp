// Checks the writer's messages in order; option slow makes it take one a turn.
#include <vanity/program.h>
#include <cstring>

namespace {

struct State {
  uint64_t expected = 0;
  bool slow = false;
  vanity_counter* wrong = nullptr;
  vanity_counter* seen = nullptr;
};
State reader;

int init(vanity_shard* shard, void** state) {
  const vanity_api* api = vanity_api_of(shard);
  reader.expected = 0;  // the module stays loaded from one system to the next
  reader.slow = api->option(shard, "slow") != nullptr;
  reader.wrong = api->counter(shard, "wrong");
  reader.seen = api->counter(shard, "seen");
  // The ninth counter is past the limit; two were taken above.
  for (char name[] = "x0"; name[1] < '6'; ++name[1]) {
    if (api->counter(shard, name) == nullptr) return 1;
  }
  if (api->counter(shard, "past-the-limit") != nullptr) return 2;
  if (api->counter(shard, "seen") != reader.seen) return 3;
  void* memory = api->arena_allocate(shard, 1000, 64);
  if (memory == nullptr || reinterpret_cast<uintptr_t>(memory) % 64 != 0) return 4;
  *state = &reader;
  return 0;
}

uint32_t poll_once(vanity_shard* shard, void* opaque) {
  auto* state = static_cast<State*>(opaque);
  const vanity_api* api = vanity_api_of(shard);
  vanity_channel* in = api->input(shard, 0);
  uint32_t got = 0;
  const auto* slots = static_cast<const uint8_t*>(api->peek(in, state->slow ? 1 : 64, &got));
  for (uint32_t i = 0; i < got; ++i) {
    uint64_t number;
    std::memcpy(&number, slots + i * 64, sizeof number);
    const bool body = slots[i * 64 + 63] == static_cast<uint8_t>(number & 0xff);
    if (number != state->expected++ || !body) api->count(state->wrong, 1);
  }
  if (got != 0) api->release(in, got);
  api->count(state->seen, got);
  return got;
}

const vanity_program program = {VANITY_ABI_VERSION,
                                sizeof(vanity_program),
                                "reader",
                                "1",
                                init,
                                poll_once,
                                nullptr,
                                nullptr,
                                nullptr,
                                nullptr};

}  // namespace

extern "C" const vanity_program* vanity_program_entry() {
  return &program;
}
