#include "kernel/parts.hpp"

#include <algorithm>
#include <charconv>

namespace vanity {
namespace {

using Words = std::map<std::string, std::string>;

// Either writes a plan into words or reads it from them: each field is named once.
class Fields {
 public:
  Fields() = default;
  explicit Fields(Words words) : words_(std::move(words)), reads_(true) {}

  void operator()(const char* key, std::string& value) {
    if (!reads_) {
      words_[key] = value;
    } else if (const auto found = words_.find(key); found != words_.end()) {
      value = found->second;
    }
  }
  template <class Number>
  void operator()(const char* key, Number& value, uint64_t most = UINT64_MAX) {
    std::string text = std::to_string(static_cast<uint64_t>(value));
    (*this)(key, text);
    if (!reads_) return;
    uint64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    value = static_cast<Number>(std::min(number, most));
  }
  const Words& words() const { return words_; }

 private:
  Words words_;
  bool reads_ = false;
};

constexpr auto kPolicyMost = static_cast<uint64_t>(Policy::stop_system);

void each_field(Fields& field, NewShard& shard) {
  ShardPlan& plan = shard.plan;
  WatchPlan& watch = plan.watch;
  field("name", plan.name);
  field("kind", plan.kind, static_cast<uint64_t>(ProgramKind::typescript));
  field("program", plan.program);
  field("core", plan.core, kNone);
  field("wait", plan.wait);
  field("strategy", plan.strategy, static_cast<uint64_t>(Strategy::primary));
  field("primary", shard.primary);
  field("burst", plan.burst, UINT32_MAX);
  field("fifo", plan.fifo, UINT32_MAX);
  field("spin_ns_max", plan.spin_ns_max);
  field("sleep_ns_max", plan.sleep_ns_max);
  field("arena_bytes", plan.arena_bytes);
  field("trace", plan.trace, 1);
  field("isolated", plan.isolated, 1);
  field("keyed", plan.keyed, 1);
  field("progress_ns", watch.progress_ns);
  field("service_ns", watch.service_ns);
  field("starve_ns", watch.starve_ns);
  field("on_progress", watch.on_progress, kPolicyMost);
  field("on_service", watch.on_service, kPolicyMost);
  field("on_starve", watch.on_starve, kPolicyMost);
  field("on_fault", watch.on_fault, kPolicyMost);
  field("backoff_ns", watch.backoff_ns);
  field("max_restarts", watch.max_restarts, UINT32_MAX);
  field("window_ns", watch.window_ns);
}

void each_field(Fields& field, NewChannel& channel) {
  ChannelPlan& plan = channel.plan;
  field("name", plan.name);
  field("from", channel.from);
  field("to", channel.to);
  field("capacity", plan.capacity, UINT32_MAX);
  field("element_bytes", plan.element_bytes, UINT32_MAX);
  field("packets", plan.packets, 1);
  field("layout", plan.layout, static_cast<uint64_t>(Layout::latency));
  field("overflow", plan.overflow, static_cast<uint64_t>(Overflow::program));
  field("high_watermark", plan.high_watermark, UINT32_MAX);
  field("low_watermark", plan.low_watermark, UINT32_MAX);
}

void each_field(Fields& field, NewPort& port) {
  PortPlan& plan = port.plan;
  const auto names = [&field](const char* key, std::vector<std::string>& value) {
    std::string packed = pack_texts(value);
    field(key, packed);
    value = unpack_texts(packed);
  };
  field("name", plan.name);
  field("driver", plan.driver);
  names("rx", port.rx);
  names("tx", port.tx);
  field("file", plan.file);
  field("write", plan.write);
  field("replay", plan.replay, static_cast<uint64_t>(ReplayMode::timed));
  field("interface", plan.interface);
  field("fanout", plan.fanout);
  field("promiscuous", plan.promiscuous, 1);
  field("buffers", plan.buffers, UINT32_MAX);
  field("buffer_bytes", plan.buffer_bytes, UINT32_MAX);
  field("overflow", plan.overflow, static_cast<uint64_t>(Overflow::block));
}

template <class Part>
std::string written(Part part) {
  Fields fields;
  each_field(fields, part);
  return pack_options(fields.words());
}

template <class Part>
Part read(const std::string& packed) {
  Part part;
  Fields fields(unpack_options(packed));
  each_field(fields, part);
  return part;
}

}  // namespace

std::string pack_texts(const std::vector<std::string>& texts) {
  std::string packed;
  for (const std::string& text : texts) packed += std::to_string(text.size()) + ":" + text;
  return packed;
}

std::vector<std::string> unpack_texts(const std::string& packed) {
  std::vector<std::string> texts;
  const char* at = packed.data();
  const char* const end = at + packed.size();
  for (;;) {
    size_t bytes = 0;
    const auto [digits, error] = std::from_chars(at, end, bytes);
    if (error != std::errc() || digits == end || *digits != ':') return texts;
    at = digits + 1;
    if (bytes > static_cast<size_t>(end - at)) return texts;
    texts.emplace_back(at, bytes);
    at += bytes;
  }
}

std::string pack_options(const std::map<std::string, std::string>& options) {
  std::vector<std::string> texts;
  for (const auto& [key, value] : options) texts.insert(texts.end(), {key, value});
  return pack_texts(texts);
}

std::map<std::string, std::string> unpack_options(const std::string& packed) {
  const std::vector<std::string> texts = unpack_texts(packed);
  std::map<std::string, std::string> options;
  for (size_t i = 0; i + 1 < texts.size(); i += 2) options[texts[i]] = texts[i + 1];
  return options;
}

std::string pack_parts(const Parts& parts) {
  std::vector<std::string> texts;
  for (const Rename& rename : parts.shard_renames) {
    texts.insert(texts.end(), {"shard name", rename.from, rename.to});
  }
  for (const Rename& rename : parts.channel_renames) {
    texts.insert(texts.end(), {"channel name", rename.from, rename.to});
  }
  for (const NewShard& shard : parts.shards) {
    texts.insert(texts.end(), {"shard", written(shard), pack_options(shard.plan.options)});
  }
  for (const NewChannel& channel : parts.channels) {
    texts.insert(texts.end(), {"channel", written(channel), ""});
  }
  for (const NewPort& port : parts.ports) {
    texts.insert(texts.end(), {"port", written(port), ""});
  }
  for (const std::string& name : parts.shard_names) {
    texts.insert(texts.end(), {"no shard", name, ""});
  }
  for (const std::string& name : parts.channel_names) {
    texts.insert(texts.end(), {"no channel", name, ""});
  }
  return pack_texts(texts);
}

Parts unpack_parts(const std::string& packed) {
  const std::vector<std::string> texts = unpack_texts(packed);
  Parts parts;
  for (size_t i = 0; i + 2 < texts.size(); i += 3) {
    if (texts[i] == "shard name") {
      parts.shard_renames.push_back({texts[i + 1], texts[i + 2]});
    } else if (texts[i] == "channel name") {
      parts.channel_renames.push_back({texts[i + 1], texts[i + 2]});
    } else if (texts[i] == "shard") {
      parts.shards.push_back(read<NewShard>(texts[i + 1]));
      parts.shards.back().plan.options = unpack_options(texts[i + 2]);
    } else if (texts[i] == "channel") {
      parts.channels.push_back(read<NewChannel>(texts[i + 1]));
    } else if (texts[i] == "port") {
      parts.ports.push_back(read<NewPort>(texts[i + 1]));
    } else if (texts[i] == "no shard") {
      parts.shard_names.push_back(texts[i + 1]);
    } else if (texts[i] == "no channel") {
      parts.channel_names.push_back(texts[i + 1]);
    }
  }
  return parts;
}

}  // namespace vanity
