// Passes packets on and writes into each, and where its test says, it writes to memory of others:
// by a store of its own, or by a pointer that it gives to the runtime (`how`). The test puts the
// address into the word that lies at `where`; 0: nowhere. Without such a word it writes to what it
// was given as its shard, in its `after`th poll. What it has passed on it hands on, and counts as
// `known` when it takes over.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <vanity/program.h>

namespace {

struct State {
  const volatile uint64_t* where;
  uint64_t after;
  uint64_t passed;
  char how[16];
  vanity_counter* starts;
  vanity_counter* known;
};
uint64_t g_polls;  // its static memory, which it may write to
void* volatile g_kept;

const char* option(vanity_shard* shard, const char* key, const char* otherwise) {
  const char* const text = vanity_api_of(shard)->option(shard, key);
  return text == nullptr ? otherwise : text;
}

int init(vanity_shard* shard, void** result) {
  const vanity_api* api = vanity_api_of(shard);
  auto* s = static_cast<State*>(api->arena_allocate(shard, sizeof(State), 64));
  if (s == nullptr || s->how[0] != 0 || g_polls != 0) return 1;  // not as new
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  s->where = reinterpret_cast<uint64_t*>(std::strtoull(option(shard, "where", "0"), nullptr, 16));
  s->after = std::strtoull(option(shard, "after", "0"), nullptr, 10);
  std::strncpy(s->how, option(shard, "how", "store"), sizeof(s->how) - 1);
  std::free(std::malloc(100));  // init may
  s->starts = api->counter(shard, "starts");
  s->known = api->counter(shard, "known");
  api->count(s->starts, 1);
  *result = s;
  return 0;
}

[[gnu::noinline]] void stray(vanity_shard* shard, const State* s, uint64_t at) {
  const auto is = [s](const char* how) { return std::strcmp(s->how, how) == 0; };
  void* const memory = reinterpret_cast<void*>(at);  // NOLINT(performance-no-int-to-ptr)
  if (is("receive")) {
    vanity_receive(shard, static_cast<vanity_packet*>(memory), 32);
  } else if (is("count")) {
    vanity_api_of(shard)->count(static_cast<vanity_counter*>(memory), 1);
  } else if (is("shard")) {
    vanity_packet packet;
    vanity_receive(static_cast<vanity_shard*>(memory), &packet, 1);
  } else if (is("malloc")) {
    g_kept = std::malloc(1 << 20);
  } else {
    *static_cast<volatile uint8_t*>(memory) = 0xee;
  }
}

uint32_t poll_once(vanity_shard* shard, void* opaque) {
  auto* const s = static_cast<State*>(opaque);
  ++g_polls;
  const uint64_t at = s->where != nullptr   ? *s->where
                      : g_polls == s->after ? reinterpret_cast<uintptr_t>(shard)
                                            : 0;
  if (at != 0) stray(shard, s, at);
  vanity_packet packets[256];
  const uint32_t got = vanity_receive(shard, packets, 256);
  for (uint32_t i = 0; i < got; ++i) vanity_data(shard, &packets[i])[0] ^= 1;
  if (got != 0) vanity_send(shard, 0, packets, got);
  s->passed += got;
  return got;
}

void fini(vanity_shard*, void*) {
  g_polls = 0;
}

int save(vanity_shard*, void* opaque, void* into) {
  std::memcpy(into, &static_cast<const State*>(opaque)->passed, sizeof(State::passed));
  return 0;
}

int restore(vanity_shard* shard, void* opaque, const void* from) {
  auto* const s = static_cast<State*>(opaque);
  std::memcpy(&s->passed, from, sizeof(s->passed));
  vanity_api_of(shard)->count(s->known, s->passed);
  return 0;
}

const vanity_field fields[] = {{"passed", VANITY_TYPE_U64, 0, 1, 0}};
const vanity_state description = {"strayer", 1, 1, fields, sizeof(State::passed)};
const vanity_reload reload = {
    sizeof(vanity_reload), 0, &description, save, restore, nullptr, nullptr};

const vanity_program program = {VANITY_ABI_VERSION,
                                sizeof(vanity_program),
                                "strayer",
                                "1",
                                init,
                                poll_once,
                                fini,
                                nullptr,
                                nullptr,
                                &reload};

}  // namespace

extern "C" const vanity_program* vanity_program_entry(void) {
  return &program;
}
