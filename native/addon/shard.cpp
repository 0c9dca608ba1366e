// What a worker thread gets when it becomes a TypeScript shard: the memory of its rings and pools,
// and the few calls that need native code, each made once a burst or once an idle turn, never once
// a message.
//
// The memory stays mapped while the worker's environment lives, since that holds the system: no
// view can outlive what it shows.
#include "addon/shard.hpp"

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "addon/convert.hpp"
#include "addon/device.hpp"
#include "addon/handover.hpp"
#include "addon/system.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "shard/shard.hpp"

namespace vanity::addon {
namespace {

// What JavaScript counted since the last flush, as doubles:
//
//   received | sent | bytes | spare        of the shard
//   received | depth_max                   of each input
//   sent | bursts | dropped | blocked | high | low    of each output channel
//   value                                  of each counter of the program
//   work | milliseconds                    of each poll
struct Ledger {
  static constexpr uint32_t kShardWords = 4;
  static constexpr uint32_t kInputWords = 2;
  static constexpr uint32_t kOutputWords = 6;
  static constexpr uint32_t kSamples = 64;
  static constexpr uint32_t kSampleWords = 2;

  uint32_t inputs = kShardWords;
  uint32_t outputs = 0;
  uint32_t user = 0;
  uint32_t samples = 0;
  std::vector<double> words;

  void shape(uint32_t input_count, uint32_t output_count) {
    outputs = inputs + input_count * kInputWords;
    user = outputs + output_count * kOutputWords;
    samples = user + limits::kUserCounters;
    words.assign(samples + kSamples * kSampleWords, 0.0);
  }
  uint64_t take(uint32_t word) noexcept {
    const double value = words[word];
    words[word] = 0;
    return value > 0 ? static_cast<uint64_t>(value) : 0;
  }
};

struct Attached {
  std::shared_ptr<System> system;
  Shard* shard = nullptr;
  uint32_t channel_outputs = 0;
  Ledger ledger;
  std::array<Counter*, limits::kUserCounters> user{};
  uint32_t user_count = 0;
  double ticks_per_ms = 0;
  DeviceViews devices;
  HandoverCalls handover;
  bool over = false;  // stopped or failed: the kernel may have joined it

