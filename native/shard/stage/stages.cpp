#include "shard/stage/stages.hpp"

#include <cerrno>
#include <cstdlib>

#include "platform/error.hpp"

namespace vanity {
namespace {

struct Entry {
  const char* name;
  std::unique_ptr<Program> (*make)(const ShardPlan&);
};

// lib/manifest names the same set; the manifest's own check comes first, this one is for callers
// of the native core.
constexpr Entry kStages[] = {
    {"port-rx", stage::make_forward},   {"port-tx", stage::make_forward},
    {"forward", stage::make_forward},   {"flow-split", stage::make_flow_split},
    {"filter", stage::make_filter},     {"count", stage::make_count},
    {"mirror", stage::make_mirror},     {"sink", stage::make_sink},
    {"generate", stage::make_generate},
};

}  // namespace

std::unique_ptr<Program> make_stage(const ShardPlan& plan) {
  for (const Entry& entry : kStages) {
    if (plan.program == entry.name) return entry.make(plan);
  }
  throw Error("VANITY_E_PROGRAM",
              "shard " + plan.name + ": no built-in program is called \"" + plan.program + "\"");
}

uint64_t option_number(const std::map<std::string, std::string>& options, const std::string& key,
                       uint64_t otherwise, uint64_t min, uint64_t max) {
  const auto found = options.find(key);
  if (found == options.end()) return otherwise;
  const std::string& text = found->second;
  char* end = nullptr;
  errno = 0;
  const uint64_t value = std::strtoull(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || errno != 0 || text[0] == '-' || value < min || value > max) {
    throw Error("VANITY_E_OPTION", "option " + key + " = \"" + text + "\": expected " +
                                       std::to_string(min) + " to " + std::to_string(max));
  }
  return value;
}

}  // namespace vanity
