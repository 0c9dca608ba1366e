// What a call preserves, saved on the stack that is left and taken from the one that is entered.
#include "platform/fiber.hpp"

#include <cstddef>
#include <cstdint>

extern "C" {
void vanity_fiber_switch(void** from, void* to);
void vanity_fiber_enter();
}

#if defined(__x86_64__)
asm(R"(
.text
.globl vanity_fiber_switch
.hidden vanity_fiber_switch
.type vanity_fiber_switch, @function
vanity_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size vanity_fiber_switch, . - vanity_fiber_switch
.globl vanity_fiber_enter
.hidden vanity_fiber_enter
.type vanity_fiber_enter, @function
vanity_fiber_enter:
  movq %rbx, %rdi
  callq *%rbp
  ud2
.size vanity_fiber_enter, . - vanity_fiber_enter
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl vanity_fiber_switch
.hidden vanity_fiber_switch
.type vanity_fiber_switch, %function
vanity_fiber_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size vanity_fiber_switch, . - vanity_fiber_switch
.globl vanity_fiber_enter
.hidden vanity_fiber_enter
.type vanity_fiber_enter, %function
vanity_fiber_enter:
  mov x0, x19
  blr x20
  brk #1
.size vanity_fiber_enter, . - vanity_fiber_enter
)");
#elif defined(__riscv)
asm(R"(
.text
.globl vanity_fiber_switch
.hidden vanity_fiber_switch
.type vanity_fiber_switch, @function
vanity_fiber_switch:
  addi sp, sp, -208
  sd ra, 0(sp)
  sd s0, 8(sp)
  sd s1, 16(sp)
  sd s2, 24(sp)
  sd s3, 32(sp)
  sd s4, 40(sp)
  sd s5, 48(sp)
  sd s6, 56(sp)
  sd s7, 64(sp)
  sd s8, 72(sp)
  sd s9, 80(sp)
  sd s10, 88(sp)
  sd s11, 96(sp)
  fsd fs0, 104(sp)
  fsd fs1, 112(sp)
  fsd fs2, 120(sp)
  fsd fs3, 128(sp)
  fsd fs4, 136(sp)
  fsd fs5, 144(sp)
  fsd fs6, 152(sp)
  fsd fs7, 160(sp)
  fsd fs8, 168(sp)
  fsd fs9, 176(sp)
  fsd fs10, 184(sp)
  fsd fs11, 192(sp)
  sd sp, 0(a0)
  mv sp, a1
  ld ra, 0(sp)
  ld s0, 8(sp)
  ld s1, 16(sp)
  ld s2, 24(sp)
  ld s3, 32(sp)
  ld s4, 40(sp)
  ld s5, 48(sp)
  ld s6, 56(sp)
  ld s7, 64(sp)
  ld s8, 72(sp)
  ld s9, 80(sp)
  ld s10, 88(sp)
  ld s11, 96(sp)
  fld fs0, 104(sp)
  fld fs1, 112(sp)
  fld fs2, 120(sp)
  fld fs3, 128(sp)
  fld fs4, 136(sp)
  fld fs5, 144(sp)
  fld fs6, 152(sp)
  fld fs7, 160(sp)
  fld fs8, 168(sp)
  fld fs9, 176(sp)
  fld fs10, 184(sp)
  fld fs11, 192(sp)
  addi sp, sp, 208
  ret
.size vanity_fiber_switch, . - vanity_fiber_switch
.globl vanity_fiber_enter
.hidden vanity_fiber_enter
.type vanity_fiber_enter, @function
vanity_fiber_enter:
  mv a0, s0
  jalr s1
  ebreak
.size vanity_fiber_enter, . - vanity_fiber_enter
)");
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace vanity {

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
  if (stack_ != nullptr) __tsan_destroy_fiber(known_);
#endif
}

void Fiber::start(void* stack, size_t bytes, void (*entry)(void*), void* argument) {
  stack_ = stack;
  bytes_ = bytes;
  entry_ = entry;
  argument_ = argument;
#if defined(__SANITIZE_THREAD__)
  if (known_ == nullptr) known_ = __tsan_create_fiber(0);
#endif
  auto top = reinterpret_cast<uintptr_t>(static_cast<std::byte*>(stack) + bytes) & ~uintptr_t{63};
  auto* frame = reinterpret_cast<void**>(top);
#if defined(__x86_64__)
  // Above the return address the stack is aligned to 16, as at a call.
  *--frame = nullptr;
  *--frame = nullptr;
  *--frame = reinterpret_cast<void*>(&vanity_fiber_enter);
  *--frame = reinterpret_cast<void*>(&Fiber::begin);  // rbp
  *--frame = this;                                    // rbx
  for (int i = 0; i < 4; ++i) *--frame = nullptr;
#elif defined(__aarch64__)
  frame -= 20;
  for (int i = 0; i < 20; ++i) frame[i] = nullptr;
  frame[0] = this;                                    // x19
  frame[1] = reinterpret_cast<void*>(&Fiber::begin);  // x20
  frame[11] = reinterpret_cast<void*>(&vanity_fiber_enter);
#else
  frame -= 26;
  for (int i = 0; i < 26; ++i) frame[i] = nullptr;
  frame[0] = reinterpret_cast<void*>(&vanity_fiber_enter);
  frame[1] = this;                                    // s0
  frame[2] = reinterpret_cast<void*>(&Fiber::begin);  // s1
#endif
  stack_pointer_ = frame;
}

void Fiber::begin(void* fiber) {
  auto& self = *static_cast<Fiber*>(fiber);
#if defined(__SANITIZE_ADDRESS__)
  Fiber& from = *self.from_;
  __sanitizer_finish_switch_fiber(nullptr, const_cast<const void**>(&from.stack_), &from.bytes_);
#endif
  self.entry_(self.argument_);
}

void Fiber::switch_to(Fiber& other) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  other.from_ = this;
  __sanitizer_start_switch_fiber(&known_, other.stack_, other.bytes_);
#elif defined(__SANITIZE_THREAD__)
  if (known_ == nullptr) known_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(other.known_, 0);
#endif
  vanity_fiber_switch(&stack_pointer_, other.stack_pointer_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(known_, nullptr, nullptr);
#endif
}

}  // namespace vanity
