// A shard whose program is confined by protection keys: what the program may write to, and the
// gates by which its calls get into the runtime, which may write to everything, and back.
//
// Whatever a call writes through a pointer of the program's is written with the program's rights:
// the runtime must not do for a stray pointer what the program may not.
#include "shard/keyed.hpp"

#include <algorithm>

#include "platform/error.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

// Whose program this thread runs, and what its calls end up in. In a block of memory that the
// program may write to, as its stack is.
struct Confined {
  Shard* shard;
  Guard* guard;
  const vanity_shard* handle;  // that the program sees; null: the shard's, whichever it is now
  const vanity_api* api;
};
[[gnu::tls_model("initial-exec")]] thread_local Confined t_confined;

constexpr size_t kPageBytes = 4096;

// In the runtime from here to the end of the scope.
class Gate {
 public:
  Gate() noexcept : rights_(Rights::now()) {
    if (rights_ != Rights::kAll) Rights::set(Rights::kAll);
  }
  ~Gate() {
    if (rights_ != Rights::kAll) t_confined.guard->cross(rights_);
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

 private:
  const uint32_t rights_;
};

[[noreturn]] void leave(const char* what) noexcept {
  Rights::set(Rights::kAll);
  t_confined.guard->leave(FaultKind::descriptor, what);
}
const vanity_api& own(const vanity_shard* handle) noexcept {
  const Confined& at = t_confined;
  if (handle != (at.handle != nullptr ? at.handle : at.shard->handle())) {
    leave("it called the runtime with a shard that is not its own");
  }
  return *at.api;
}
const vanity_api& own(const vanity_channel* channel) noexcept {
  if (channel->shard != t_confined.shard) {
    leave("it called the runtime with a channel that is not its own");
  }
  return *t_confined.api;
}
// In a rehearsal nothing is counted.
const vanity_api& own(const vanity_counter* counter) noexcept {
  if (t_confined.handle == nullptr && !t_confined.shard->counts_in(counter)) {
    leave("it counted in a counter that is not its own");
  }
  return *t_confined.api;
}

// Whole pages have a key, so one byte speaks for the page.
void touch_to_write(void* memory, size_t bytes) noexcept {
  if (bytes == 0) return;
  auto* const at = static_cast<volatile uint8_t*>(memory);
  for (size_t i = 0; i < bytes; i += kPageBytes) at[i] = at[i];
  at[bytes - 1] = at[bytes - 1];
}

uint32_t receive(vanity_shard* handle, vanity_packet* packets, uint32_t n) {
  const vanity_api& api = own(handle);
  n = std::min(n, limits::kBurstMax);
  touch_to_write(packets, n * sizeof(vanity_packet));
  const Gate in;
  return api.receive(handle, packets, n);
}
uint32_t send(vanity_shard* handle, uint32_t index, const vanity_packet* packets, uint32_t n) {
  const vanity_api& api = own(handle);
  const Gate in;
  return api.send(handle, index, packets, n);
}
void free_packets(vanity_shard* handle, const vanity_packet* packets, uint32_t n) {
  const vanity_api& api = own(handle);
  const Gate in;
  api.free_packets(handle, packets, n);
}
void discard(vanity_shard* handle, const vanity_packet* packets, uint32_t n) {
  const vanity_api& api = own(handle);
  const Gate in;
  api.discard(handle, packets, n);
}
uint32_t allocate(vanity_shard* handle, vanity_packet* packets, uint32_t n) {
  const vanity_api& api = own(handle);
  n = std::min(n, limits::kBurstMax);
  touch_to_write(packets, n * sizeof(vanity_packet));
  const Gate in;
  return api.allocate(handle, packets, n);
}

vanity_channel* channel(vanity_shard* handle, const char* name) {
  const vanity_api& api = own(handle);
  const Gate in;
  return api.channel(handle, name);
}
void* claim(vanity_channel* channel, uint32_t n, uint32_t* got) {
  const vanity_api& api = own(channel);
  uint32_t count = 0;
  void* slots = nullptr;
  {
    const Gate in;
    slots = api.claim(channel, n, &count);
  }
  *got = count;
  return slots;
}
void commit(vanity_channel* channel, uint32_t n) {
  const vanity_api& api = own(channel);
  const Gate in;
  api.commit(channel, n);
}
const void* peek(vanity_channel* channel, uint32_t n, uint32_t* got) {
  const vanity_api& api = own(channel);
  uint32_t count = 0;
  const void* slots = nullptr;
  {
    const Gate in;
    slots = api.peek(channel, n, &count);
  }
  *got = count;
  return slots;
}
void release(vanity_channel* channel, uint32_t n) {
  const vanity_api& api = own(channel);
  const Gate in;
  api.release(channel, n);
}
uint32_t send_copy(vanity_channel* channel, const void* elements, uint32_t n) {
  const vanity_api& api = own(channel);
  const Gate in;
  return api.send_copy(channel, elements, n);
}
uint32_t receive_copy(vanity_channel* channel, void* elements, uint32_t n) {
  const vanity_api& api = own(channel);
  n = std::min(n, channel->record->capacity);
  touch_to_write(elements, size_t{n} * channel->record->element_bytes);
  const Gate in;
  return api.receive_copy(channel, elements, n);
}

const char* option(const vanity_shard* handle, const char* key) {
  const vanity_api& api = own(handle);
  const Gate in;
  return api.option(handle, key);
}
void* arena_allocate(vanity_shard* handle, size_t bytes, size_t align) {
  const vanity_api& api = own(handle);
  const Gate in;
  return api.arena_allocate(handle, bytes, align);
}
vanity_counter* counter(vanity_shard* handle, const char* name) {
  const vanity_api& api = own(handle);
  const Gate in;
  return api.counter(handle, name);
}
void count(vanity_counter* counter, uint64_t n) {
  const vanity_api& api = own(counter);
  const Gate in;
  api.count(counter, n);
}
void log(vanity_shard* handle, vanity_log_level level, const char* text) {
  const vanity_api& api = own(handle);
  const Gate in;
  api.log(handle, level, text);
}
vanity_device* device(vanity_shard* handle, const char* name) {
  const vanity_api& api = own(handle);
  const Gate in;
  return api.device(handle, name);
}

}  // namespace

