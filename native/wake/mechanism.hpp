// Everything that can be measured: Vanity's own ways to wait, and what they are compared with.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vanity::wake {

enum class Kind : uint8_t {
  backend,
  path,  // through several parts, the last of which is a backend
  reference,
};

struct Mechanism {
  std::string name;
  Kind kind;
  std::string about;
  bool usable;
  std::string reason;  // usable: what it rests on; else: why it can't be had here
  bool sleeps;         // in the kernel, so that two of it may share a processor
};

// Best first, references last; the same answer on every call.
const std::vector<Mechanism>& mechanisms();

// Errors: VANITY_E_WAKE_MECHANISM when there is none of that name or this host lacks it.
const Mechanism& usable_mechanism(std::string_view name);

}  // namespace vanity::wake
