#include "addon/handover.hpp"

#include <algorithm>
#include <string>

#include "platform/clock.hpp"
#include "shard/handover.hpp"

namespace vanity::addon {
namespace {

HandoverCalls& self(const Napi::CallbackInfo& info) {
  return *static_cast<HandoverCalls*>(info.Data());
}

// Null when it was concluded meanwhile, or the shard has ended.
Handover* current(const HandoverCalls& calls) {
  return *calls.over ? nullptr : calls.shard->script_handover();
}

std::string text(const Napi::Object& from, const char* key) {
  return from.Get(key).ToString().Utf8Value();
}

void say(ScriptSide& script, const Napi::Object& failure) {
  script.code = text(failure, "code");
  script.message = text(failure, "message");
  script.hint = text(failure, "hint");
}

// (samples): what it is to do now.
Napi::Value attend(const Napi::CallbackInfo& info) {
  HandoverCalls& calls = self(info);
  const char* const names[] = {"none", "prepare", "change", "judge", "undo", "forget"};
  auto order = Shard::Order::none;
  calls.since = now_ticks();
  if (!*calls.over) {
    calls.flush(info[0].As<Napi::Number>().Uint32Value());
    order = calls.shard->script_attend(calls.since);
  }
  return Napi::String::New(info.Env(), names[static_cast<uint32_t>(order)]);
}

Napi::Value request(const Napi::CallbackInfo& info) {
  Napi::Object row = Napi::Object::New(info.Env());
  const Handover* const handover = current(self(info));
  if (handover == nullptr) return info.Env().Undefined();
  row.Set("program", handover->script.path);
  row.Set("bursts", handover->trial_bursts);
  Napi::Object options = Napi::Object::New(info.Env());
  for (const auto& [key, value] : handover->place->options) options.Set(key, value);
  row.Set("options", options);
  return row;
}

// (found): how the two compare, and what it took to load the new one.
void prepared(const Napi::CallbackInfo& info) {
  HandoverCalls& calls = self(info);
  Handover* const handover = current(calls);
  // Too late: nobody waits for it any more, and it is the control path's to read.
  if (handover == nullptr || !calls.shard->script_prepares()) return;
  const auto found = info[0].As<Napi::Object>();
  ScriptSide& script = handover->script;
  script.old_name = text(found, "from");
  script.new_name = text(found, "to");
  script.difference = text(found, "difference");
  bool lossless = false;
  script.old_hash = found.Get("fromHash").As<Napi::BigInt>().Uint64Value(&lossless);
  script.new_hash = found.Get("toHash").As<Napi::BigInt>().Uint64Value(&lossless);
  script.stood_ns = static_cast<uint64_t>(found.Get("stoodMs").ToNumber().DoubleValue() * 1e6);
  handover->migrates = found.Get("migrates").ToBoolean();
  const Napi::Value failure = found.Get("failure");
  if (failure.IsObject()) {
    say(script, failure.As<Napi::Object>());
    calls.shard->script_refused(Unkept::told);
  } else {
    calls.shard->script_prepared();
  }
}

// (failure): the old one goes on, which never stopped for it.
void refused(const Napi::CallbackInfo& info) {
  HandoverCalls& calls = self(info);
  Handover* const handover = current(calls);
  if (handover == nullptr) return;
  say(handover->script, info[0].As<Napi::Object>());
  calls.shard->script_refused(Unkept::told);
}

// (bytes of the state)
void switched(const Napi::CallbackInfo& info) {
  HandoverCalls& calls = self(info);
  Handover* const handover = current(calls);
  if (handover == nullptr) return;
  handover->script.state_bytes = info[0].As<Napi::Number>().Uint32Value();
  calls.shard->script_switched(calls.since);
}

// (full): true when the trial is over.
Napi::Value well(const Napi::CallbackInfo& info) {
  HandoverCalls& calls = self(info);
  const bool over =
      current(calls) != nullptr && calls.shard->script_well(info[0].ToBoolean().Value());
  return Napi::Boolean::New(info.Env(), over);
}

// (received, count, failure or undefined): how many packets come again.
Napi::Value undone(const Napi::CallbackInfo& info) {
  HandoverCalls& calls = self(info);
  Handover* const handover = current(calls);
  if (handover == nullptr) return Napi::Number::New(info.Env(), 0);
  calls.flush(0);
  const bool told = info[2].IsObject();
  if (told) say(handover->script, info[2].As<Napi::Object>());
  const auto* const received =
      reinterpret_cast<const vanity_packet*>(info[0].As<Napi::Uint32Array>().Data());
  const uint32_t again = calls.shard->script_undone(told ? Unkept::told : Unkept::wished, received,
                                                    info[1].As<Napi::Number>().Uint32Value());
  return Napi::Number::New(info.Env(), again);
}

// (words, count): what comes again.
Napi::Value again(const Napi::CallbackInfo& info) {
  HandoverCalls& calls = self(info);
  auto words = info[0].As<Napi::Uint32Array>();
  const auto room = static_cast<uint32_t>(words.ElementLength() / (sizeof(vanity_packet) / 4));
  const uint32_t n = std::min(room, info[1].As<Napi::Number>().Uint32Value());
  const uint32_t got =
      *calls.over ? 0
                  : calls.shard->script_again(reinterpret_cast<vanity_packet*>(words.Data()), n);
  return Napi::Number::New(info.Env(), got);
}

template <auto Call>
void method(Napi::Object object, const char* name, HandoverCalls& calls) {
  object.Set(name, Napi::Function::New<Call>(object.Env(), name, &calls));
}

}  // namespace

Napi::Object handover_object(Napi::Env env, HandoverCalls& calls) {
  Napi::Object object = Napi::Object::New(env);
  method<attend>(object, "attend", calls);
  method<request>(object, "request", calls);
  method<prepared>(object, "prepared", calls);
  method<refused>(object, "refused", calls);
  method<switched>(object, "switched", calls);
  method<well>(object, "well", calls);
  method<undone>(object, "undone", calls);
  method<again>(object, "again", calls);
  return object;
}

}  // namespace vanity::addon
