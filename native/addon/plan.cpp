#include "addon/plan.hpp"

#include <array>
#include <charconv>
#include <initializer_list>

#include "addon/convert.hpp"

namespace vanity::addon {
namespace {

// A plan may come from a caller that did not go through the manifest. What is no whole number
// within [0, most] becomes `most`, which no limit allows.
uint64_t whole(const Napi::Object& object, const char* key, uint64_t most = uint64_t{1} << 62) {
  const double value = number(object, key);
  return value >= 0 && value < static_cast<double>(most) ? static_cast<uint64_t>(value) : most;
}

uint32_t whole32(const Napi::Object& object, const char* key) {
  return static_cast<uint32_t>(whole(object, key, UINT32_MAX));
}

// Absent is the default, for callers that know no devices.
bool has(const Napi::Object& object, const char* key) {
  return !object.Get(key).IsUndefined();
}

// -1 says none.
uint32_t index_of(const Napi::Object& object, const char* key) {
  if (number(object, key) == -1) return kNone;
  return static_cast<uint32_t>(whole(object, key, kNone - 1));
}

// The position of the word in `words`, which stand in the order of the enum.
template <class Enum>
Enum choice(const Napi::Object& object, const char* key, std::initializer_list<const char*> words) {
  const std::string word = text(object, key);
  uint8_t at = 0;
  for (const char* each : words) {
    if (word == each) return static_cast<Enum>(at);
    ++at;
  }
  throw Error("VANITY_E_PLAN", std::string(key) + ": \"" + word + "\" is none of its values");
}

// "52:54:00:12:34:56"; empty is none: all 0.
std::array<uint8_t, 6> mac_of(const Napi::Object& object, const char* key) {
  std::array<uint8_t, 6> mac{};
  const std::string word = text(object, key);
  if (word.empty()) return mac;
  bool fits = word.size() == 17;
  for (size_t i = 0; fits && i < mac.size(); ++i) {
    const char* const digits = word.data() + 3 * i;
    fits = std::from_chars(digits, digits + 2, mac[i], 16).ptr == digits + 2 &&
           (i + 1 == mac.size() || digits[2] == ':');
  }
  if (fits) return mac;
  throw Error("VANITY_E_PLAN", std::string(key) + ": \"" + word + "\" is no MAC address");
}

template <class Visit>
void each_of(const Napi::Object& object, const char* key, Visit&& visit) {
  const Napi::Value value = object.Get(key);
  if (!value.IsArray()) throw Error("VANITY_E_PLAN", std::string(key) + " is not a list");
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) visit(list.Get(i));
}

}  // namespace

WatchPlan watch_from_js(const Napi::Object& o) {
  WatchPlan watch;
  const auto policy = [&](const char* key) {
    return choice<Policy>(o, key, {"report", "restart", "hold", "stop-system"});
  };
  watch.progress_ns = whole(o, "progressNs");
  watch.service_ns = whole(o, "serviceNs");
  watch.starve_ns = whole(o, "starveNs");
  watch.on_progress = policy("onProgress");
  watch.on_service = policy("onService");
  watch.on_starve = policy("onStarve");
  watch.on_fault = choice<Policy>(o, "onFault", {"crash", "restart", "hold", "stop-system"});
  watch.backoff_ns = whole(o, "backoffNs");
  watch.max_restarts = whole32(o, "maxRestarts");
  watch.window_ns = whole(o, "windowNs");
  return watch;
}

std::map<std::string, std::string> options_from_js(const Napi::Object& o) {
  std::map<std::string, std::string> options;
  const Napi::Array keys = o.GetPropertyNames();
  for (uint32_t i = 0; i < keys.Length(); ++i) {
    const std::string key = keys.Get(i).As<Napi::String>().Utf8Value();
    options[key] = o.Get(key).ToString().Utf8Value();
  }
  return options;
}

