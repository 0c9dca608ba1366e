// What is said about a program that was left.
#pragma once

#include <string>

#include "shard/guard.hpp"

namespace vanity {

// "SIGSEGV at address 0x0, in poll+0x1c (pass.so)". Reads the library's file: control path.
std::string evidence_text(const Evidence& evidence);

}  // namespace vanity