// The others write nothing. Of devices it has none.
vanity_api keyed(vanity_api api) noexcept {
  api.receive = receive;
  api.send = send;
  api.free_packets = free_packets;
  api.discard = discard;
  api.allocate = allocate;
  api.channel = channel;
  api.claim = claim;
  api.commit = commit;
  api.peek = peek;
  api.release = release;
  api.send_copy = send_copy;
  api.receive_copy = receive_copy;
  api.option = option;
  api.arena_allocate = arena_allocate;
  api.counter = counter;
  api.count = count;
  api.log = log;
  api.device = device;
  return api;
}

const vanity_api& keyed_api() noexcept {
  static const vanity_api api = keyed(kContainedApi);
  return api;
}

ConfinedThread::ConfinedThread(Shard& shard, Guard& guard, const vanity_shard* handle,
                               const vanity_api& api)
    : stack_(shard.key()) {
  Guard::refuse_other_signals();
  Rights::take_all();
  guard.confine(shard.guard().rights());
  t_confined = {&shard, &guard, handle, &api};
}

ConfinedThread::~ConfinedThread() {
  t_confined = {};
}

void Shard::confine(ProtectionKey& key, uint32_t keys, std::unique_ptr<Arena> desk) {
  key.protect(desk->base(), desk->bytes());
  desk_ = std::move(desk);
  key_ = &key;
  guard_.confine(Rights::only(keys));
  program_->module()->confine(key);
}

bool Shard::counts_in(const vanity_counter* counter) const noexcept {
  const auto* const at = reinterpret_cast<const Counter*>(counter);
  return std::any_of(record_->user, record_->user + user_counters_,
                     [at](const DynamicCounter& each) { return &each.value == at; });
}

// Its stack is the program's too, and belongs to the key as long as the thread runs.
void Shard::live_confined() noexcept {
  try {
    const ConfinedThread confined(*this, guard_, nullptr, kContainedApi);
    live();
  } catch (const Error& error) {
    fail(error.code(), "shard " + plan_.name + ": " + error.what(), error.hint());
  }
}

}  // namespace vanity
