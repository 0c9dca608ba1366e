// What the host offers: wait backends, counter descriptions, left-overs, other processes' segments.
#include "addon/host.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "addon/convert.hpp"
#include "addon/plan.hpp"
#include "kernel/command.hpp"
#include "kernel/mailbox.hpp"
#include "kernel/segment.hpp"
#include "platform/detect.hpp"
#include "platform/pkey.hpp"
#include "vanity/events.hpp"
#include "vanity/platform.hpp"

namespace vanity::addon {
namespace {

const char* type_name(FieldType type) {
  switch (type) {
    case FieldType::counter:
      return "counter";
    case FieldType::gauge:
      return "gauge";
    case FieldType::number:
      return "number";
    case FieldType::state:
      return "state";
    case FieldType::label:
      return "label";
    case FieldType::histogram:
      return "histogram";
    case FieldType::dynamic:
      return "dynamic";
    case FieldType::ring:
      return "ring";
    case FieldType::text:
      return "text";
  }
  return "unknown";
}

Napi::Value wait_backends(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    Napi::Array list = Napi::Array::New(env);
    for (const BackendReport& report : probe_backends()) {
      Napi::Object row = Napi::Object::New(env);
      row.Set("name", backend_name(report.backend));
      row.Set("usable", report.usable);
      row.Set("reason", report.reason);
      row.Set("waitsPerWake", report.waits_per_wake);
      list.Set(list.Length(), row);
    }
    return list;
  });
}

// What platform_init found; forced to "no" under ThreadSanitizer.
Napi::Value membarrier(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(),
                            !detail::light_fence_is_full.load(std::memory_order_relaxed));
}

Napi::Value protection_keys(const Napi::CallbackInfo& info) {
  const KeySupport& support = key_support();
  Napi::Object report = Napi::Object::New(info.Env());
  report.Set("usable", support.usable);
  report.Set("reason", support.reason);
  return report;
}

Napi::Value fields(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array list = Napi::Array::New(env);
  for (const FieldTable& table : field_tables()) {
    for (const Field& field : *table.fields) {
      Napi::Object row = Napi::Object::New(env);
      row.Set("table", table.name);
      row.Set("name", field.name);
      row.Set("unit", field.unit);
      row.Set("type", type_name(field.type));
      row.Set("text", field.text);
      list.Set(list.Length(), row);
    }
  }
  return list;
}

Napi::Value sweep(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    Napi::Array list = Napi::Array::New(env);
    for (const std::string& path : sweep_leftovers()) list.Set(list.Length(), path);
    return list;
  });
}

Napi::Value runtime_directory_js(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), runtime_directory());
}

// Read-only: a write through the ArrayBuffer would fault, so telemetry only ever reads it.
Napi::Value open_segment(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const std::string path = info[0].As<Napi::String>().Utf8Value();
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw system_error("VANITY_E_SEGMENT", "cannot open " + path, errno);
    struct stat status {};
    if (fstat(fd, &status) != 0 || status.st_size < static_cast<off_t>(kSegmentHeaderBytes)) {
      close(fd);
      throw Error("VANITY_E_SEGMENT", path + " is too short to be a segment");
    }
    const auto bytes = static_cast<size_t>(status.st_size);
    void* at = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
    const int saved = errno;
    close(fd);
    if (at == MAP_FAILED) throw system_error("VANITY_E_SEGMENT", "cannot map " + path, saved);
    return Napi::ArrayBuffer::New(env, at, bytes,
                                  [bytes](Napi::BasicEnv, void* mapped) { munmap(mapped, bytes); });
  });
}

// commandShard(path, shard, command, steps): writes to the segment of another process.
Napi::Value command_shard_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const std::string wanted = info[2].As<Napi::String>().Utf8Value();
    command_shard(info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::Number>().Uint32Value(),
                  wanted == "hold"      ? Command::hold
                  : wanted == "restart" ? Command::restart
                                        : Command::run,
                  static_cast<uint64_t>(info[3].As<Napi::Number>().Int64Value()));
    return env.Undefined();
  });
}

// traceShard(path, shard, on): the same.
Napi::Value trace_shard_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    trace_shard(info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::Number>().Uint32Value(),
                info[2].ToBoolean().Value());
    return env.Undefined();
  });
}

// samplePackets(path, shard, every): the same.
Napi::Value sample_packets_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    sample_packets(info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::Number>().Uint32Value(),
                   info[2].As<Napi::Number>().Uint32Value());
    return env.Undefined();
  });
}

// copyEvents(segment, written, ring, slots, from): the events of a ring whose count and slots lie
// at these offsets, from number `from` on, four words each.
Napi::Value copy_events_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto segment = info[0].As<Napi::ArrayBuffer>();
  const auto offset = [&info](size_t argument) {
    return static_cast<uint64_t>(info[argument].As<Napi::Number>().Int64Value());
  };
  const uint64_t written = offset(1);
  const uint64_t ring = offset(2);
  const uint64_t slots = offset(3);
  const uint64_t bytes = segment.ByteLength();
  if (written % 8 != 0 || ring % 8 != 0 || slots == 0 || slots > UINT16_MAX || bytes < 8 ||
      written > bytes - 8 || ring > bytes || slots * sizeof(EventSlot) > bytes - ring) {
    throw Napi::RangeError::New(env, "copyEvents: no ring there");
  }
  const auto* base = static_cast<const uint8_t*>(segment.Data());
  Napi::ArrayBuffer words = Napi::ArrayBuffer::New(env, slots * sizeof(EventSlot));
  const CopiedEvents copied =
      copy_events(*reinterpret_cast<const Counter*>(base + written),
                  reinterpret_cast<const EventSlot*>(base + ring), static_cast<uint32_t>(slots),
                  offset(4), static_cast<uint64_t*>(words.Data()));
  Napi::Object result = Napi::Object::New(env);
  result.Set("first", static_cast<double>(copied.first));
  result.Set("count", static_cast<double>(copied.count));
  result.Set("words", words);
  return result;
}

