// What is said about a program that was left.
#pragma once

#include <string>

#include "shard/guard.hpp"

namespace vanity {

// "SIGSEGV at address 0x0, in poll+0x1c (pass.so)". Reads the library's file: control path.
// `owner`: whose memory it was, when it strayed.
std::string evidence_text(const Evidence& evidence, const std::string& owner = {});
// It wrote to memory that it may not write to, and a protection key stopped it.
bool strayed(const Evidence& evidence);

}  // namespace vanity
