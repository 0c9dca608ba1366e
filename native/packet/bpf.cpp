#include "packet/bpf.hpp"

#include "packet/flow.hpp"

namespace vanity {
namespace {

// Instruction = class | size or operation | mode or source.
enum : uint16_t {
  kLd = 0x00,
  kLdx = 0x01,
  kSt = 0x02,
  kStx = 0x03,
  kAlu = 0x04,
  kJmp = 0x05,
  kRet = 0x06,
  kMisc = 0x07,
  kWord = 0x00,
  kHalf = 0x08,
  kByte = 0x10,
  kImmediate = 0x00,
  kAbsolute = 0x20,
  kIndirect = 0x40,
  kMemory = 0x60,
  kLength = 0x80,
  kHeaderLength = 0xa0,
  kAdd = 0x00,
  kSub = 0x10,
  kMul = 0x20,
  kDiv = 0x30,
  kOr = 0x40,
  kAnd = 0x50,
  kLsh = 0x60,
  kRsh = 0x70,
  kNeg = 0x80,
  kMod = 0x90,
  kXor = 0xa0,
  kJa = 0x00,
  kJeq = 0x10,
  kJgt = 0x20,
  kJge = 0x30,
  kJset = 0x40,
  kK = 0x00,
  kX = 0x08,
  kA = 0x10,
  kTax = 0x00,
  kTxa = 0x80,
};

bool known(uint16_t code) noexcept {
  switch (code) {
    case kLd | kWord | kAbsolute:
    case kLd | kHalf | kAbsolute:
    case kLd | kByte | kAbsolute:
    case kLd | kWord | kIndirect:
    case kLd | kHalf | kIndirect:
    case kLd | kByte | kIndirect:
    case kLd | kWord | kLength:
    case kLd | kImmediate:
    case kLd | kMemory:
    case kLdx | kImmediate:
    case kLdx | kMemory:
    case kLdx | kWord | kLength:
    case kLdx | kByte | kHeaderLength:
    case kSt:
    case kStx:
    case kRet | kK:
    case kRet | kA:
    case kMisc | kTax:
    case kMisc | kTxa:
    case kAlu | kNeg:
      return true;
    default:
      break;
  }
  const uint16_t operation = code & 0xf0;
  if ((code & 0x07) == kAlu) return operation <= kXor && operation != kNeg && (code >> 8) == 0;
  if ((code & 0x07) == kJmp) {
    return (code >> 8) == 0 && (operation == kJa ? code == kJmp : operation <= kJset);
  }
  return false;
}

template <uint32_t bytes>
bool load(const uint8_t* data, uint32_t length, uint64_t at, uint32_t& value) noexcept {
  if (at + bytes > length) return false;
  if constexpr (bytes == 4) value = flow_detail::be32(data + at);
  if constexpr (bytes == 2) value = flow_detail::be16(data + at);
  if constexpr (bytes == 1) value = data[at];
  return true;
}

// False: a division by zero, which ends the program without a match.
inline bool compute(uint16_t operation, uint32_t& a, uint32_t operand) noexcept {
  switch (operation) {
    case kAdd:
      a += operand;
      return true;
    case kSub:
      a -= operand;
      return true;
    case kMul:
      a *= operand;
      return true;
    case kDiv:
      if (operand == 0) return false;
      a /= operand;
      return true;
    case kMod:
      if (operand == 0) return false;
      a %= operand;
      return true;
    case kOr:
      a |= operand;
      return true;
    case kAnd:
      a &= operand;
      return true;
    case kXor:
      a ^= operand;
      return true;
    case kLsh:
      a = operand < 32 ? a << operand : 0;
      return true;
    case kRsh:
      a = operand < 32 ? a >> operand : 0;
      return true;
    default:
      return false;
  }
}

inline bool compare(uint16_t operation, uint32_t a, uint32_t operand) noexcept {
  switch (operation) {
    case kJeq:
      return a == operand;
    case kJgt:
      return a > operand;
    case kJge:
      return a >= operand;
    default:
      return (a & operand) != 0;
  }
}

}  // namespace

const char* bpf_check(const BpfInstruction* program, uint32_t count) noexcept {
  if (count == 0) return "the program is empty";
  if (count > kBpfInstructionsMax) return "the program has more than 65536 instructions";
  for (uint32_t i = 0; i < count; ++i) {
    const BpfInstruction& in = program[i];
    if (!known(in.code)) return "unknown instruction";
    const bool memory = in.code == kSt || in.code == kStx || in.code == (kLd | kMemory) ||
                        in.code == (kLdx | kMemory);
    if (memory && in.k >= kBpfMemoryWords) return "memory index beyond 15";
    if ((in.code == (kAlu | kDiv | kK) || in.code == (kAlu | kMod | kK)) && in.k == 0)
      return "division by a constant zero";
    if ((in.code & 0x07) == kJmp) {
      const uint64_t from = i + 1ull;
      if (in.code == kJmp ? from + in.k >= count
                          : from + in.jump_true >= count || from + in.jump_false >= count)
        return "jump beyond the end";
    }
  }
  if ((program[count - 1].code & 0x07) != kRet) return "the last instruction does not return";
  return nullptr;
}

uint32_t bpf_run(const BpfInstruction* program, const uint8_t* data, uint32_t length,
                 uint32_t wire_length) noexcept {
  uint32_t a = 0, x = 0;
  uint32_t memory[kBpfMemoryWords] = {};
  for (const BpfInstruction* in = program;; ++in) {
    const uint32_t k = in->k;
    // A 32-bit sum, as in every other implementation: an index before the frame wraps beyond it.
    const uint32_t indirect = x + k;
    switch (in->code) {
      case kLd | kWord | kAbsolute:
        if (!load<4>(data, length, k, a)) return 0;
        break;
      case kLd | kHalf | kAbsolute:
        if (!load<2>(data, length, k, a)) return 0;
        break;
      case kLd | kByte | kAbsolute:
        if (!load<1>(data, length, k, a)) return 0;
        break;
      case kLd | kWord | kIndirect:
        if (!load<4>(data, length, indirect, a)) return 0;
        break;
      case kLd | kHalf | kIndirect:
        if (!load<2>(data, length, indirect, a)) return 0;
        break;
      case kLd | kByte | kIndirect:
        if (!load<1>(data, length, indirect, a)) return 0;
        break;
      case kLdx | kByte | kHeaderLength:
        if (!load<1>(data, length, k, x)) return 0;
        x = (x & 15) * 4;
        break;
      case kLd | kWord | kLength:
        a = wire_length;
        break;
      case kLdx | kWord | kLength:
        x = wire_length;
        break;
      case kLd | kImmediate:
        a = k;
        break;
      case kLdx | kImmediate:
        x = k;
        break;
      case kLd | kMemory:
        a = memory[k];
        break;
      case kLdx | kMemory:
        x = memory[k];
        break;
      case kSt:
        memory[k] = a;
        break;
      case kStx:
        memory[k] = x;
        break;
      case kRet | kK:
        return k;
      case kRet | kA:
        return a;
      case kMisc | kTax:
        x = a;
        break;
      case kMisc | kTxa:
        a = x;
        break;
      case kAlu | kNeg:
        a = 0u - a;
        break;
      case kJmp | kJa:
        in += k;
        break;
      default: {
        const uint32_t operand = (in->code & kX) != 0 ? x : k;
        if ((in->code & 0x07) == kJmp) {
          in += compare(in->code & 0xf0, a, operand) ? in->jump_true : in->jump_false;
        } else if (!compute(in->code & 0xf0, a, operand)) {
          return 0;
        }
      }
    }
  }
}

}  // namespace vanity
