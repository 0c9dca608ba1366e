// Passes packets on, and after `after` of them does what a program should not: `how`. Its place is
// in the middle, at the end (no output: it frees them) or, with `buffers`, at the beginning. The
// memory it counts in is its own, so each start begins anew; with `strict` what lies in the static
// memory of the module has to be new as well.
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <stdexcept>

#include <vanity/program.h>

namespace {

struct State {
  uint64_t passed;
  uint64_t after;
  char how[16];
  bool source;
  vanity_counter* starts;
};
uint64_t g_static_passed;  // of this copy of the module

uint64_t number(const vanity_shard* shard, const char* key) {
  const char* text = vanity_api_of(shard)->option(shard, key);
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

int init(vanity_shard* shard, void** result) {
  const vanity_api* api = vanity_api_of(shard);
  auto* s = static_cast<State*>(api->arena_allocate(shard, sizeof(State), 64));
  if (s == nullptr || s->passed != 0) return 1;  // not as new
  if (number(shard, "strict") != 0 && g_static_passed != 0) return 3;
  s->after = number(shard, "after");
  const char* how = api->option(shard, "how");
  std::strncpy(s->how, how == nullptr ? "never" : how, sizeof(s->how) - 1);
  s->source = number(shard, "buffers") != 0;
  s->starts = api->counter(shard, "starts");
  api->count(s->starts, 1);
  *result = s;
  return std::strcmp(s->how, "init") == 0 && s->after == 0 ? 2 : 0;
}

volatile int g_zero = 0;
volatile int g_sink = 0;
volatile int* volatile g_nowhere = nullptr;

[[gnu::noinline]] int deeper(int depth) {
  volatile char room[4096];
  room[depth % 4096] = static_cast<char>(depth);
  if (depth < 0) return 0;
  return deeper(depth + 1) + room[(depth + 7) % 4096];
}

[[gnu::noinline]] void misbehave(vanity_shard* shard, State* s, vanity_packet* packets,
                                 uint32_t n) {
  const char* how = s->how;
  if (std::strcmp(how, "any") == 0) {
    static constexpr const char* kKinds[] = {"segv",    "fpe",     "ill",   "throw", "double",
                                             "made-up", "pointer", "abort", "bus"};
    how = kKinds[vanity_api_of(shard)->now_ns() / 100 % (sizeof(kKinds) / sizeof(kKinds[0]))];
  }
  const auto is = [how](const char* kind) { return std::strcmp(how, kind) == 0; };
  if (is("segv")) *g_nowhere = 1;
  if (is("fpe")) g_sink = 7 / g_zero;
  if (is("ill")) __builtin_trap();
  if (is("bus")) raise(SIGBUS);
  if (is("abort")) std::abort();
  if (is("stack")) g_sink = deeper(0);
  if (is("throw")) throw std::runtime_error("no such flow");
  if (is("terminate")) std::terminate();
  if (is("loop")) {
    for (;;) g_sink = g_sink + 1;
  }
  if (is("calls")) {
    for (;;) vanity_receive(shard, packets, 0);
  }
  if (is("sleep")) {
    const timespec nap{0, 200'000'000};
    nanosleep(&nap, nullptr);
  }
  if (is("double")) {
    vanity_free(shard, packets, n);
    vanity_free(shard, packets, n);
  }
  if (is("made-up")) {
    vanity_packet packet{};
    packet.buffer = 0x7f123456;
    vanity_free(shard, &packet, 1);
  }
  if (is("pointer")) vanity_send(shard, 0, reinterpret_cast<vanity_packet*>(16), 4);
  if (is("receive")) vanity_receive(shard, reinterpret_cast<vanity_packet*>(16), 4);
}

uint32_t poll_once(vanity_shard* shard, void* opaque) {
  auto* s = static_cast<State*>(opaque);
  vanity_packet packets[32];
  const uint32_t got = s->source ? vanity_api_of(shard)->allocate(shard, packets, 32)
                                 : vanity_receive(shard, packets, 32);
  if (got == 0) return 0;
  for (uint32_t i = 0; i < got && s->source; ++i) packets[i].length = 64;
  s->passed += got;
  g_static_passed += got;
  if (s->passed >= s->after) {
    s->passed = 0;
    misbehave(shard, s, packets, got);
  }
  if (vanity_api_of(shard)->output_count(shard) == 0) {
    vanity_free(shard, packets, got);
  } else {
    vanity_send(shard, 0, packets, got);
  }
  return got;
}

}  // namespace

extern "C" const vanity_program* vanity_program_entry(void) {
  static const vanity_program program = {.abi_version = VANITY_ABI_VERSION,
                                         .struct_bytes = sizeof(vanity_program),
                                         .name = "crasher",
                                         .version = "1",
                                         .init = init,
                                         .poll = poll_once,
                                         .fini = nullptr,
                                         .watermark = nullptr,
                                         .device_event = nullptr,
                                         .reload = nullptr};
  return &program;
}
