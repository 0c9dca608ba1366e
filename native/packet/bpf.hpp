// The classic BPF machine (McCanne and Jacobson 1993; instructions as libpcap compiles them). A
// program is checked once, before it runs: every jump goes forward and stays inside, every memory
// index is known, the last instruction returns. So a run ends, and touches nothing but the frame.
#pragma once

#include <cstdint>
#include <vector>

namespace vanity {

struct BpfInstruction {  // the layout of struct bpf_insn
  uint16_t code;
  uint8_t jump_true;
  uint8_t jump_false;
  uint32_t k;
};
static_assert(sizeof(BpfInstruction) == 8);

inline constexpr uint32_t kBpfInstructionsMax = 65536;
inline constexpr uint32_t kBpfMemoryWords = 16;

// Null when the program is sound, else what is wrong with it.
const char* bpf_check(const BpfInstruction* program, uint32_t count) noexcept;

// Bytes of the frame to keep: 0 is "no match". Only for programs that bpf_check() accepts.
uint32_t bpf_run(const BpfInstruction* program, const uint8_t* data, uint32_t length,
                 uint32_t wire_length) noexcept;

}  // namespace vanity
