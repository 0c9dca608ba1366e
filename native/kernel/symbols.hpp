// Names for addresses of this process, of functions that are not exported too.
#pragma once

#include <cstdint>
#include <string>

namespace vanity {

// "poll+0x1c (pass.so)", or what is known of it. Reads the library's file: control path.
std::string symbol_of(uintptr_t address);

// Frames, innermost first, in one line. All but the first are addresses that calls return to.
std::string backtrace_text(const uintptr_t* frames, uint32_t count, uint32_t most = 8);

}  // namespace vanity
