// What a job tells its test.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace vanity {

inline std::string variable(const char* name) {
  const char* const text = std::getenv(name);
  if (text == nullptr) throw std::runtime_error(std::string("no $") + name);
  return text;
}

}  // namespace vanity
