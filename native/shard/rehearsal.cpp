#include "shard/rehearsal.hpp"

#include <algorithm>
#include <cstring>

#include "platform/error.hpp"

namespace vanity {
namespace {

constexpr uint32_t kFresh = 256;  // buffers; the oldest comes round again
constexpr uint32_t kTurnsMax = 4096;

Rehearsal& of(const vanity_shard* shard) {
  return *reinterpret_cast<ShardHandle*>(const_cast<vanity_shard*>(shard))->rehearsal;
}

uint32_t receive(vanity_shard* shard, vanity_packet* packets, uint32_t n) {
  return of(shard).receive(packets, n);
}
uint32_t send(vanity_shard*, uint32_t, const vanity_packet*, uint32_t n) {
  return n;
}
void end(vanity_shard*, const vanity_packet*, uint32_t) {}
uint32_t allocate(vanity_shard* shard, vanity_packet* packets, uint32_t n) {
  return of(shard).allocate(packets, n);
}
uint8_t* data(vanity_shard* shard, const vanity_packet* packet) {
  return of(shard).data(*packet);
}
uint32_t room(vanity_shard* shard, const vanity_packet* packet) {
  return of(shard).room(*packet);
}
// Channels are as they are; nothing comes by them, and there is no room in them.
void* claim(vanity_channel*, uint32_t, uint32_t* got) {
  *got = 0;
  return nullptr;
}
const void* peek(vanity_channel*, uint32_t, uint32_t* got) {
  *got = 0;
  return nullptr;
}
void nothing(vanity_channel*, uint32_t) {}
uint32_t send_copy(vanity_channel*, const void*, uint32_t) {
  return 0;
}
uint32_t receive_copy(vanity_channel*, void*, uint32_t) {
  return 0;
}
uint32_t input_count(const vanity_shard* shard) {
  return static_cast<uint32_t>(of(shard).inputs().size());
}
uint32_t output_count(const vanity_shard* shard) {
  return of(shard).output_count();
}
vanity_channel* input(vanity_shard* shard, uint32_t index) {
  const auto& inputs = of(shard).inputs();
  return index < inputs.size() ? inputs[index] : nullptr;
}
vanity_channel* output(vanity_shard* shard, uint32_t index) {
  const auto& outputs = of(shard).outputs();
  return index < outputs.size() ? outputs[index] : nullptr;
}
vanity_channel* channel(vanity_shard* shard, const char* name) {
  if (name == nullptr) return nullptr;
  for (const auto* ends : {&of(shard).inputs(), &of(shard).outputs()}) {
    for (vanity_channel* const end : *ends) {
      if (end->name == name) return end;
    }
  }
  return nullptr;
}
void* arena_allocate(vanity_shard* shard, size_t bytes, size_t align) {
  return of(shard).arena_allocate(bytes, align);
}
vanity_counter* counter(vanity_shard* shard, const char* name) {
  return name == nullptr ? nullptr : of(shard).counter(name);
}
void count(vanity_counter*, uint64_t) {}

vanity_api rehearsed() noexcept {
  vanity_api api = kApi;
  api.receive = receive;
  api.send = send;
  api.free_packets = end;
  api.discard = end;
  api.allocate = allocate;
  api.data = data;
  api.room = room;
  api.input_count = input_count;
  api.output_count = output_count;
  api.input = input;
  api.output = output;
  api.channel = channel;
  api.claim = claim;
  api.commit = nothing;
  api.peek = peek;
  api.release = nothing;
  api.send_copy = send_copy;
  api.receive_copy = receive_copy;
  api.arena_allocate = arena_allocate;
  api.counter = counter;
  api.count = count;
  return api;
}
const vanity_api& rehearsed_api() noexcept {
  static const vanity_api api = rehearsed();
  return api;
}

}  // namespace

Rehearsal::Rehearsal(Shard& shard, Handover& handover, Guard& guard,
                     const std::map<std::string, std::string>& options, uint64_t arena_bytes,
                     PageChoice pages)
    : shard_(shard),
      handover_(handover),
      guard_(guard),
      guarded_(guard),
      fresh_(size_t{kFresh} * BurstCopies::kStride) {
  auto place = std::make_unique<Place>();
  place->api = shard.confined() ? keyed(rehearsed_api()) : rehearsed_api();
  place->options = options;
  place->handle = {{&place->api}, &shard, this, &place->options};
  if (arena_bytes != 0) {
    const uint32_t node = shard.plan().core == kNone ? kAnyNode : shard.record().numa_node;
    place->arena = std::make_unique<Arena>(arena_bytes, node, pages);
  }
  handover.place = std::move(place);
  handover.program->play(reinterpret_cast<vanity_shard*>(&handover.place->handle), &guard_);
  if (shard.confined()) confine();
}

// The new program gets the keys of the old one: two programs of one shard are not kept apart.
void Rehearsal::confine() {
  const ProtectionKey& key = shard_.key();
  const WholePages& copies = handover_.copies.memory;
  if (copies.data() != nullptr) key.protect(copies.data(), copies.bytes());
  key.protect(fresh_.data(), fresh_.bytes());
  Place& place = *handover_.place;
  if (place.arena != nullptr) key.protect(place.arena->base(), place.arena->bytes());
  handover_.program->confine(shard_.key());
  confined_.emplace(shard_, guard_, reinterpret_cast<vanity_shard*>(&place.handle),
                    rehearsed_api());
}

// False: it faulted, and the guard has the evidence. What `act` runs may be left at any place, so
// it keeps nothing that would have to be put right.
bool Rehearsal::attempt(Module& program, const std::function<void()>& act) {
  uintptr_t begin;
  uintptr_t end;
  program.text(&begin, &end);
  guard_.arm(begin, end);
  if (sigsetjmp(guard_.exit(), 1) != 0) return false;
  act();
  return true;
}

void Rehearsal::refuse(const char* when) const {
  throw Error("VANITY_E_RELOAD_FAULT",
              "shard " + shard_.plan().name + ": the new program faulted in " + when,
              "the old one goes on; mend the new one");
}

void Rehearsal::init() {
  Module& program = *handover_.program;
  if (!attempt(program, [&] { program.init(shard_); })) refuse("init");
}

uint32_t Rehearsal::warm() {
  Module& program = *handover_.program;
  taken_ = 0;
  burst_ = 0;
  // A turn takes what it likes, and one that takes nothing has to end too.
  uint32_t turns = 0;
  const bool came_back = attempt(program, [&] {
    while (taken_ < handover_.copies.packets.size() && turns++ < kTurnsMax) program.poll(shard_);
    program.fini(shard_);
  });
  if (!came_back) refuse("a rehearsal on packets of this shard");
  if (handover_.place->arena != nullptr) handover_.place->arena->rewind(0);
  return static_cast<uint32_t>(burst_);
}

bool Rehearsal::farewell(Module& program) noexcept {
  // The place that goes with it; null: the shard's own.
  ShardHandle handle{
      {nullptr},
      &shard_,
      this,
      handover_.place == nullptr ? &shard_.plan().options : &handover_.place->options};
  handle.head.api = &rehearsed_api();
  program.play(reinterpret_cast<vanity_shard*>(&handle), &guard_);
  return attempt(program, [&] { program.fini(shard_); });
}

// Those that go along with the program: in a rehearsal the new one's, in its farewell the old
// one's.
const std::vector<vanity_channel*>& Rehearsal::inputs() const noexcept {
  const Rewiring* const rewiring = handover_.rewiring.get();
  return rewiring != nullptr && rewiring->ends ? rewiring->inputs : shard_.inputs();
}

const std::vector<vanity_channel*>& Rehearsal::outputs() const noexcept {
  const Rewiring* const rewiring = handover_.rewiring.get();
  return rewiring != nullptr && rewiring->ends ? rewiring->outputs : shard_.outputs();
}

uint32_t Rehearsal::output_count() const noexcept {
  const size_t ports = shard_.output_count() - shard_.outputs().size();
  return static_cast<uint32_t>(outputs().size() + ports);
}

uint8_t* Rehearsal::buffer(uint32_t index) noexcept {
  if (index < BurstCopies::kPackets) return handover_.copies.buffer(index);
  return reinterpret_cast<uint8_t*>(fresh_.data()) +
         size_t{(index - BurstCopies::kPackets) % kFresh} * BurstCopies::kStride;
}

uint32_t Rehearsal::receive(vanity_packet* packets, uint32_t n) noexcept {
  const BurstCopies& copies = handover_.copies;
  if (burst_ == copies.ends.size()) return 0;
  const auto got = static_cast<uint32_t>(std::min<size_t>(n, copies.ends[burst_] - taken_));
  std::copy_n(copies.packets.data() + taken_, got, packets);
  taken_ += got;
  if (taken_ == copies.ends[burst_]) ++burst_;
  return got;
}

uint32_t Rehearsal::allocate(vanity_packet* packets, uint32_t n) noexcept {
  n = std::min(n, kFresh);
  for (uint32_t i = 0; i < n; ++i) {
    packets[i] = {};
    packets[i].buffer = BurstCopies::kPackets + made_++ % kFresh;
    packets[i].offset = VANITY_FRAME_OFFSET;
  }
  return n;
}

uint8_t* Rehearsal::data(const vanity_packet& packet) noexcept {
  return buffer(packet.buffer) + packet.offset;
}

uint32_t Rehearsal::room(const vanity_packet& packet) const noexcept {
  return BurstCopies::kStride - packet.offset;
}

void* Rehearsal::arena_allocate(size_t bytes, size_t align) {
  Arena* const arena = handover_.place->arena.get();
  try {
    return arena == nullptr ? nullptr : arena->allocate(bytes, align);
  } catch (const Error&) {
    return nullptr;
  }
}

vanity_counter* Rehearsal::counter(const char* name) {
  try {
    return reinterpret_cast<vanity_counter*>(shard_.user_counter(name));
  } catch (const Error&) {
    return nullptr;
  }
}

}  // namespace vanity
