#include "sim/system/plan.hpp"

#include <initializer_list>
#include <sstream>

#include "platform/error.hpp"

namespace vanity::sim {
namespace {

// The words of a line. What is missing or no number ends the reading.
class Words {
 public:
  explicit Words(const std::string& line) : line_(line), words_(line) {}

  std::string word() {
    std::string text;
    if (!(words_ >> text)) refuse();
    return text;
  }
  uint64_t number() {
    uint64_t value = 0;
    if (!(words_ >> value)) refuse();
    return value;
  }
  int64_t integer() {
    int64_t value = 0;
    if (!(words_ >> value)) refuse();
    return value;
  }
  uint32_t number32() { return static_cast<uint32_t>(number()); }
  uint32_t index() {
    const std::string text = word();
    if (text == "-") return kNone;
    std::istringstream digits(text);
    uint32_t value = 0;
    if (!(digits >> value)) refuse();
    return value;
  }
  // The position of the word in `names`, which stand in the order of the enum.
  template <class Enum>
  Enum choice(std::initializer_list<const char*> names) {
    const std::string text = word();
    uint8_t at = 0;
    for (const char* name : names) {
      if (text == name) return static_cast<Enum>(at);
      ++at;
    }
    refuse();
  }
  std::string rest() {
    std::string text;
    std::getline(words_ >> std::ws, text);
    return text;
  }
  bool more() { return !(words_ >> std::ws).eof(); }
  [[noreturn]] void refuse() const {
    throw Error("VANITY_E_PLAN", "a line of the system cannot be read: " + line_);
  }

 private:
  const std::string& line_;
  std::istringstream words_;
};

ShardPlan shard_of(Words& words) {
  ShardPlan shard;
  shard.name = words.word();
  shard.kind = words.choice<ProgramKind>({"builtin", "native", "typescript"});
  shard.strategy = words.choice<Strategy>({"doorbell", "rotate", "primary"});
  shard.primary = words.index();
  shard.wait = words.word();
  shard.burst = words.number32();
  shard.spin_ns_max = words.number();
  shard.sleep_ns_max = words.number();
  shard.program = words.rest();
  return shard;
}

ChannelPlan channel_of(Words& words) {
  ChannelPlan channel;
  channel.name = words.word();
  channel.from = words.number32();
  channel.to = words.number32();
  channel.capacity = words.number32();
  channel.element_bytes = words.number32();
  channel.packets = words.number() != 0;
  channel.layout = words.choice<Layout>({"bulk", "latency"});
  channel.overflow = words.choice<Overflow>({"drop", "block", "program"});
  channel.high_watermark = words.number32();
  channel.low_watermark = words.number32();
  return channel;
}

PortPlan port_of(Words& words) {
  PortPlan port;
  port.name = words.word();
  port.driver = "simulated";
  port.overflow = words.choice<Overflow>({"drop", "block"});
  port.buffers = words.number32();
  port.buffer_bytes = words.number32();
  for (uint32_t queues = words.number32(); queues != 0; --queues)
    port.rx.push_back(words.number32());
  for (uint32_t queues = words.number32(); queues != 0; --queues)
    port.tx.push_back(words.number32());
  return port;
}

Claim claim_of(Words& words, size_t shards) {
  Claim claim;
  claim.relation = words.word();
  claim.constant = words.integer();
  for (uint32_t terms = words.number32(); terms != 0; --terms) {
    Claim::Term& term = claim.terms.emplace_back();
    term.factor = words.integer();
    term.shard = words.number32();
    term.counter = words.word();
    if (term.shard >= shards) words.refuse();
  }
  claim.text = words.rest();
  return claim;
}

}  // namespace

SystemText read_system(const std::string& text) {
  SystemText system;
  Plan& plan = system.plan;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    Words words(line);
    const std::string kind = words.word();
    if (kind == "name") {
      plan.name = words.word();
    } else if (kind == "arrivals") {
      system.arrivals = words.number32();
    } else if (kind == "drain_ns") {
      plan.drain_ns = words.number();
    } else if (kind == "shard") {
      plan.shards.push_back(shard_of(words));
    } else if (kind == "option" && !plan.shards.empty()) {
      const std::string key = words.word();
      plan.shards.back().options[key] = words.rest();
    } else if (kind == "arena" && !plan.shards.empty()) {
      plan.shards.back().arena_bytes = words.number();
    } else if (kind == "channel") {
      plan.channels.push_back(channel_of(words));
    } else if (kind == "claim") {
      system.claims.push_back(claim_of(words, plan.shards.size()));
    } else if (kind == "port") {
      plan.ports.push_back(port_of(words));
    } else {
      words.refuse();
    }
    if (words.more()) words.refuse();
  }
  if (plan.name.empty() || plan.shards.empty()) {
    throw Error("VANITY_E_PLAN", "the system has no name or no shards");
  }
  return system;
}

}  // namespace vanity::sim