// askReload(path, { shard, program, drain, dryRun, bursts, options?, watch?, kernel?, core?,
// manifest? }):
// the number of the request.
Napi::Value ask_reload_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto asked = info[1].As<Napi::Object>();
    ReloadRequest request;
    request.shard = static_cast<uint32_t>(number(asked, "shard"));
    request.path = text(asked, "program");
    request.drain = flag(asked, "drain");
    request.dry_run = flag(asked, "dryRun");
    request.trial_bursts = static_cast<uint32_t>(number(asked, "bursts"));
    const auto has = [&asked](const char* key) { return asked.Get(key).IsObject(); };
    const auto part = [&asked](const char* key) { return asked.Get(key).As<Napi::Object>(); };
    if (has("options")) request.options = options_from_js(part("options"));
    if (has("watch")) request.watch = watch_from_js(part("watch"));
    if (has("kernel")) {
      const Napi::Object kernel = part("kernel");
      request.figures = KernelFigures{static_cast<uint64_t>(number(kernel, "stallNs")),
                                      static_cast<uint64_t>(number(kernel, "drainNs"))};
    }
    if (asked.Get("core").IsNumber()) {
      const double core = number(asked, "core");
      request.core = core < 0 ? kNone : static_cast<uint32_t>(core);
    }
    if (asked.Get("ends").IsArray()) request.ends = names_from_js(asked.Get("ends"));
    if (has("grow")) {
      request.job = Job::grow;
      request.parts = parts_from_js(part("grow"));
    }
    for (const auto& [key, job] : {std::pair{"end", Job::end}, {"free", Job::free}}) {
      if (!has(key)) continue;
      request.job = job;
      request.parts.shard_names = names_from_js(part(key).Get("shards"));
      request.parts.channel_names = names_from_js(part(key).Get("channels"));
    }
    NewManifest manifest;
    if (has("manifest")) {
      manifest.generation = static_cast<uint64_t>(number(part("manifest"), "generation"));
      manifest.text = text(part("manifest"), "text");
    }
    const uint64_t serial = ask_reload(info[0].As<Napi::String>().Utf8Value(), request,
                                       has("manifest") ? &manifest : nullptr);
    return Napi::Number::New(env, static_cast<double>(serial));
  });
}

// claimSystem(path): the descriptor by which nobody else changes that system; -1: somebody does.
Napi::Value claim_system_js(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    return Napi::Number::New(env, claim_system(info[0].As<Napi::String>().Utf8Value()));
  });
}

// The descriptor of a file that this process has locked from here on, until it closes it or ends;
// -1 when somebody else has.
Napi::Value try_lock(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const std::string path = info[0].As<Napi::String>().Utf8Value();
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) throw system_error("VANITY_E_LOCK", "cannot open " + path, errno);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return Napi::Number::New(env, fd);
    const int failed = errno;
    close(fd);
    if (failed != EWOULDBLOCK) throw system_error("VANITY_E_LOCK", "cannot lock " + path, failed);
    return Napi::Number::New(env, -1);
  });
}

}  // namespace

void export_host(Napi::Env env, Napi::Object exports) {
  exports.Set("waitBackends", Napi::Function::New(env, wait_backends, "waitBackends"));
  exports.Set("protectionKeys", Napi::Function::New(env, protection_keys, "protectionKeys"));
  exports.Set("membarrier", Napi::Function::New(env, membarrier, "membarrier"));
  exports.Set("fields", Napi::Function::New(env, fields, "fields"));
  exports.Set("sweep", Napi::Function::New(env, sweep, "sweep"));
  exports.Set("runtimeDirectory",
              Napi::Function::New(env, runtime_directory_js, "runtimeDirectory"));
  exports.Set("tryLock", Napi::Function::New(env, try_lock, "tryLock"));
  exports.Set("commandShard", Napi::Function::New(env, command_shard_js, "commandShard"));
  exports.Set("traceShard", Napi::Function::New(env, trace_shard_js, "traceShard"));
  exports.Set("samplePackets", Napi::Function::New(env, sample_packets_js, "samplePackets"));
  exports.Set("copyEvents", Napi::Function::New(env, copy_events_js, "copyEvents"));
  exports.Set("askReload", Napi::Function::New(env, ask_reload_js, "askReload"));
  exports.Set("claimSystem", Napi::Function::New(env, claim_system_js, "claimSystem"));
  exports.Set("openSegment", Napi::Function::New(env, open_segment, "openSegment"));
}

}  // namespace vanity::addon