  // Nothing runs in the environment any more.
  ~Attached() {
    if (shard != nullptr) shard->conceal();
  }
};

Attached& self(const Napi::CallbackInfo& info) {
  return *static_cast<Attached*>(info.Data());
}

void flush(Attached& at, uint32_t samples) noexcept {
  Shard& shard = *at.shard;
  ShardRecord& record = shard.record();
  Ledger& ledger = at.ledger;
  record.received.add(ledger.take(0));
  record.sent.add(ledger.take(1));
  record.bytes.add(ledger.take(2));
  for (uint32_t i = 0; i < shard.input_count(); ++i) {
    const uint32_t word = ledger.inputs + i * Ledger::kInputWords;
    ChannelRecord& channel = *shard.input(i)->record;
    channel.received.add(ledger.take(word));
    channel.depth_max.raise(ledger.take(word + 1));
  }
  for (uint32_t i = 0; i < at.channel_outputs; ++i) {
    const uint32_t word = ledger.outputs + i * Ledger::kOutputWords;
    ChannelRecord& channel = *shard.output(i)->record;
    channel.sent.add(ledger.take(word));
    channel.bursts.add(ledger.take(word + 1));
    channel.dropped.add(ledger.take(word + 2));
    channel.blocked.add(ledger.take(word + 3));
    channel.high_watermark.add(ledger.take(word + 4));
    channel.low_watermark.add(ledger.take(word + 5));
  }
  for (uint32_t i = 0; i < at.user_count; ++i) at.user[i]->add(ledger.take(ledger.user + i));
  samples = std::min(samples, Ledger::kSamples);
  for (uint32_t i = 0; i < samples; ++i) {
    const uint32_t word = ledger.samples + i * Ledger::kSampleWords;
    const uint64_t work = ledger.take(word);
    const auto ticks =
        static_cast<uint64_t>(std::max(0.0, ledger.words[word + 1]) * at.ticks_per_ms);
    record.polls.add(1);
    if (work == 0) {
      record.idle_ticks.add(ticks);
      continue;
    }
    record.polls_busy.add(1);
    record.busy_ticks.add(ticks);
    record.burst.record(work);
    record.service_ticks.record(ticks);
  }
  record.progress.add(1);
}

uint32_t count_of(const Napi::CallbackInfo& info, size_t argument) {
  return info[argument].As<Napi::Number>().Uint32Value();
}

// What the program gives away is not held any more, and has to have been.
void take_from_program(const Napi::CallbackInfo& info, Shard& shard, const vanity_packet* packets,
                       uint32_t n) {
  const uint32_t good = shard.held().remove(packets, n);
  if (good == n) return;
  shard.held().add(packets, good);
  throw Napi::RangeError::New(info.Env(), "packet " + std::to_string(good) +
                                              " of these is not held: it was sent or freed before");
}

// Descriptors in a Uint32Array: (words, first, count), the last two in packets.
struct Packets {
  vanity_packet* data;
  uint32_t count;
};
Packets packets_of(const Napi::CallbackInfo& info) {
  auto words = info[0].As<Napi::Uint32Array>();
  const uint32_t first = count_of(info, 1);
  const uint32_t count = count_of(info, 2);
  if ((uint64_t{first} + count) * (sizeof(vanity_packet) / 4) > words.ElementLength()) {
    throw Napi::RangeError::New(info.Env(), "packets past the end of the burst");
  }
  return {reinterpret_cast<vanity_packet*>(words.Data()) + first, count};
}

void ready(const Napi::CallbackInfo& info) {
  if (!self(info).over) self(info).shard->enter(ShardState::ready);
}
void running(const Napi::CallbackInfo& info) {
  if (!self(info).over) self(info).shard->enter(ShardState::running);
}
void draining(const Napi::CallbackInfo& info) {
  if (!self(info).over) self(info).shard->enter(ShardState::draining);
}
void flush_js(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  if (!at.over) flush(at, count_of(info, 0));
}
void wait(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  if (at.over) return;
  flush(at, count_of(info, 0));
  at.shard->wait_for_work();
}
// What now: run, anew (the program is to be left and started anew), or held, to attend to a reload.
Napi::Value obey(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const char* now = "run";
  if (!at.over) {
    flush(at, count_of(info, 0));
    at.shard->obey();
    if (at.shard->asked_to_leave()) {
      now = "anew";
    } else if (at.shard->state() == ShardState::held) {
      now = "held";
    }
  }
  return Napi::String::New(info.Env(), now);
}
void pause(const Napi::CallbackInfo& info) {
  self(info).shard->pause();
}
void wake(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const uint32_t output = count_of(info, 0);
  if (!at.over && output < at.channel_outputs) at.shard->wake(output);
}
Napi::Value receive_ports(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const Packets to = packets_of(info);
  const uint32_t got = at.over ? 0 : at.shard->receive_ports(to.data, to.count);
  at.shard->held().add(to.data, got);
  return Napi::Number::New(info.Env(), got);
}
// To a port's queue; (words, first, count, output).
Napi::Value transmit(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const Packets from = packets_of(info);
  const uint32_t output = count_of(info, 3);
  const bool port = output >= at.channel_outputs && output < at.shard->output_count();
  if (at.over || !port) return Napi::Number::New(info.Env(), 0);
  take_from_program(info, *at.shard, from.data, from.count);
  return Napi::Number::New(info.Env(), at.shard->offer(output, from.data, from.count));
}
Napi::Value allocate(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const Packets to = packets_of(info);
  if (at.over) return Napi::Number::New(info.Env(), 0);
  at.shard->take_all_returns();
  const uint32_t got = at.shard->allocate(to.data, to.count);
  at.shard->held().add(to.data, got);
  return Napi::Number::New(info.Env(), got);
}
template <void (Shard::*Give)(const vanity_packet*, uint32_t) noexcept>
void give(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const Packets from = packets_of(info);
  if (at.over) return;
  take_from_program(info, *at.shard, from.data, from.count);
  (at.shard->*Give)(from.data, from.count);
}
// What a channel had no room for. JavaScript has taken it from the program.
void refuse(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const Packets from = packets_of(info);
  if (!at.over) at.shard->refuse(from.data, from.count);
}

// Of sampled packets; (words, first, count, input or output).
void took(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const Packets from = packets_of(info);
  const uint32_t input = count_of(info, 3);
  if (at.over || input >= at.shard->input_count()) return;
  at.shard->script_took(from.data, from.count, input);
}
void gives(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const Packets from = packets_of(info);
  if (!at.over) at.shard->script_gives(from.data, from.count);
}
void gave(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const Packets from = packets_of(info);
  const uint32_t output = count_of(info, 3);
  if (!at.over && output < at.channel_outputs) {
    at.shard->script_gave(from.data, from.count, output);
  }
}
// (output, begins)
void blocked(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const uint32_t output = count_of(info, 0);
  if (!at.over && output < at.channel_outputs) {
    at.shard->script_blocked(output, info[1].ToBoolean().Value());
  }
}

Napi::Value counter(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  return guarded(info.Env(), [&]() -> Napi::Value {
    Counter* const found = at.shard->user_counter(info[0].ToString().Utf8Value());
    uint32_t i = 0;
    while (i < at.user_count && at.user[i] != found) ++i;
    if (i == at.user_count) at.user[at.user_count++] = found;
    return Napi::Number::New(info.Env(), at.ledger.user + i);
  });
}

void stopped(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  if (at.over) return;
  flush(at, count_of(info, 0));
  at.over = true;
  at.shard->stopped();
}
// (code, message, hint): drops what still comes, then ends.
void failed(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  if (at.over) return;
  flush(at, 0);
  at.over = true;
  at.shard->fail_and_drain(info[0].ToString().Utf8Value(), info[1].ToString().Utf8Value(),
                           info[2].ToString().Utf8Value());
}

// (threw, what): what the program held is dropped. False: its faults are not contained.
Napi::Value left(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  Shard& shard = *at.shard;
  const bool contained = !at.over && shard.plan().watch.on_fault != Policy::report;
  if (contained) {
    flush(at, 0);
    const FaultKind kind = info[0].ToBoolean() ? FaultKind::exception : FaultKind::asked;
    shard.script_left(kind, info[1].ToString().Utf8Value());
  }
  return Napi::Boolean::New(info.Env(), contained);
}
// What now: wait, restart or end.
Napi::Value next(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  const Shard::Next found = at.over ? Shard::Next::end : at.shard->script_next();
  const char* const names[] = {"wait", "restart", "end"};
  return Napi::String::New(info.Env(), names[static_cast<uint32_t>(found)]);
}
void restarted(const Napi::CallbackInfo& info) {
  if (!self(info).over) self(info).shard->script_restarted();
}
void ended(const Napi::CallbackInfo& info) {
  Attached& at = self(info);
  if (at.over) return;
  at.over = true;
  at.shard->script_ended();
}

// However the worker ended: terminated in an endless poll, process.exit(), out of memory.
void at_exit(void* data) {
  const std::unique_ptr<Attached> at(static_cast<Attached*>(data));
  if (at->over) return;
  Shard& shard = *at->shard;
  if (shard.control() == Control::stop_now) {
    shard.forsake("VANITY_E_STUCK", "did not stop, and was terminated: " + shard.plan().name,
                  "the poll() of its program does not return");
  } else {
    shard.forsake("VANITY_E_PROGRAM_THREW",
                  "shard " + shard.plan().name + ": its worker thread has ended",
                  "look for process.exit() in its program, or for its message above");
  }
}

// Every pointer is wrapped once in an environment, whatever leads to it.
class Wrapper {
 public:
  explicit Wrapper(Napi::Env env) : env_(env) {}
  Napi::Value operator()(void* memory, size_t bytes) {
    const auto found = seen_.find(memory);
    if (found != seen_.end()) return found->second;
    const Napi::Value made =
        Napi::ArrayBuffer::New(env_, memory, bytes, [](Napi::BasicEnv, void*) {});
    seen_.emplace(memory, made);
    return made;
  }

