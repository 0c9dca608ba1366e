// Shards, channels, ports and pools keep their places while others come and go: a place whose part
// has no name is free.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "shard/plan.hpp"

namespace vanity {

// The first place whose part has no name, or one behind the last.
template <class Part>
uint32_t free_place(const std::vector<Part>& parts) {
  uint32_t at = 0;
  while (at < parts.size() && !parts[at].name.empty()) ++at;
  return at;
}

template <class Part>
void put(std::vector<Part>& parts, uint32_t at, Part part) {
  if (at == parts.size()) {
    parts.push_back(std::move(part));
  } else {
    parts[at] = std::move(part);
  }
}

template <class Part>
uint32_t named(const std::vector<Part>& parts, const std::string& name) {
  for (uint32_t i = 0; i < parts.size(); ++i) {
    if (!name.empty() && parts[i].name == name) return i;
  }
  return kNone;
}

}  // namespace vanity
