#include "platform/error.hpp"

#include <system_error>

namespace vanity {

Error system_error(const char* code, const std::string& what, int error_number, std::string hint) {
  return Error(code, what + ": " + std::generic_category().message(error_number), std::move(hint));
}

}  // namespace vanity
