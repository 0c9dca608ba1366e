#include "platform/pkey.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "platform/error.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace vanity {
namespace {

constexpr const char* kCode = "VANITY_E_PROTECTION_KEYS";
constexpr const char* kHint =
    "run the shard as a thread, or as a process of its own: isolation = \"process\"";

// Set before the first key is handed out, and never taken back.
std::atomic<bool> g_keys{false};

constexpr uint32_t kRseqBytes = 32;  // of all versions of the C library so far, or what follows
constexpr unsigned long kRseqFeatures = 27;  // AT_RSEQ_FEATURE_SIZE
constexpr int kRseqUnregister = 1;
#if defined(__x86_64__)
constexpr uint32_t kRseqSignature = 0x53053053;
#else
constexpr uint32_t kRseqSignature = 0;
#endif

// Where Linux writes the processor's number, from the beginning of a thread's block; null: nowhere.
const ptrdiff_t* rseq_offset() noexcept {
  return static_cast<const ptrdiff_t*>(dlsym(RTLD_DEFAULT, "__rseq_offset"));
}

// Linux writes there no more. False: it still does.
bool leave_rseq(const ptrdiff_t* offset) noexcept {
  if (offset == nullptr) return true;  // this C library has not asked for it
  auto* const area = static_cast<char*>(__builtin_thread_pointer()) + *offset;
  const auto written = [area] {
    int32_t processor;
    std::memcpy(&processor, area + sizeof(processor), sizeof(processor));
    return processor >= 0;
  };
  if (!written()) return true;
  const uint32_t more = (static_cast<uint32_t>(getauxval(kRseqFeatures)) + 31) / 32 * 32;
  for (const uint32_t bytes : {kRseqBytes, more}) {
    if (syscall(SYS_rseq, area, bytes, kRseqUnregister, kRseqSignature) == 0) break;
  }
  return !written();
}

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
constexpr uint32_t kPku = 1u << 3;    // CPUID.7.0:ECX
constexpr uint32_t kOspke = 1u << 4;  // the same
constexpr size_t kStackBytes = 64 << 10;
enum Outcome : int { kWell = 0, kNoKey = 1, kFailed = 2 };

struct Trial {
  void* page;
  size_t bytes;
  int own;
  volatile sig_atomic_t faults;
};
Trial* g_trial = nullptr;

// Without a canary, which lies where the handler has no right to before its first line.
[[gnu::no_stack_protector]] void on_trial(int, siginfo_t* info, void*) {
  Rights::set(Rights::kAll);
  Trial& trial = *g_trial;
  if (info->si_code != SEGV_PKUERR || trial.faults != 0) _exit(kFailed);
  trial.faults = 1;
  // The access is repeated, and Linux puts the rights back with the other registers.
  if (pkey_mprotect(trial.page, trial.bytes, PROT_READ | PROT_WRITE, trial.own) != 0) {
    _exit(kFailed);
  }
}

// In a child process, which has one thread: what a shard does, in small. It ends by a signal where
// Linux cannot write a handler's frame to a stack that the thread has no right to.
[[noreturn]] void try_keys(const ptrdiff_t* rseq) noexcept {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  const auto bytes = static_cast<size_t>(getpagesize());
  const auto map = [](size_t size) {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  };
  void* const stack = map(kStackBytes);
  Trial trial{map(bytes), bytes, pkey_alloc(0, 0), 0};
  const int other = pkey_alloc(0, 0);
  if (trial.own < 0 || other < 0) _exit(kNoKey);
  g_trial = &trial;
  stack_t handlers{};
  handlers.ss_sp = stack;
  handlers.ss_size = kStackBytes;
  struct sigaction action {};
  action.sa_sigaction = on_trial;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  if (!leave_rseq(rseq) || stack == MAP_FAILED || trial.page == MAP_FAILED ||
      pkey_mprotect(trial.page, bytes, PROT_READ | PROT_WRITE, other) != 0 ||
      sigaltstack(&handlers, nullptr) != 0 || sigaction(SIGSEGV, &action, nullptr) != 0) {
    _exit(kFailed);
  }
  // Nothing is written to the stack in between, to which there is no right.
  uint32_t rights = Rights::only(1u << trial.own);
  asm volatile(
      "wrpkru\n\t"
      "movb $1, (%1)\n\t"
      "xor %%eax, %%eax\n\t"
      "wrpkru"
      : "+a"(rights)
      : "r"(trial.page), "c"(0), "d"(0)
      : "memory");
  _exit(trial.faults == 1 ? kWell : kFailed);
}

KeySupport probe() {
  uint32_t eax;
  uint32_t ebx;
  uint32_t ecx;
  uint32_t edx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kPku) == 0) {
    return {false, "this processor has no protection keys (no pku in /proc/cpuinfo)"};
  }
  if ((ecx & kOspke) == 0) {
    return {false,
            "Linux does not use the processor's protection keys (no ospke in /proc/cpuinfo)"};
  }
  const ptrdiff_t* const rseq = rseq_offset();
  const pid_t child = fork();
  if (child < 0) return {false, std::string("they could not be tried: ") + std::strerror(errno)};
  if (child == 0) try_keys(rseq);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == kWell) return {true, "PKU, 15 keys"};
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoKey) {
    return {false, "Linux gives no protection keys to this process"};
  }
  return {false,
          "this Linux ends a thread that is interrupted while it may write to its own memory only "
          "(6.12 and later do not)"};
}
#elif defined(__x86_64__)
KeySupport probe() {
  return {false, "this build has a sanitizer, which writes to memory of its own"};
}
#else
KeySupport probe() {
  return {false, "only x86-64 has the protection keys that this runtime knows"};
}
#endif

