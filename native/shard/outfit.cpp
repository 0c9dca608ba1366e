#include "shard/outfit.hpp"

#include <cstring>
#include <type_traits>

#include "platform/error.hpp"
#include "shard/ledger.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

// Each member once, for both directions.
class Writer {
 public:
  template <class T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void operator()(T& value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof(value)); }
  void operator()(std::string& text) {
    size(text.size());
    bytes.append(text);
  }
  void operator()(std::map<std::string, std::string>& all) {
    size(all.size());
    for (const auto& [key, value] : all) {
      std::string copy = key;
      (*this)(copy);
      copy = value;
      (*this)(copy);
    }
  }
  template <class T>
  void list(std::vector<T>& all) {
    size(all.size());
  }
  std::string bytes;

 private:
  void size(uint64_t n) { (*this)(n); }
};

class Reader {
 public:
  explicit Reader(const std::string& from) : bytes(from) {}
  template <class T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void operator()(T& value) { std::memcpy(&value, take(sizeof(value)), sizeof(value)); }
  void operator()(std::string& text) {
    const uint64_t n = size();
    text.assign(take(n), n);
  }
  void operator()(std::map<std::string, std::string>& all) {
    for (uint64_t n = size(); n != 0; --n) {
      std::string key;
      (*this)(key);
      (*this)(all[key]);
    }
  }
  template <class T>
  void list(std::vector<T>& all) {
    const uint64_t n = size();
    if (n > bytes.size()) refuse();
    all.resize(n);
  }

 private:
  [[noreturn]] static void refuse() {
    throw Error("VANITY_E_PROCESS", "what a shard's process was given is not of this build",
                "build both anew: npm run build:native");
  }
  const char* take(uint64_t n) {
    if (n > bytes.size() - at_) refuse();
    const char* const from = bytes.data() + at_;
    at_ += n;
    return from;
  }
  uint64_t size() {
    uint64_t n = 0;
    (*this)(n);
    return n;
  }

  const std::string& bytes;
  size_t at_ = 0;
};

template <class Each>
void visit(Each& each, Spot& place) {
  each(place.block);
  each(place.offset);
}

template <class Each>
void visit(Each& each, ShardPlan& plan) {
  each(plan.name);
  each(plan.kind);
  each(plan.program);
  each(plan.options);
  each(plan.core);
  each(plan.wait);
  each(plan.strategy);
  each(plan.primary);
  each(plan.burst);
  each(plan.fifo);
  each(plan.spin_ns_max);
  each(plan.sleep_ns_max);
  each(plan.arena_bytes);
  each(plan.trace);
  each(plan.isolated);
}

template <class Each>
void visit(Each& each, OutfitChannel& channel) {
  each(channel.plan.name);
  each(channel.plan.packets);
  each(channel.plan.overflow);
  each(channel.plan.high_watermark);
  each(channel.plan.low_watermark);
  each(channel.index);
  each(channel.input);
  visit(each, channel.record);
  visit(each, channel.ring);
  visit(each, channel.line);
  each(channel.rings);
  each(channel.byte);
  each(channel.inputs);
}

template <class Each>
void visit(Each& each, OutfitPool& pool) {
  each(pool.index);
  each(pool.buffers);
  each(pool.buffer_bytes);
  each(pool.stride);
  visit(each, pool.memory);
  visit(each, pool.references);
  visit(each, pool.home);
  visit(each, pool.entries);
}

template <class Each>
void visit(Each& each, OutfitDevice& device) {
  each(device.name);
  each(device.file);
  visit(each, device.record);
  visit(each, device.words);
  each.list(device.registers);
  for (OutfitRegisters& registers : device.registers) {
    each(registers.bar);
    each(registers.offset);
    each(registers.bytes);
    each(registers.at);
  }
  each.list(device.memory);
  for (OutfitMemory& memory : device.memory) {
    each(memory.name);
    visit(each, memory.data);
    each(memory.bytes);
    each.list(memory.pages);
    for (uint64_t& page : memory.pages) each(page);
    each(memory.shift);
  }
  each.list(device.vectors);
  for (OutfitVector& vector : device.vectors) {
    each(vector.number);
    visit(each, vector.record);
    visit(each, vector.words);
    each(vector.unmask);
  }
}

template <class Each>
void visit(Each& each, Outfit& outfit) {
  visit(each, outfit.plan);
  each(outfit.index);
  each(outfit.parent);
  each(outfit.node);
  each(outfit.pages);
  each(outfit.oversubscribed);
  each.list(outfit.blocks);
  for (uint64_t& bytes : outfit.blocks) each(bytes);
  each(outfit.files);
  visit(each, outfit.record);
  visit(each, outfit.events);
  visit(each, outfit.line);
  visit(each, outfit.report);
  visit(each, outfit.journal);
  each.list(outfit.channels);
  for (OutfitChannel& channel : outfit.channels) visit(each, channel);
  each.list(outfit.pools);
  for (OutfitPool& pool : outfit.pools) visit(each, pool);
  each.list(outfit.devices);
  for (OutfitDevice& device : outfit.devices) visit(each, device);
}

// Of the version, and of what both sides see in the same memory.
std::string build() {
  std::string text = "vanity " VANITY_VERSION;
  for (const size_t bytes :
       {sizeof(SegmentHeader), sizeof(ShardRecord), sizeof(ChannelRecord), sizeof(EventsRecord),
        sizeof(ShardLine), sizeof(ProcessReport), sizeof(Journal), sizeof(DeviceRecord),
        sizeof(VectorRecord), sizeof(GrantWords), sizeof(IrqWords)}) {
    text += ' ';
    text += std::to_string(bytes);
  }
  return text;
}

}  // namespace

std::string outfit_to_bytes(const Outfit& outfit) {
  Writer writer;
  std::string from = build();
  Outfit copy = outfit;
  writer(from);
  visit(writer, copy);
  return writer.bytes;
}

Outfit outfit_from_bytes(const std::string& bytes) {
  Reader reader(bytes);
  std::string from;
  reader(from);
  if (from != build()) {
    throw Error("VANITY_E_PROCESS", "a shard's process is of another build than the addon",
                "build both anew: npm run build:native");
  }
  Outfit outfit;
  visit(reader, outfit);
  return outfit;
}

}  // namespace vanity
