#include "shard/state.hpp"

#include <cstring>

#include "vanity/limits.hpp"

namespace vanity {
namespace {

struct Type {
  const char* name;
  uint32_t bytes;
};
// In the order of vanity_type.
constexpr Type kTypes[] = {{"bytes", 1}, {"u8", 1},  {"u16", 2}, {"u32", 4}, {"u64", 8}, {"i8", 1},
                           {"i16", 2},   {"i32", 4}, {"i64", 8}, {"f32", 4}, {"f64", 8}};

uint32_t stride_of(const vanity_field& field) {
  return field.stride != 0 ? field.stride : kTypes[field.type].bytes;
}

// "u64 at 8", "u32[1024] at 16, every 24"
std::string text_of(const vanity_field& field) {
  std::string text = kTypes[field.type].name;
  if (field.count != 1) text.append("[").append(std::to_string(field.count)).append("]");
  text.append(" at ").append(std::to_string(field.offset));
  if (field.count != 1 && stride_of(field) != kTypes[field.type].bytes) {
    text.append(", every ").append(std::to_string(field.stride));
  }
  return text;
}

bool same(const vanity_field& a, const vanity_field& b) {
  return a.type == b.type && a.offset == b.offset && a.count == b.count &&
         (a.count == 1 || stride_of(a) == stride_of(b));
}

const vanity_field* find(const vanity_state& state, const char* name) {
  for (uint32_t i = 0; i < state.field_count; ++i) {
    if (std::strcmp(state.fields[i].name, name) == 0) return &state.fields[i];
  }
  return nullptr;
}

// FNV-1a.
struct Hash {
  uint64_t value = 14695981039346656037u;
  void add(const void* data, size_t bytes) {
    const auto* at = static_cast<const uint8_t*>(data);
    for (size_t i = 0; i < bytes; ++i) value = (value ^ at[i]) * 1099511628211u;
  }
  void add(uint64_t number) { add(&number, sizeof(number)); }
};

std::string problem_of(const vanity_state& state, uint32_t index) {
  const vanity_field& field = state.fields[index];
  if (field.name == nullptr || *field.name == '\0' ||
      std::strlen(field.name) > limits::kNameBytes) {
    return "field " + std::to_string(index) + " has no name of 1 to " +
           std::to_string(limits::kNameBytes) + " bytes";
  }
  const std::string name = "field " + std::string(field.name);
  if (field.type >= std::size(kTypes)) return name + " has no known type";
  if (field.count == 0) return name + " has no elements";
  if (stride_of(field) < kTypes[field.type].bytes) return name + " has elements that overlap";
  const uint64_t end =
      field.offset + uint64_t{field.count - 1} * stride_of(field) + kTypes[field.type].bytes;
  if (end > state.bytes) {
    return name + " ends at " + std::to_string(end) + ", behind the " +
           std::to_string(state.bytes) + " bytes of the state";
  }
  if (find(state, field.name) != &field) return "two fields are named " + std::string(field.name);
  return {};
}

}  // namespace

std::string state_problem(const vanity_state& state) {
  if (state.bytes > limits::kStateBytes) {
    return "it has " + std::to_string(state.bytes) + " bytes, at most " +
           std::to_string(limits::kStateBytes) + " are possible";
  }
  if (state.field_count > limits::kStateFields) {
    return "it has " + std::to_string(state.field_count) + " fields, at most " +
           std::to_string(limits::kStateFields) + " are possible";
  }
  if (state.field_count == 0 || state.fields == nullptr) return "it has no fields";
  for (uint32_t i = 0; i < state.field_count; ++i) {
    std::string problem = problem_of(state, i);
    if (!problem.empty()) return problem;
  }
  return {};
}

uint64_t state_hash(const vanity_state* state) {
  if (state == nullptr) return 0;
  Hash hash;
  hash.add(state->version);
  hash.add(state->bytes);
  for (uint32_t i = 0; i < state->field_count; ++i) {
    const vanity_field& field = state->fields[i];
    hash.add(field.name, std::strlen(field.name) + 1);
    hash.add(field.type);
    hash.add(field.offset);
    hash.add(field.count);
    hash.add(field.count == 1 ? 0 : stride_of(field));
  }
  return hash.value;
}

std::vector<std::string> state_difference(const vanity_state* was, const vanity_state* now) {
  std::vector<std::string> lines;
  if (was == nullptr) return lines;  // nothing is handed on, whatever the new one could take
  const auto say = [&lines](char mark, const char* name, const std::string& before,
                            const std::string& after) {
    std::string line(1, mark);
    line.append(" ").append(name).append(": ").append(before);
    if (!before.empty() && !after.empty()) line.append(" -> ");
    lines.push_back(line.append(after));
  };
  if (now != nullptr && was->version != now->version) {
    say('!', "version", std::to_string(was->version), std::to_string(now->version));
  }
  for (uint32_t i = 0; i < was->field_count; ++i) {
    const vanity_field& before = was->fields[i];
    const vanity_field* const after = now == nullptr ? nullptr : find(*now, before.name);
    if (after == nullptr) {
      say('-', before.name, text_of(before), "");
    } else if (!same(before, *after)) {
      say('!', before.name, text_of(before), text_of(*after));
    }
  }
  for (uint32_t i = 0; now != nullptr && i < now->field_count; ++i) {
    const vanity_field& after = now->fields[i];
    if (find(*was, after.name) == nullptr) say('+', after.name, "", text_of(after));
  }
  if (now != nullptr && was->bytes != now->bytes) {
    say('!', "bytes", std::to_string(was->bytes), std::to_string(now->bytes));
  }
  return lines;
}

}  // namespace vanity
