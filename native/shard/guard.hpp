// What stands between a program and the process: a program that faults is left, with evidence, and
// only its shard is down. One guard a shard's thread.
//
// A fault is the program's when it comes while the program's code runs, or what that called of the
// C library; the runtime itself is never left half-way. So the calls that move packets take what
// the program points at before they begin and give it after they are done (contained.cpp), and
// what is left behind by a jump is the program's alone.
//
// A program that does not come back is left by a signal, and only where the interrupted
// instruction is the module's own: not in the C library, which may hold a lock, nor in the runtime.
//
// With protection keys (keyed.cpp) the program's code also has its own rights to write, and the
// runtime all of them: they change where the two do.
#pragma once

#include <setjmp.h>
#include <signal.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "platform/pkey.hpp"

namespace vanity {

// Why a program was left.
enum class FaultKind : uint32_t {
  none,
  signal,      // SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT
  overflow,    // the stack
  exception,   // of C++, out of poll
  descriptor,  // gave away a packet that it does not hold: freed or sent twice, or made up
  init,        // refused, or threw, when it was started again
  asked,       // by the watchdog or an operator
  process,     // it ended with its process, which was killed or left by itself
};

struct Evidence {
  static constexpr uint32_t kFrames = 48;
  static constexpr uint32_t kRegisters = 34;

  FaultKind kind = FaultKind::none;
  int signal = 0;
  int code = 0;      // si_code
  uint32_t key = 0;  // of the memory, with SEGV_PKUERR: it was written to without the right
  uint64_t address = 0;
  uint64_t registers[kRegisters] = {};  // of the processor, in the order of its ucontext
  uint32_t register_count = 0;
  uint32_t frame_count = 0;
  uintptr_t frames[kFrames] = {};
  bool told = false;  // `what` says all of it: the frames are another process's
  char what[480] = {};
};

class Guard {
 public:
  Guard();
  ~Guard();
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  // The process's handlers, once. `filter` sees a fault first, and may have dealt with it.
  static void install(bool (*filter)(int, siginfo_t*) = nullptr);
  // What a thread is asked by, without being asked.
  static int sample_signal() noexcept;
  // No others come to the calling thread: their handlers know of no keys.
  static void refuse_other_signals() noexcept;

  // The calling thread is this guard's to the end of the scope; it has a stack for handlers so
  // long, and then the one that it had, for whoever gave it that takes it back when the thread
  // ends.
  class Thread {
   public:
    explicit Thread(Guard& guard) noexcept;
    ~Thread();
    Thread(const Thread&) = delete;
    Thread& operator=(const Thread&) = delete;

   private:
    stack_t before_{};
    bool given_ = false;
  };

  // The same from here on, for a thread that carries several guards' shards in turn. The stack for
  // handlers stays as it is: none of them lasts beyond such a change.
  void take_thread() noexcept;

  // Program code from here to the end of the scope. Confined: it may write to its own memory only,
  // if there are keys to see to that; else it is where it may still call the C library.
  enum class Calls : bool { confined, library };
  class Program {
   public:
    explicit Program(Guard& guard, Calls calls = Calls::confined) noexcept
        : guard_(guard),
          before_(guard.where_),
          rights_(calls == Calls::confined ? guard.rights_ : Rights::kAll) {
      guard.where_ = guard.armed_;
      if (rights_ != Rights::kAll) [[unlikely]]
        guard.cross(rights_);
      keep_order();
    }
    ~Program() {
      keep_order();
      if (rights_ != Rights::kAll) [[unlikely]]
        Rights::set(Rights::kAll);
      guard_.where_ = before_;
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

   private:
    Guard& guard_;
    const uint32_t before_;
    const uint32_t rights_;
  };
  // The runtime again, where it must not be left half-way.
  class Runtime {
   public:
    explicit Runtime(Guard& guard) noexcept : guard_(guard), before_(guard.where_) {
      guard.where_ = 0;
      keep_order();
    }
    ~Runtime() {
      keep_order();
      guard_.where_ = before_;
    }
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;

   private:
    Guard& guard_;
    const uint32_t before_;
  };

  // What its program may write to from here on, where it is confined. On the guard's thread, or
  // before that starts.
  void confine(uint32_t rights) noexcept { rights_ = rights; }
  uint32_t rights() const noexcept { return rights_; }
  // Into the program, with those rights; counted with those back from the runtime's calls.
  void cross(uint32_t rights) noexcept {
    ++crossings_;
    Rights::set(rights);
  }
  // How often the rights were taken away: half of all changes.
  uint64_t crossings() const noexcept { return crossings_; }

  // Until then faults end the process, as they would without a guard.
  void arm(uintptr_t text_begin, uintptr_t text_end) noexcept {
    text_begin_ = text_begin;
    text_end_ = text_end;
    if (armed_ == 0) armed_ = 1;  // the kernel may be asking
  }
  bool armed() const noexcept { return armed_ != 0; }
  // Where a program that is left comes out: sigsetjmp(guard.exit(), 1).
  sigjmp_buf& exit() noexcept { return exit_; }
  // On the guard's thread, by the runtime: the program is left here.
  [[noreturn]] void leave(FaultKind kind, const char* what) noexcept;
  // Its program is on trial. The guard's thread: the handler, which is on it, is never late.
  void try_out(bool begins) noexcept { trial_ = begins; }
  // What it was left for last. The guard's thread.
  Evidence& evidence() noexcept { return evidence_; }
  uint64_t faults() const noexcept { return faults_; }

  // ---- other threads
  // The frames of the guard's thread as they are now, at most `most`; 0: it does not answer within
  // `ns`. One caller at a time.
  uint32_t sample(int tid, uintptr_t* frames, uint32_t most, uint64_t ns) noexcept;
  // Leaves the program where that is possible; to be repeated until it has happened. `only`: where
  // the text begins of the one program that is meant, while it is on trial; 0: whatever runs.
  void ask_to_leave(int tid, uintptr_t only = 0) noexcept;

 private:
  // The handlers run on the same thread: only the compiler must not move anything across.
  static void keep_order() noexcept { asm volatile("" ::: "memory"); }
  static void fault_handler(int number, siginfo_t* info, void* context);
  static void sample_handler(int number, siginfo_t* info, void* context);
  static void on_fault(int number, siginfo_t* info, void* context);
  static void on_sample(siginfo_t* info, void* context);
  static void pass_on(int number, siginfo_t* info, void* context);
  void take_evidence(FaultKind kind, int number, const siginfo_t* info, void* context) noexcept;
  bool means(uintptr_t text_begin) const noexcept;
  uint32_t unwind(uintptr_t* frames, uint32_t most, uintptr_t from) noexcept;

  volatile uint32_t where_ = 0;  // 1: the program's code, and the guard is armed
  uint32_t rights_ = Rights::kAll;
  uint64_t crossings_ = 0;
  volatile bool trial_ = false;
  uint32_t armed_ = 0;
  volatile uint32_t unwinding_ = 0;
  sigjmp_buf exit_;
  sigjmp_buf unwound_;  // a stack that is spoilt faults while it is read
  uintptr_t text_begin_ = 0;
  uintptr_t text_end_ = 0;
  uint64_t faults_ = 0;
  Evidence evidence_;
  void* stack_ = nullptr;
  // 0 none, 1 asked for frames, 2 they are there, 3 asked to leave
  std::atomic<uint32_t> asked_{0};
  std::atomic<uintptr_t> only_{0};
  uint32_t sampled_ = 0;
  uintptr_t samples_[Evidence::kFrames] = {};
};

}  // namespace vanity