[[noreturn]] void refuse(const std::string& what, int error) {
  throw Error(kCode, what + ": " + std::strerror(error), kHint);
}

}  // namespace

const KeySupport& key_support() {
  static const KeySupport support = probe();
  return support;
}

void Rights::take_all() noexcept {
  if (g_keys.load(std::memory_order_relaxed)) set(kAll);  // carries nothing with it
}

ProtectionKey::ProtectionKey() {
  const KeySupport& support = key_support();
  if (!support.usable) throw Error(kCode, support.reason, kHint);
  const int number = pkey_alloc(0, 0);
  if (number < 0) {
    throw Error(kCode,
                std::string("no protection key is left (") + std::strerror(errno) +
                    "): this process has 15, for all of its systems",
                kHint);
  }
  number_ = static_cast<uint32_t>(number);
  g_keys.store(true, std::memory_order_relaxed);  // as above
}

ProtectionKey::~ProtectionKey() {
  for (const auto& [begin, bytes] : kept_) free_pages(begin, bytes);
  pkey_free(static_cast<int>(number_));
}

void ProtectionKey::protect(void* begin, size_t bytes) const {
  if (pkey_mprotect(begin, bytes, PROT_READ | PROT_WRITE, static_cast<int>(number_)) != 0) {
    refuse("memory could not be given a protection key", errno);
  }
}

void ProtectionKey::protect_for_good(void* begin, size_t bytes) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    kept_.emplace_back(begin, bytes);
  }
  protect(begin, bytes);
}

void ProtectionKey::free_pages(void* begin, size_t bytes) noexcept {
  static_cast<void>(pkey_mprotect(begin, bytes, PROT_READ | PROT_WRITE, 0));
}

KeyedStack::KeyedStack(const ProtectionKey& key) {
  pthread_attr_t attributes;
  const int error = pthread_getattr_np(pthread_self(), &attributes);
  if (error != 0) refuse("where a thread's stack lies is not known", error);
  pthread_attr_getstack(&attributes, &begin_, &bytes_);
  pthread_attr_destroy(&attributes);
  if (!leave_rseq(rseq_offset())) {
    throw Error(kCode, "Linux goes on writing to the thread's memory (rseq)", kHint);
  }
  key.protect(begin_, bytes_);
}

// The C library keeps stacks for threads that have no right to it.
KeyedStack::~KeyedStack() {
  ProtectionKey::free_pages(begin_, bytes_);
}

}  // namespace vanity