namespace {

ShardPlan shard_from(const Napi::Object& o) {
  ShardPlan shard;
  shard.name = text(o, "name");
  shard.kind = choice<ProgramKind>(o, "programKind", {"builtin", "native", "typescript"});
  shard.program = text(o, "program");
  shard.options = options_from_js(o.Get("options").As<Napi::Object>());
  shard.core = index_of(o, "core");
  shard.wait = text(o, "wait");
  shard.strategy = choice<Strategy>(o, "strategy", {"doorbell", "rotate", "primary"});
  shard.primary = index_of(o, "primary");
  shard.burst = whole32(o, "burst");
  shard.fifo = whole32(o, "fifo");
  shard.spin_ns_max = whole(o, "spinNsMax");
  shard.sleep_ns_max = whole(o, "sleepNsMax");
  shard.arena_bytes = whole(o, "arenaBytes");
  shard.trace = flag(o, "trace");
  if (has(o, "isolation")) {
    const auto how = choice<uint32_t>(o, "isolation", {"thread", "process", "pkey"});
    shard.isolated = how == 1;
    shard.keyed = how == 2;
  }
  if (has(o, "watch")) shard.watch = watch_from_js(o.Get("watch").As<Napi::Object>());
  return shard;
}

ChannelPlan channel_from(const Napi::Object& o) {
  ChannelPlan channel;
  channel.name = text(o, "name");
  channel.from = index_of(o, "from");
  channel.to = index_of(o, "to");
  channel.capacity = whole32(o, "capacity");
  channel.element_bytes = whole32(o, "elementBytes");
  channel.packets = flag(o, "packets");
  channel.layout = choice<Layout>(o, "layout", {"bulk", "latency"});
  channel.overflow = choice<Overflow>(o, "overflow", {"drop", "block", "program"});
  channel.high_watermark = whole32(o, "highWatermark");
  channel.low_watermark = whole32(o, "lowWatermark");
  return channel;
}

PortPlan port_from(const Napi::Object& o) {
  PortPlan port;
  port.name = text(o, "name");
  port.driver = text(o, "driver");
  const auto shard = [](const Napi::Value& value) {
    return value.As<Napi::Number>().Uint32Value();
  };
  each_of(o, "rx", [&](const Napi::Value& value) { port.rx.push_back(shard(value)); });
  each_of(o, "tx", [&](const Napi::Value& value) { port.tx.push_back(shard(value)); });
  port.file = text(o, "file");
  port.write = text(o, "write");
  port.replay = choice<ReplayMode>(o, "replay", {"as-fast", "loop", "timed"});
  port.interface = text(o, "interface");
  port.fanout = text(o, "fanout");
  port.promiscuous = flag(o, "promiscuous");
  port.buffers = whole32(o, "buffers");
  port.buffer_bytes = whole32(o, "bufferBytes");
  if (has(o, "overflow")) port.overflow = choice<Overflow>(o, "overflow", {"drop", "block"});
  if (has(o, "device")) port.device = index_of(o, "device");
  if (has(o, "ring")) port.ring = whole32(o, "ring");
  if (has(o, "pollNsMax")) port.poll_ns_max = whole(o, "pollNsMax");
  if (has(o, "interrupts")) port.interrupts = flag(o, "interrupts");
  if (has(o, "packed")) port.packed = choice<PackedRings>(o, "packed", {"auto", "yes", "no"});
  if (has(o, "mac")) port.mac = mac_of(o, "mac");
  if (has(o, "socket")) port.socket = text(o, "socket");
  if (has(o, "server")) port.server = flag(o, "server");
  if (has(o, "peerUid")) port.peer_uid = index_of(o, "peerUid");
  return port;
}

DevicePlan device_from(const Napi::Object& o) {
  DevicePlan device;
  device.name = text(o, "name");
  device.address = text(o, "address");
  device.driver = text(o, "driver");
  if (has(o, "backend")) device.backend = text(o, "backend");
  device.unsafe_noiommu = flag(o, "unsafeNoiommu");
  each_of(o, "mmio", [&](const Napi::Value& value) {
    const auto one = value.As<Napi::Object>();
    device.mmio.push_back(
        {whole32(one, "bar"), whole(one, "offset"), whole(one, "bytes"), index_of(one, "shard")});
  });
  each_of(o, "irqs", [&](const Napi::Value& value) {
    const auto one = value.As<Napi::Object>();
    device.irqs.push_back({whole32(one, "vector"), index_of(one, "shard"),
                           choice<IrqTrigger>(one, "trigger", {"level", "edge", "msi", "msix"}),
                           choice<Eoi>(one, "eoi", {"immediate", "delayed"})});
  });
  each_of(o, "dma", [&](const Napi::Value& value) {
    const auto one = value.As<Napi::Object>();
    device.dma.push_back(
        {text(one, "name"), whole(one, "bytes"), whole32(one, "bits"), index_of(one, "shard")});
  });
  return device;
}

}  // namespace

std::vector<std::string> names_from_js(const Napi::Value& value) {
  std::vector<std::string> names;
  if (!value.IsArray()) throw Error("VANITY_E_PLAN", "names are not a list");
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    names.push_back(list.Get(i).ToString().Utf8Value());
  }
  return names;
}

Parts parts_from_js(const Napi::Object& o) {
  Parts parts;
  each_of(o, "shards", [&](const Napi::Value& value) {
    const auto one = value.As<Napi::Object>();
    parts.shards.push_back({shard_from(one), text(one, "primaryName")});
  });
  each_of(o, "channels", [&](const Napi::Value& value) {
    const auto one = value.As<Napi::Object>();
    parts.channels.push_back({channel_from(one), text(one, "fromName"), text(one, "toName")});
  });
  each_of(o, "ports", [&](const Napi::Value& value) {
    const auto one = value.As<Napi::Object>();
    parts.ports.push_back(
        {port_from(one), names_from_js(one.Get("rxNames")), names_from_js(one.Get("txNames"))});
  });
  const auto renames = [&o](const char* key, std::vector<Rename>& into) {
    each_of(o, key, [&into](const Napi::Value& value) {
      const auto one = value.As<Napi::Object>();
      into.push_back({text(one, "from"), text(one, "to")});
    });
  };
  renames("shardNames", parts.shard_renames);
  renames("channelNames", parts.channel_renames);
  return parts;
}

Plan plan_from_js(const Napi::Object& o) {
  Plan plan;
  plan.name = text(o, "name");
  plan.oversubscribe = flag(o, "oversubscribe");
  if (has(o, "threads")) plan.threads = whole32(o, "threads");
  plan.pages = choice<PageChoice>(o, "pages", {"auto", "1G", "2M", "transparent", "none"});
  plan.kernel_core = index_of(o, "kernelCore");
  plan.stall_ns = whole(o, "stallNs");
  plan.drain_ns = whole(o, "drainNs");
  if (has(o, "process")) plan.process = text(o, "process");
  each_of(o, "shards", [&](const Napi::Value& value) {
    plan.shards.push_back(shard_from(value.As<Napi::Object>()));
  });
  each_of(o, "channels", [&](const Napi::Value& value) {
    plan.channels.push_back(channel_from(value.As<Napi::Object>()));
  });
  each_of(o, "ports", [&](const Napi::Value& value) {
    plan.ports.push_back(port_from(value.As<Napi::Object>()));
  });
  if (has(o, "devices")) {
    each_of(o, "devices", [&](const Napi::Value& value) {
      plan.devices.push_back(device_from(value.As<Napi::Object>()));
    });
  }
  return plan;
}

}  // namespace vanity::addon