 private:
  const Napi::Env env_;
  std::map<void*, Napi::Value> seen_;
};

size_t ring_bytes(const Channel& ring) {
  return Channel::bytes_needed({ring.memory()->capacity, ring.memory()->element_bytes,
                                static_cast<Layout>(ring.memory()->layout)});
}

Napi::Object channel_object(Napi::Env env, Wrapper& wrap, const vanity_channel& channel) {
  Napi::Object row = Napi::Object::New(env);
  row.Set("name", channel.name);
  row.Set("memory", wrap(channel.ring.memory(), ring_bytes(channel.ring)));
  row.Set("packets", channel.record->carries_packets != 0);
  return row;
}

ShardLine& line_of(Doorbell* doorbell) {
  static_assert(offsetof(ShardLine, doorbell) == 0);
  return *reinterpret_cast<ShardLine*>(doorbell);
}

Napi::Value output_object(Napi::Env env, Wrapper& wrap, vanity_channel& channel) {
  Napi::Object row = channel_object(env, wrap, channel);
  const char* const policies[] = {"drop", "block", "program"};
  row.Set("overflow", policies[static_cast<uint8_t>(channel.overflow)]);
  row.Set("highWatermark", channel.high);
  row.Set("lowWatermark", channel.low);
  const Bell& bell = channel.bell;
  ShardLine& line = bell ? line_of(bell.line()) : channel.shard->line();
  row.Set("line", wrap(&line, sizeof(ShardLine)));
  row.Set("sleeper", wrap(channel.sleeper, sizeof(Sleeper)));
  row.Set("bellByte", bell ? static_cast<int>(bell.byte()) : -1);
  row.Set("bellBits", bell.bit());
  return row;
}

Napi::Object ledger_object(Napi::Env env, Wrapper& wrap, Ledger& ledger) {
  Napi::Object row = Napi::Object::New(env);
  row.Set("memory", wrap(ledger.words.data(), ledger.words.size() * sizeof(double)));
  row.Set("inputs", ledger.inputs);
  row.Set("outputs", ledger.outputs);
  row.Set("samples", ledger.samples);
  return row;
}

template <auto Call>
void method(Napi::Object object, const char* name, Attached* at) {
  object.Set(name, Napi::Function::New<Call>(object.Env(), name, at));
}

// attachShard(system, index): in the worker's environment, on the worker's thread.
Napi::Value attach_shard(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto at = std::make_unique<Attached>();
    const std::string name = info[0].ToString().Utf8Value();
    const uint32_t index = count_of(info, 1);
    at->system = find_system(name);
    if (at->system != nullptr) at->shard = at->system->workers().take(index);
    if (at->shard == nullptr) {
      throw Error("VANITY_E_PLAN", "no TypeScript shard " + std::to_string(index) +
                                       " of a system \"" + name + "\" waits for its thread");
    }
    System& system = *at->system;
    Shard& shard = *at->shard;
    shard.adopt_thread();
    while (shard.output(at->channel_outputs) != nullptr) ++at->channel_outputs;
    at->ledger.shape(shard.input_count(), at->channel_outputs);
    at->ticks_per_ms = static_cast<double>(ticks_per_second()) / 1000;

    Wrapper wrap(env);
    Napi::Object object = Napi::Object::New(env);
    object.Set("index", index);
    object.Set("name", shard.plan().name);
    object.Set("burst", shard.burst());
    Napi::Object options = Napi::Object::New(env);
    for (const auto& [key, value] : shard.plan().options) options.Set(key, value);
    object.Set("options", options);
    Napi::Array inputs = Napi::Array::New(env);
    for (uint32_t i = 0; i < shard.input_count(); ++i) {
      inputs.Set(i, channel_object(env, wrap, *shard.input(i)));
    }
    object.Set("inputs", inputs);
    Napi::Array outputs = Napi::Array::New(env);
    for (uint32_t i = 0; i < at->channel_outputs; ++i) {
      outputs.Set(i, output_object(env, wrap, *shard.output(i)));
    }
    object.Set("outputs", outputs);
    // By what it was given: of a shard that comes, the plan says nothing yet.
    object.Set("receivesFromPorts", shard.rx_count() != 0);
    object.Set("portOutputs", shard.tx_count());
    Napi::Array pools = Napi::Array::New(env);
    for (uint32_t pool = 0; pool < kPoolsMax; ++pool) {
      if (!shard.may_hold(pool)) continue;
      // By its record and the table: the list of pools is the kernel's, and grows.
      const PoolRecord& record = system.segment().pool(pool);
      Napi::Object row = Napi::Object::New(env);
      row.Set("index", pool);
      row.Set("strideBytes", record.stride);
      row.Set("memory", wrap(system.pool_table().buffer(pool << kPoolShift),
                             size_t{record.stride} * record.buffers));
      row.Set("bufferBytes", record.buffer_bytes);
      HeldBook& book = shard.held();
      row.Set("held", wrap(book.entries(pool), size_t{book.buffers(pool)} * sizeof(uint16_t)));
      pools.Set(pools.Length(), row);
    }
    object.Set("pools", pools);
    object.Set("devices", devices_array(env, shard, system.plan().devices, &at->over, at->devices,
                                        std::ref(wrap)));
    object.Set("line", wrap(&shard.line(), sizeof(ShardLine)));
    object.Set("command", wrap(&shard.record().command, sizeof(uint32_t)));
    object.Set("tracing", wrap(&shard.record().tracing, sizeof(uint32_t)));
    object.Set("ledger", ledger_object(env, wrap, at->ledger));

    Attached* const held = at.get();
    method<ready>(object, "ready", held);
    method<running>(object, "running", held);
    method<draining>(object, "draining", held);
    method<flush_js>(object, "flush", held);
    method<wait>(object, "wait", held);
    method<obey>(object, "obey", held);
    method<pause>(object, "pause", held);
    method<wake>(object, "wake", held);
    method<receive_ports>(object, "receivePorts", held);
    method<transmit>(object, "transmit", held);
    method<allocate>(object, "allocate", held);
    method<give<&Shard::consume>>(object, "consume", held);
    method<give<&Shard::discard>>(object, "discard", held);
    method<refuse>(object, "refuse", held);
    method<took>(object, "took", held);
    method<gives>(object, "gives", held);
    method<gave>(object, "gave", held);
    method<blocked>(object, "blocked", held);
    method<counter>(object, "counter", held);
    method<stopped>(object, "stopped", held);
    method<failed>(object, "failed", held);
    method<left>(object, "left", held);
    method<next>(object, "next", held);
    method<restarted>(object, "restarted", held);
    method<ended>(object, "ended", held);
    at->handover = {&shard, &at->over, [held](uint32_t samples) { flush(*held, samples); }};
    object.Set("handover", handover_object(env, at->handover));
    napi_add_env_cleanup_hook(env, at_exit, at.release());
    return object;
  });
}

