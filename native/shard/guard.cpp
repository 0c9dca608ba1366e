#include "shard/guard.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "platform/clock.hpp"
#include "vanity/platform.hpp"

namespace vanity {
namespace {

constexpr size_t kHandlerStackBytes = 64 << 10;
constexpr size_t kGuardBytes = 4096;
// Above what runtimes and profilers use by habit; the C library's own two are not counted in.
constexpr int kSampleOffset = 7;
constexpr uint64_t kStackSlack = 64 << 10;

// Not allocated on first use: a handler may run on any thread of the process.
[[gnu::tls_model("initial-exec")]] thread_local Guard* t_guard = nullptr;

std::once_flag g_once;
bool (*g_filter)(int, siginfo_t*) = nullptr;
constexpr std::array kFaults{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
struct sigaction g_previous[NSIG];

uintptr_t pc_of(const void* context) noexcept {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return static_cast<uintptr_t>(machine.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return machine.pc;
#else
  return machine.__gregs[REG_PC];
#endif
}
uintptr_t sp_of(const void* context) noexcept {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return static_cast<uintptr_t>(machine.gregs[REG_RSP]);
#elif defined(__aarch64__)
  return machine.sp;
#else
  return machine.__gregs[REG_SP];
#endif
}
uint32_t registers_of(const void* context, uint64_t* into, uint32_t most) noexcept {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
  uint32_t n = 0;
#if defined(__x86_64__)
  for (const greg_t value : machine.gregs)
    if (n < most) into[n++] = static_cast<uint64_t>(value);
#elif defined(__aarch64__)
  for (const auto value : machine.regs)
    if (n < most) into[n++] = value;
  if (n < most) into[n++] = machine.sp;
  if (n < most) into[n++] = machine.pc;
#else
  for (const auto value : machine.__gregs)
    if (n < most) into[n++] = value;
#endif
  return n;
}

struct Walk {
  uintptr_t* frames;
  uint32_t most;
  uint32_t count;
  uintptr_t from;  // frames above it are the handler's; 0: all are wanted
};

_Unwind_Reason_Code step(_Unwind_Context* context, void* data) {
  auto& walk = *static_cast<Walk*>(data);
  const uintptr_t pc = _Unwind_GetIP(context);
  if (walk.from != 0) {
    if (pc != walk.from) return _URC_NO_REASON;
    walk.from = 0;
  }
  if (walk.count == walk.most) return _URC_END_OF_STACK;
  walk.frames[walk.count++] = pc;
  return _URC_NO_REASON;
}

}  // namespace

Guard::Guard() {
  void* at = mmap(nullptr, kHandlerStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return;  // handlers then run on the thread's own stack
  mprotect(at, kGuardBytes, PROT_NONE);
  stack_ = at;
}

Guard::~Guard() {
  if (t_guard == this) t_guard = nullptr;
  if (stack_ != nullptr) munmap(stack_, kHandlerStackBytes + kGuardBytes);
}

int Guard::sample_signal() noexcept {
  return SIGRTMIN + kSampleOffset;
}

void Guard::install(bool (*filter)(int, siginfo_t*)) {
  std::call_once(g_once, [filter] {
    g_filter = filter;
    // The unwinder loads and allocates on its first use: not in a handler.
    uintptr_t frame;
    Walk walk{&frame, 1, 0, 0};
    _Unwind_Backtrace(step, &walk);
    struct sigaction action {};
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    action.sa_sigaction = fault_handler;
    for (const int number : kFaults) {
      sigaction(number, nullptr, &g_previous[number]);  // it may run as soon as it is there
      sigaction(number, &action, nullptr);
    }
    action.sa_sigaction = sample_handler;
    sigaction(sample_signal(), &action, nullptr);
  });
}

void Guard::refuse_other_signals() noexcept {
  sigset_t others;
  sigfillset(&others);
  for (const int number : kFaults) sigdelset(&others, number);
  sigdelset(&others, sample_signal());
  pthread_sigmask(SIG_BLOCK, &others, nullptr);
}

Guard::Thread::Thread(Guard& guard) noexcept {
  t_guard = &guard;
  if (guard.stack_ == nullptr) return;
  stack_t stack{};
  stack.ss_sp = static_cast<char*>(guard.stack_) + kGuardBytes;
  stack.ss_size = kHandlerStackBytes;
  given_ = sigaltstack(&stack, &before_) == 0;
}

Guard::Thread::~Thread() {
  t_guard = nullptr;
  if (given_) sigaltstack(&before_, nullptr);
}

void Guard::take_thread() noexcept {
  t_guard = this;
}

void Guard::pass_on(int number, siginfo_t* info, void* context) {
  const struct sigaction& previous = g_previous[number];
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(number, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(number);
  } else {
    // The access is repeated and ends the process as it would have without us. What was sent, or
    // raised, has no access to repeat.
    ::signal(number, SIG_DFL);
    if (info->si_code <= 0) raise(number);
  }
}

// A handler begins with Linux's idea of its rights: those of a thread that knows of no key. It must
// not even read the thread's own block first, so there is no canary, and nothing is inlined.
[[gnu::no_stack_protector]] void Guard::fault_handler(int number, siginfo_t* info, void* context) {
  Rights::take_all();
  on_fault(number, info, context);
}
[[gnu::no_stack_protector]] void Guard::sample_handler(int, siginfo_t* info, void* context) {
  Rights::take_all();
  on_sample(info, context);
}

[[gnu::noinline]] void Guard::on_fault(int number, siginfo_t* info, void* context) {
  Guard* const guard = t_guard;
  if (guard != nullptr && guard->unwinding_ != 0) siglongjmp(guard->unwound_, 1);
  const int saved = errno;
  if (g_filter != nullptr && g_filter(number, info)) {
    errno = saved;
    return;
  }
  if (guard == nullptr || guard->where_ == 0) {
    pass_on(number, info, context);
    return;
  }
  const uint64_t distance =
      reinterpret_cast<uint64_t>(info->si_addr) - sp_of(context) + kStackSlack;
  const bool overflow =
      number == SIGSEGV && info->si_code != SEGV_PKUERR && distance < 2 * kStackSlack;
  guard->take_evidence(overflow ? FaultKind::overflow : FaultKind::signal, number, info, context);
  guard->where_ = 0;
  siglongjmp(guard->exit_, 1);
}

[[gnu::noinline]] void Guard::on_sample(siginfo_t* info, void* context) {
  Guard* const guard = t_guard;
  if (guard == nullptr || info->si_pid != getpid()) return;
  const int saved = errno;
  const uint32_t asked = guard->asked_.load(std::memory_order_acquire);  // pairs with sample()
  const uintptr_t pc = pc_of(context);
  if (asked == 1) {
    guard->sampled_ = guard->unwind(guard->samples_, Evidence::kFrames, pc);
    guard->asked_.store(2, std::memory_order_release);  // pairs with sample()
  } else if (asked == 3 && guard->where_ != 0 && pc >= guard->text_begin_ &&
             pc < guard->text_end_ && guard->means(guard->text_begin_)) {
    guard->asked_.store(0, std::memory_order_relaxed);
    guard->take_evidence(FaultKind::asked, 0, nullptr, context);
    guard->where_ = 0;
    siglongjmp(guard->exit_, 1);
  }
  errno = saved;
}

uint32_t Guard::unwind(uintptr_t* frames, uint32_t most, uintptr_t from) noexcept {
  // Written before the jump that may come back here, read after it.
  static_assert(sizeof(Walk) != 0);
  Walk walk{frames, most, 0, from};
  volatile Walk* const seen = &walk;
  if (sigsetjmp(unwound_, 1) == 0) {
    unwinding_ = 1;
    _Unwind_Backtrace(step, &walk);
  }
  unwinding_ = 0;
  if (seen->count == 0 && from != 0 && most != 0) {
    frames[0] = from;
    return 1;
  }
  return seen->count;
}

void Guard::take_evidence(FaultKind kind, int number, const siginfo_t* info,
                          void* context) noexcept {
  ++faults_;
  Evidence& at = evidence_;
  at.kind = kind;
  at.signal = number;
  at.code = info == nullptr ? 0 : info->si_code;
  at.key = number == SIGSEGV && at.code == SEGV_PKUERR ? info->si_pkey : 0;
  at.address = info == nullptr ? 0 : reinterpret_cast<uint64_t>(info->si_addr);
  at.what[0] = '\0';
  at.register_count =
      context == nullptr ? 0 : registers_of(context, at.registers, Evidence::kRegisters);
  at.frame_count = unwind(at.frames, Evidence::kFrames, context == nullptr ? 0 : pc_of(context));
  if (context != nullptr) return;
  // Left by the runtime: how that came about is of no interest, only where the program called.
  const uintptr_t* const end = at.frames + at.frame_count;
  const uintptr_t* const own = std::find_if(at.frames, at.frames + at.frame_count, [this](auto pc) {
    return pc >= text_begin_ && pc < text_end_;
  });
  std::copy(own, end, at.frames);
  at.frame_count = static_cast<uint32_t>(end - own);
}

void Guard::leave(FaultKind kind, const char* what) noexcept {
  where_ = 0;
  take_evidence(kind, 0, nullptr, nullptr);
  std::strncpy(evidence_.what, what, sizeof(evidence_.what) - 1);
  siglongjmp(exit_, 1);
}

uint32_t Guard::sample(int tid, uintptr_t* frames, uint32_t most, uint64_t ns) noexcept {
  // Pairs with on_sample(): the last samples were read before others are written.
  asked_.store(1, std::memory_order_release);
  if (syscall(SYS_tgkill, getpid(), tid, sample_signal()) != 0) return 0;
  const uint64_t until = monotonic_ns() + ns;
  while (asked_.load(std::memory_order_acquire) != 2) {  // pairs with on_sample()
    if (monotonic_ns() > until) {
      asked_.store(0, std::memory_order_relaxed);  // a late answer goes nowhere
      return 0;
    }
    const timespec nap{0, 50'000};
    nanosleep(&nap, nullptr);
  }
  asked_.store(0, std::memory_order_relaxed);
  const uint32_t count = std::min(sampled_, most);
  std::copy_n(samples_, count, frames);
  return count;
}

bool Guard::means(uintptr_t text_begin) const noexcept {
  const uintptr_t only = only_.load(std::memory_order_relaxed);
  return only == 0 || (trial_ && only == text_begin);
}

void Guard::ask_to_leave(int tid, uintptr_t only) noexcept {
  only_.store(only, std::memory_order_relaxed);
  asked_.store(3, std::memory_order_relaxed);
  syscall(SYS_tgkill, getpid(), tid, sample_signal());
}

}  // namespace vanity
