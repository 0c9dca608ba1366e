#include "shard/carrier.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "platform/fiber_stack.hpp"
#include "platform/topology.hpp"
#include "shard/quiet.hpp"
#include "vanity/limits.hpp"

namespace vanity {
namespace {

// The shards' own bounds are shorter.
constexpr uint64_t kSleepNsMax = 1'000'000'000;

// Of the thread, by the C++ ABI: the exceptions that are being handled. A fiber that is left in the
// middle of a catch keeps its own.
struct Exceptions {
  void* caught = nullptr;
  unsigned int uncaught = 0;
};
Exceptions& exceptions_of_thread() noexcept {
  return *reinterpret_cast<Exceptions*>(abi::__cxa_get_globals());
}

}  // namespace

struct Carrier::Rider {
  Carrier& carrier;
  const uint32_t shard;
  Guard& guard;
  const std::function<void()> life;
  FiberStack stack{limits::kFiberStackBytes};
  Fiber fiber;
  Exceptions exceptions;
  Need need = Need::turn;
  // While it needs work.
  bool (*ready)(const void*) = nullptr;
  const void* look = nullptr;
  uint64_t deadline = 0;
  Waited waited{Wake::signalled, false};

  Rider(Carrier& by, uint32_t index, Guard& own, std::function<void()> does)
      : carrier(by), shard(index), guard(own), life(std::move(does)) {}
  bool has_work() const noexcept { return need == Need::work && ready(look); }
};

Carrier::Carrier(uint32_t number) : number_(number) {}

Carrier::~Carrier() {
  join();
}

void Carrier::add(uint32_t shard, const ShardPlan& plan, Guard& guard, std::function<void()> life) {
  riders_.push_back(std::make_unique<Rider>(*this, shard, guard, std::move(life)));
  if (riders_.back()->stack.begin() == nullptr)
    throw system_error("VANITY_E_SYSTEM", "the stack of a shard", errno);
  spin_ns_ = std::max(spin_ns_, plan.spin_ns_max);
}

void Carrier::start() {
  waiter_ =
      std::make_unique<Waiter>(Backend::futex, WaitTuning{0, ns_to_ticks(kSleepNsMax)}, &sleeper_);
  const Quiet quiet;  // the new thread inherits it
  thread_ = Hardware::Thread([this] { thread_main(); });
}

void Carrier::join() {
  if (thread_.joinable()) thread_.join();
}

void Carrier::thread_main() noexcept {
  set_thread_name("vanity-pool-" + std::to_string(number_));
  const Guard::Thread guarded(guard_);
  for (const auto& rider : riders_) {
    rider->fiber.start(rider->stack.begin(), rider->stack.bytes(), &Carrier::live, rider.get());
  }
  const uint64_t spin = ns_to_ticks(spin_ns_);
  uint64_t found = now_ticks();
  for (;;) {
    const Need need = round();
    if (need == Need::nothing) return;
    if (need == Need::turn) {
      found = now_ticks();
    } else if (need == Need::look || now_ticks() - found < spin) {
      Hardware::yield();  // whoever brings the work may need this core
    } else {
      sleep();
    }
  }
}

Carrier::Need Carrier::round() noexcept {
  Need most = Need::nothing;
  for (const auto& each : riders_) {
    Rider& rider = *each;
    if (rider.need == Need::nothing) continue;
    if (rider.has_work()) {
      rider.waited.wake = Wake::signalled;
      rider.need = Need::turn;
    }
    most = std::min(most, rider.need);
    if (rider.need == Need::work) {
      if (now_ticks() < rider.deadline) continue;
      rider.waited.wake = Wake::deadline;
    }
    carry(rider);
    // Who has ended brings another look at who has not.
    most = std::min(most, rider.need == Need::nothing ? Need::turn : rider.need);
  }
  return most;
}

void Carrier::carry(Rider& rider) noexcept {
  current_ = &rider;
  running_.store(rider.shard, std::memory_order_relaxed);  // as running()
  std::swap(exceptions_of_thread(), rider.exceptions);
  rider.guard.take_thread();
  main_.switch_to(rider.fiber);
  guard_.take_thread();
  std::swap(exceptions_of_thread(), rider.exceptions);
  running_.store(kNone, std::memory_order_relaxed);  // as running()
}

void Carrier::live(void* rider) {
  Rider& self = *static_cast<Rider*>(rider);
  self.life();
  self.carrier.suspend(Need::nothing);
  __builtin_unreachable();
}

void Carrier::suspend(Need need) noexcept {
  Rider& rider = *current_;
  rider.need = need;
  rider.fiber.switch_to(main_);
}

Carrier::Waited Carrier::wait(bool (*ready)(const void*), const void* look,
                              uint64_t deadline) noexcept {
  Rider& rider = *current_;
  rider.ready = ready;
  rider.look = look;
  rider.deadline = deadline;
  rider.waited.late = false;
  suspend(Need::work);
  return rider.waited;
}

bool Carrier::anybody_ready() noexcept {
  return std::any_of(riders_.begin(), riders_.end(),
                     [](const auto& rider) { return rider->has_work(); });
}

// Everybody waits who has not ended.
void Carrier::sleep() noexcept {
  uint64_t deadline = UINT64_MAX;
  for (const auto& rider : riders_) {
    if (rider->need == Need::work) deadline = std::min(deadline, rider->deadline);
  }
  const uint64_t late = waiter_->counters().late;
  waiter_->idle(
      &sleeper_, [this] { return anybody_ready(); }, deadline);
  if (waiter_->counters().late == late) return;
  for (const auto& rider : riders_) rider->waited.late |= rider->has_work();
}

}  // namespace vanity