// Where the words are that JavaScript loads and stores itself; a test holds lib/runtime/ring.ts
// against it.
Napi::Object layout(Napi::Env env) {
  Napi::Object row = Napi::Object::New(env);
  const auto set = [&](const char* name, size_t bytes) {
    row.Set(name, Napi::Number::New(env, static_cast<double>(bytes)));
  };
  using Memory = ChannelLayout<>;
  set("magic", Memory::kMagic);
  set("version", Memory::kVersion);
  set("capacity", offsetof(Memory, capacity));
  set("elementBytes", offsetof(Memory, element_bytes));
  set("slotBytes", offsetof(Memory, slot_bytes));
  set("layout", offsetof(Memory, layout));
  set("slotsOffset", offsetof(Memory, slots_offset));
  set("tail", offsetof(Memory, tail));
  set("head", offsetof(Memory, head));
  set("bell", offsetof(ShardLine, doorbell));
  set("bellIrq", offsetof(ShardLine, doorbell) + Doorbell::kControlIrq);
  set("control", offsetof(ShardLine, control));
  set("wishes", offsetof(ShardLine, wishes));
  set("packetBytes", sizeof(vanity_packet));
  set("poolShift", kPoolShift);
  set("packetShared", VANITY_PACKET_SHARED);
  set("tracePackets", kTracePackets);
  set("heldShared", HeldBook::kShared);
  set("headroomBytes", VANITY_HEADROOM_BYTES);
  set("frameOffset", VANITY_FRAME_OFFSET);
  return row;
}

