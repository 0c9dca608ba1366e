// The C ABI's function table: each entry is a shard's method under its C name.
#include <algorithm>
#include <cstdio>

#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "shard/grant.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

const Shard& of(const vanity_shard* shard) {
  return *Shard::of(const_cast<vanity_shard*>(shard));
}
Shard& of(vanity_shard* shard) {
  return *Shard::of(shard);
}

uint32_t receive(vanity_shard* shard, vanity_packet* packets, uint32_t n) {
  return of(shard).receive(packets, n);
}
uint32_t send(vanity_shard* shard, uint32_t index, const vanity_packet* packets, uint32_t n) {
  const uint32_t sent = of(shard).offer(index, packets, n);
  vanity_channel* channel = of(shard).output(index);
  if (sent < n && channel != nullptr && channel->overflow == Overflow::program) {
    of(shard).found_full(*channel);
  }
  return sent;
}
void free_packets(vanity_shard* shard, const vanity_packet* packets, uint32_t n) {
  of(shard).consume(packets, n);
}
void discard(vanity_shard* shard, const vanity_packet* packets, uint32_t n) {
  of(shard).discard(packets, n);
}
uint32_t allocate(vanity_shard* shard, vanity_packet* packets, uint32_t n) {
  return of(shard).allocate(packets, n);
}
uint8_t* data(vanity_shard* shard, const vanity_packet* packet) {
  return of(shard).data(*packet);
}
uint32_t room(vanity_shard* shard, const vanity_packet* packet) {
  return of(shard).room(*packet);
}

uint32_t input_count(const vanity_shard* shard) {
  return of(shard).input_count();
}
uint32_t output_count(const vanity_shard* shard) {
  return of(shard).output_count();
}
vanity_channel* input(vanity_shard* shard, uint32_t index) {
  return of(shard).input(index);
}
vanity_channel* output(vanity_shard* shard, uint32_t index) {
  return of(shard).output(index);
}
vanity_channel* channel(vanity_shard* shard, const char* name) {
  return name == nullptr ? nullptr : of(shard).find_channel(name);
}
const char* channel_name(const vanity_channel* channel) {
  return channel->name.c_str();
}
uint32_t element_bytes(const vanity_channel* channel) {
  return channel->record->element_bytes;
}

void* claim(vanity_channel* channel, uint32_t n, uint32_t* got) {
  const WritableSlots slots = channel->producer.claim(n);
  if (!slots && n != 0) channel->shard->found_full(*channel);
  *got = slots.stride == channel->record->element_bytes ? slots.count : std::min(slots.count, 1u);
  return *got == 0 ? nullptr : slots.data;
}
void commit(vanity_channel* channel, uint32_t n) {
  channel->shard->commit(*channel, n);
}
const void* peek(vanity_channel* channel, uint32_t n, uint32_t* got) {
  const ReadableSlots slots = channel->consumer->peek(n);
  *got = slots.stride == channel->record->element_bytes ? slots.count : std::min(slots.count, 1u);
  return *got == 0 ? nullptr : slots.data;
}
void release(vanity_channel* channel, uint32_t n) {
  channel->shard->release(*channel, n);
}
uint32_t send_copy(vanity_channel* channel, const void* elements, uint32_t n) {
  return channel->shard->send_copy(*channel, elements, n);
}
uint32_t receive_copy(vanity_channel* channel, void* elements, uint32_t n) {
  return channel->shard->receive_copy(*channel, elements, n);
}

const char* option(const vanity_shard* shard, const char* key) {
  if (key == nullptr) return nullptr;
  const auto& options = *reinterpret_cast<const ShardHandle*>(shard)->options;
  const auto found = options.find(key);
  return found == options.end() ? nullptr : found->second.c_str();
}
void* arena_allocate(vanity_shard* shard, size_t bytes, size_t align) {
  try {
    return of(shard).program_allocate(bytes, align);
  } catch (const Error&) {
    return nullptr;
  }
}
vanity_counter* counter(vanity_shard* shard, const char* name) {
  if (name == nullptr) return nullptr;
  try {
    return reinterpret_cast<vanity_counter*>(of(shard).user_counter(name));
  } catch (const Error&) {
    return nullptr;
  }
}
void count(vanity_counter* counter, uint64_t n) {
  reinterpret_cast<Counter*>(counter)->add(n);
}

void log(vanity_shard* shard, vanity_log_level level, const char* text) {
  static constexpr const char* kLevels[] = {"debug", "info", "warning", "error"};
  const auto at = std::min<size_t>(static_cast<size_t>(level), 3);
  std::fprintf(stderr, "%s: %s: %s\n", of(shard).plan().name.c_str(), kLevels[at], text);
}
uint64_t now_ns() {
  return monotonic_ns();
}
const char* shard_name(const vanity_shard* shard) {
  return of(shard).plan().name.c_str();
}

vanity_device* device(vanity_shard* shard, const char* name) {
  return name == nullptr ? nullptr : of(shard).find_device(name);
}
const char* device_name(const vanity_device* device) {
  return device->name().c_str();
}
vanity_device_state device_state(const vanity_device* device) {
  return device->state();
}
int register_read(vanity_device* device, uint32_t bar, uint64_t offset, uint32_t width,
                  uint64_t* value) {
  return device->read(bar, offset, width, value) ? 1 : 0;
}
int register_write(vanity_device* device, uint32_t bar, uint64_t offset, uint32_t width,
                   uint64_t value) {
  return device->write(bar, offset, width, value) ? 1 : 0;
}
volatile void* registers(vanity_device* device, uint32_t bar, uint64_t offset, uint64_t bytes) {
  return device->range(bar, offset, bytes);
}
const vanity_dma* dma(vanity_device* device, const char* name) {
  return name == nullptr ? nullptr : device->memory(name);
}
uint64_t irq_take(vanity_device* device, uint32_t vector) {
  return device->take(vector);
}
void irq_done(vanity_device* device, uint32_t vector) {
  device->done(vector);
}

}  // namespace

const vanity_api kApi = {
    VANITY_ABI_VERSION,
    sizeof(vanity_api),
    receive,
    send,
    free_packets,
    discard,
    allocate,
    data,
    room,
    input_count,
    output_count,
    input,
    output,
    channel,
    channel_name,
    element_bytes,
    claim,
    commit,
    peek,
    release,
    send_copy,
    receive_copy,
    option,
    arena_allocate,
    counter,
    count,
    log,
    now_ns,
    shard_name,
    device,
    device_name,
    device_state,
    register_read,
    register_write,
    registers,
    dma,
    irq_take,
    irq_done,
};

}  // namespace vanity
