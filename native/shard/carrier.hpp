// A thread that carries several shards. Each is a fiber of it, stays with it, and gives way where a
// shard with a thread of its own would wait. When none has work the thread sleeps for all of them,
// by the protocol of platform/wait.hpp: one sleeper, and a look that is everybody's look.
//
// Nothing takes the thread away from a shard: one that does not come to a wait keeps the others of
// its thread from running. What is thread_local is the thread's, and so theirs together.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "platform/fiber.hpp"
#include "platform/wait.hpp"
#include "shard/guard.hpp"
#include "shard/plan.hpp"

namespace vanity {

class Carrier {
 public:
  explicit Carrier(uint32_t number);
  ~Carrier();
  Carrier(const Carrier&) = delete;
  Carrier& operator=(const Carrier&) = delete;

  // ---- the kernel, before the thread starts. `life` is what the shard does until it ends.
  void add(uint32_t shard, const ShardPlan& plan, Guard& guard, std::function<void()> life);
  void start();
  void join();
  // Who sleeps for each of its shards: whom to signal.
  Sleeper& sleeper() noexcept { return sleeper_; }

  // ---- any thread, as a guess. The shard that runs; kNone: none of them.
  uint32_t running() const noexcept {
    return running_.load(std::memory_order_relaxed);  // carries nothing with it
  }

  // ---- the shard that runs
  // It has more to do, when the others had their turn.
  void give_way() noexcept { suspend(Need::turn); }
  // It looks again for something that nobody signals.
  void pause() noexcept { suspend(Need::look); }
  // Until ready() is true, for which somebody signals sleeper(), or the tick `deadline` passes.
  // `late`: a bound ended the sleep of the thread, though there was work.
  struct Waited {
    Wake wake;
    bool late;
  };
  template <class Ready>
  Waited wait(const Ready& ready, uint64_t deadline) noexcept {
    return wait([](const void* look) -> bool { return (*static_cast<const Ready*>(look))(); },
                &ready, deadline);
  }

 private:
  enum class Need : uint8_t {
    turn,
    look,
    work,
    nothing
  };  // the most urgent first; nothing: it ended
  struct Rider;

  Waited wait(bool (*ready)(const void*), const void* look, uint64_t deadline) noexcept;
  void suspend(Need need) noexcept;
  void thread_main() noexcept;
  // Carries everybody once who can go on. What the most urgent needed, or needs now.
  Need round() noexcept;
  void carry(Rider& rider) noexcept;
  void sleep() noexcept;
  bool anybody_ready() noexcept;
  static void live(void* rider);

  const uint32_t number_;
  std::vector<std::unique_ptr<Rider>> riders_;
  Rider* current_ = nullptr;
  Fiber main_;
  Guard guard_;  // while none of them runs; its stack for handlers is the thread's
  Sleeper sleeper_;
  std::unique_ptr<Waiter> waiter_;
  uint64_t spin_ns_ = 0;
  std::atomic<uint32_t> running_{kNone};
  Hardware::Thread thread_;
};

}  // namespace vanity