// A channel by itself, so that each side of the ring in JavaScript can be held against the native
// other side: new NativeRing(capacity, elementBytes, "bulk" | "latency", firstIndex).
class NativeRing : public Napi::ObjectWrap<NativeRing> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NativeRing",
                       {InstanceMethod<&NativeRing::send>("send"),
                        InstanceMethod<&NativeRing::receive>("receive")});
  }
  explicit NativeRing(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeRing>(info) {
    const ChannelSpec spec{
        count_of(info, 0), count_of(info, 1),
        info[2].ToString().Utf8Value() == "latency" ? Layout::latency : Layout::bulk};
    if (!spec.valid()) throw Napi::RangeError::New(info.Env(), "no channel is like that");
    const size_t bytes = Channel::bytes_needed(spec);
    auto* memory = new (std::align_val_t{kIsolationBytes}) std::byte[bytes];
    ring_ = Channel::create(memory, spec, count_of(info, 3));
    producer_ = ring_.producer();
    consumer_ = ring_.consumer();
    // The view owns the memory, since it may live longer than this.
    const Napi::ArrayBuffer view =
        Napi::ArrayBuffer::New(info.Env(), memory, bytes, [](Napi::BasicEnv, void* at) {
          ::operator delete[](at, std::align_val_t{kIsolationBytes});
        });
    view_ = Napi::Persistent(view.As<Napi::Object>());
    info.This().As<Napi::Object>().Set("memory", view);
  }

 private:
  Napi::Value send(const Napi::CallbackInfo& info) {
    const auto from = info[0].As<Napi::Uint8Array>();
    const auto count = static_cast<uint32_t>(from.ByteLength() / producer_.element_bytes());
    return Napi::Number::New(info.Env(), producer_.send(from.Data(), count));
  }
  Napi::Value receive(const Napi::CallbackInfo& info) {
    auto to = info[0].As<Napi::Uint8Array>();
    const auto count = static_cast<uint32_t>(to.ByteLength() / consumer_.element_bytes());
    return Napi::Number::New(info.Env(), consumer_.receive(to.Data(), count));
  }

  Channel ring_;
  Producer producer_;
  Consumer consumer_;
  Napi::ObjectReference view_;
};

}  // namespace

void export_shard(Napi::Env env, Napi::Object exports) {
  exports.Set("attachShard", Napi::Function::New(env, attach_shard, "attachShard"));
  exports.Set("layout", layout(env));
  exports.Set("NativeRing", NativeRing::define(env));
}

}  // namespace vanity::addon
