// The one exception of the control path. The data path never throws.
#pragma once

#include <stdexcept>
#include <string>

namespace vanity {

// `code` is a row of the table in lib/errors.ts; `what()` names what was expected and what was
// found; `hint` says what to type. The addon turns it into a VanityError with the same three parts.
class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}

  const char* code() const noexcept { return code_; }
  const std::string& hint() const noexcept { return hint_; }

 private:
  const char* code_;
  std::string hint_;
};

// "what: strerror(errno)", for a failed system call.
Error system_error(const char* code, const std::string& what, int error_number,
                   std::string hint = {});

}  // namespace vanity
