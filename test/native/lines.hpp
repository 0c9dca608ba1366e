// Systems whose shards stand in a line, what they said, and their end.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "kernel/system.hpp"
#include "runtime_folder.hpp"
#include "soon.hpp"

namespace vanity {

inline ShardPlan stage(const std::string& name, const std::string& program,
                       std::map<std::string, std::string> options = {}) {
  ShardPlan plan;
  plan.name = name;
  plan.program = program;
  plan.options = std::move(options);
  return plan;
}

// The channel that leads to a shard is named "to-" and its name.
inline Plan line(const std::string& name, std::vector<ShardPlan> shards,
                 Overflow overflow = Overflow::block) {
  runtime_folder();
  Plan plan;
  plan.name = name;
  plan.oversubscribe = true;
  plan.shards = std::move(shards);
  for (uint32_t s = 1; s < plan.shards.size(); ++s) {
    ChannelPlan channel;
    channel.name = "to-" + plan.shards[s].name;
    channel.from = s - 1;
    channel.to = s;
    channel.overflow = overflow;
    plan.channels.push_back(channel);
  }
  return plan;
}

inline std::string said(System& system) {
  std::string text;
  for (const Failure& each : system.warnings()) text += each.code + " " + each.message + "\n";
  for (const Failure& each : system.failures()) text += each.code + " " + each.message + "\n";
  return text;
}

inline void expect_said(System& system, const std::string& what) {
  if (said(system).find(what) != std::string::npos) return;
  check::fail(__FILE__, __LINE__, "not said: " + what + "\n" + said(system));
}

inline void stop(System& system, SystemState wanted = SystemState::stopped) {
  system.stop(false);
  if (!soon([&] {
        return system.state() == SystemState::stopped || system.state() == SystemState::failed;
      })) {
    check::fail(__FILE__, __LINE__, "does not stop: " + said(system));
  }
  if (system.state() != wanted) check::fail(__FILE__, __LINE__, "ended otherwise: " + said(system));
}

}  // namespace vanity
