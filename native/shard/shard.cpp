#include "shard/shard.hpp"

#include <cstring>

#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"
#include "shard/isolated.hpp"
#include "shard/quiet.hpp"

namespace vanity {
namespace {

// A shard that is never idle must not keep what its ports hold back, or who waits for a queue that
// it does not call.
constexpr uint32_t kBusyTurnsBetweenFlushes = 1024;
// One that is carried by a thread of many lets the others have as many turns as it.
constexpr uint32_t kBusyTurnsCarried = 1;

}  // namespace

Shard::Shard(const ShardPlan& plan, uint32_t index, ShardRecord* record, bool oversubscribed)
    : plan_(plan),
      index_(index),
      record_(record),
      oversubscribed_(oversubscribed),
      busy_turns_most_(kBusyTurnsBetweenFlushes) {
  handle_ = {{&kApi}, this, nullptr, &plan_.options};
  std::strncpy(record->name, plan.name.c_str(), sizeof(record->name) - 1);
  name_program(plan.program);
  record->core = plan.core;
  record->strategy = static_cast<uint32_t>(plan.strategy);
  record->fifo = plan.fifo;
  record->generation.set(1);
}

void Shard::name_program(const std::string& path) noexcept {
  const size_t slash = path.rfind('/');
  std::strncpy(record_->program, path.c_str() + (slash == std::string::npos ? 0 : slash + 1),
               sizeof(record_->program) - 1);
}

Shard::~Shard() {
  if (thread_.joinable()) thread_.join();
  if (line_ != nullptr && line_left_ == nullptr) line_->~ShardLine();
}

Shard* Shard::of(vanity_shard* handle) {
  return reinterpret_cast<ShardHandle*>(handle)->shard;
}

void Shard::control(Control wanted) noexcept {
  line_->control.store(static_cast<uint32_t>(wanted), std::memory_order_release);
  line_->doorbell.ring(Doorbell::kControlKernel);
  signal(*line_->asleep);
}

void Shard::fail(const std::string& code, const std::string& message,
                 const std::string& hint) noexcept {
  note_failure(code, message, hint);
  enter(ShardState::failed);
}

void Shard::note_failure(const std::string& code, const std::string& message,
                         const std::string& hint) noexcept {
  failure_code_ = code;
  failure_ = message;
  failure_hint_ = hint;
  failed_.store(true, std::memory_order_release);  // pairs with has_failed(): publishes the texts
}

void Shard::start() {
  const Quiet quiet;  // the new thread inherits it
  thread_ = Hardware::Thread([this] { thread_main(); });
}

void Shard::ride(Carrier& carrier) {
  carrier_ = &carrier;
  line_->asleep = &carrier.sleeper();
  busy_turns_most_ = kBusyTurnsCarried;
  carrier.add(index_, plan_, guard_, [this] { live(); });
}

uint32_t Shard::displaced_by() const noexcept {
  const uint32_t runs = carrier_ == nullptr ? kNone : carrier_->running();
  return runs == index_ ? kNone : runs;
}

void Shard::join() {
  if (thread_.joinable()) thread_.join();
}

void Shard::set_up_thread() {
  record_->tid.store(static_cast<uint32_t>(thread_id()), std::memory_order_relaxed);
  if (carrier_ == nullptr) {
    set_thread_name(plan_.name);
    if (plan_.core != kNone) pin_thread(plan_.core);
    set_fifo(plan_.fifo);
  }
  record_->wait_backend = static_cast<uint32_t>(make_waiter());
}

Backend Shard::make_waiter() {
  const Backend backend = carrier_ == nullptr ? choose_backend(plan_.wait) : Backend::futex;
  // On a shared core a spin keeps the very thread waiting that would end it.
  const uint64_t spin = oversubscribed_ ? 0 : ns_to_ticks(plan_.spin_ns_max);
  waiter_ = std::make_unique<Waiter>(backend, WaitTuning{spin, ns_to_ticks(plan_.sleep_ns_max)},
                                     &line_->sleeper);
  return backend;
}

void Shard::adopt_thread() {
  Rights::take_all();  // of packets and rings that others are confined to; it was there before
  set_up_thread();
}

void Shard::thread_main() noexcept {
  if (process_ != nullptr) {
    keep_process();
    return;
  }
  const Guard::Thread guarded(guard_);
  confined() ? live_confined() : live();
}

void Shard::live() noexcept {
  arena_mark_ = program_arena().used();
  try {
    set_up_thread();
    if (!init_program()) {
      fail("VANITY_E_PROGRAM_INIT", "shard " + plan_.name + ": its program faulted in init",
           "run it under a debugger; with on_fault = \"stop-system\" a fault ends the process");
      return;
    }
  } catch (const Error& error) {
    fail(error.code(), "shard " + plan_.name + ": " + error.what(), error.hint());
    return;
  } catch (const std::exception& error) {
    fail("VANITY_E_PROGRAM_INIT", "shard " + plan_.name + ": " + error.what(), "");
    return;
  }
  enter(ShardState::ready);
  while (control() == Control::wait) {
    record_->progress.add(1);
    wait_to_be_let_go();
    // Woken for something else, whose mark stays until it works.
    if (control() == Control::wait) pause();
  }
  while (!run_program()) {
    if (!recover()) return;
  }
  send_off();
  publish_wait_counters();
  enter(ShardState::stopped);
}

void Shard::poll_loop() noexcept {
  enter(ShardState::running);
  const uint32_t busy_turns_most = busy_turns_most_;
  bool draining = false;
  uint32_t work = 0;
  uint32_t busy_turns = 0;
  uint64_t last = now_ticks();
  for (;;) {
    record_->turn_ticks.set(last);
    const Control wanted = control();
    if (wanted != Control::run) [[unlikely]] {
      if (wanted == Control::stop_now) return;
      if (!draining) enter(ShardState::draining);
      draining = true;
      if (wanted == Control::finish && inputs_empty()) return;
    } else {
      if (draining) [[unlikely]] {
        draining = false;  // it was to end, and is not any more
        enter(ShardState::running);
      }
      if (commanded()) [[unlikely]] {
        obey();
        last = now_ticks();
      }
    }
    if (wished()) [[unlikely]]
      attend(last);
    if (!devices_.empty()) hear_of_devices();
    if (!returns_.empty() && (--returns_wait_ == 0 || work == 0)) take_returns();
    work = program_->poll(*this);
    const uint64_t now = now_ticks();
    record_->polls.add(1);
    record_->progress.add(1);
    if (work != 0) {
      record_->polls_busy.add(1);
      record_->busy_ticks.add(now - last);
      record_->burst.record(work);
      record_->service_ticks.record(now - last);
      if (traced()) [[unlikely]] {
        events_.note({.ticks = now, .kind = EventKind::turn, .count = work, .a = last});
      }
      last = now;
      if (++busy_turns == busy_turns_most) [[unlikely]] {
        busy_turns = 0;
        flush_ports();
        if (carrier_ != nullptr) {
          carrier_->give_way();
          last = now_ticks();
        }
      }
      continue;
    }
    busy_turns = 0;
    record_->idle_ticks.add(now - last);
    idle();
    last = now_ticks();
    record_->wait_ticks.add(last - now);
    if (sampled()) [[unlikely]]
      note_idle(now, last);
  }
}

bool Shard::inputs_empty() noexcept {
  if (!again_.empty()) return false;
  for (Consumer& consumer : consumers_) {
    if (consumer.ready()) return false;
  }
  return true;
}

}  // namespace vanity
