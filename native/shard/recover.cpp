// A shard whose program was left: everything that others wait for is put right at once, the program
// is started anew when the kernel says so, and what comes until then waits in the channels.
#include <cstring>
#include <utility>

#include "platform/error.hpp"
#include "shard/isolated.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

constexpr uint64_t kLookNs = 500'000;

}  // namespace

// Apart, for what sigsetjmp does to the variables of its function. False: it faulted.
bool Shard::init_program() {
  if (contained() && sigsetjmp(guard_.exit(), 1) != 0) return false;
  program_->init(*this);
  return true;
}

// False: the program was left.
bool Shard::run_program() noexcept {
  if (contained() && sigsetjmp(guard_.exit(), 1) != 0) return false;
  poll_loop();
  program_->fini(*this);  // which may still send what it held back
  return true;
}

void Shard::leave_program() noexcept {
  record_->command.store(static_cast<uint32_t>(Command::restart), std::memory_order_relaxed);
  if (process_ != nullptr) {
    process_->child.kill();
    return;
  }
  signal(*line_->asleep);
  guard_.ask_to_leave(record_->thread());
}

void Shard::note_fault() noexcept {
  const Evidence& evidence = guard_.evidence();
  events_.note({.kind = EventKind::fault,
                .what = static_cast<uint8_t>(evidence.kind),
                .count = static_cast<uint32_t>(evidence.signal),
                .a = evidence.address,
                .b = evidence.frame_count == 0 ? 0 : evidence.frames[0]});
  events_.keep();
}

bool Shard::recover() noexcept {
  Handover* const handover = attendant_.current();
  if (handover != nullptr && handover->switched) {
    if (asked_to_leave()) {
      record_->command.store(static_cast<uint32_t>(Command::run), std::memory_order_relaxed);
    }
    note_fault();
    if (guard_.evidence().kind != FaultKind::asked) record_->faults.add(1);
    undo(Unkept::fault, 0);
    return true;
  }
  if (handover != nullptr) conclude(Step::refused, Unkept::old_fault, 0);
  put_right();
  if (process_ == nullptr) leave_devices();
  while (control() == Control::run) {
    const Verdict verdict = verdicts_.verdict();
    gave_up_ |= verdict == Verdict::give_up;
    if (Verdicts::may_start(verdict, asked_to_leave()) && devices_answered()) {
      gave_up_ = false;
      if (start_again()) return true;
      down_ = true;  // as any other fault: the kernel counts, and waits for longer
      note_fault();
      record_->faults.add(1);
      verdicts_.leave();
    }
    record_->progress.add(1);
    take_all_returns();
    hear_of_devices();
    if (wished()) attend(now_ticks());
    nap(kLookNs);
  }
  // The stop may have come with the verdict.
  gave_up_ |= verdicts_.verdict() == Verdict::give_up;
  end_without_program();
  return false;
}

// The program was left: nobody waits for what it held or had begun, and the kernel hears of it.
void Shard::put_right() noexcept {
  note_fault();
  down_ = true;
  set_phase(Phase::faulted);
  enter(ShardState::faulted);
  record_->command.store(static_cast<uint32_t>(Command::run), std::memory_order_relaxed);
  // What the program had claimed of a channel was never committed, and what it had peeked at never
  // released: the indices say so by themselves. What it held goes home.
  lost_last_ = held_.clear([this](const vanity_packet& packet) { give_home(&packet, 1); });
  const uint64_t lost = process_ != nullptr ? process_lost(lost_last_) : lost_last_;
  record_->dropped.add(lost);
  record_->dropped_fault.add(lost);
  if (guard_.evidence().kind != FaultKind::asked) record_->faults.add(1);
  flush_ports();
  ready_.flush();
  verdicts_.leave();
}

// Whatever the program had its devices do is stopped by the kernel's thread before the next one
// begins. What others work as well goes on.
void Shard::leave_devices() noexcept {
  for (const auto& device : devices_) {
    if (device->alone()) device->relay().leave();
  }
}

bool Shard::devices_answered() const noexcept {
  return std::all_of(devices_.begin(), devices_.end(),
                     [](const auto& device) { return device->relay().answered(); });
}

void Shard::clear_devices() noexcept {
  for (const auto& device : devices_) {
    if (!device->alone()) continue;
    for (const auto& memory : device->memory())
      std::memset(memory.where.data, 0, memory.where.bytes);
  }
}

// The program has made of them what they are to be; of the first one the kernel's start does this.
void Shard::begin_devices() noexcept {
  for (const auto& device : devices_) device->relay().begin();
  while (!devices_answered()) {
    record_->progress.add(1);
    nap(kLookNs);
  }
}

void Shard::note_restart() noexcept {
  down_ = false;
  record_->restarts.add(1);
  events_.note(
      {.kind = EventKind::restart, .count = static_cast<uint32_t>(record_->restarts.get())});
  set_phase(Phase::polling);
}

bool Shard::start_again() noexcept {
  record_->command.store(static_cast<uint32_t>(Command::run), std::memory_order_relaxed);
  for (const auto& output : outputs_) output->above = false;
  watched_above_ = 0;
  full_ = nullptr;
  const bool other = step_in();
  const bool started = start_program();
  if (other) settle_understudy(started);
  if (started && process_ == nullptr) begin_devices();
  if (started) note_restart();
  return started;
}

bool Shard::start_program() noexcept {
  if (place_ == nullptr) {
    program_arena().rewind(arena_mark_);
  } else if (place_->arena != nullptr) {
    place_->arena->rewind(0);
  }
  char what[sizeof(Evidence::what)] = {};
  try {
    clear_devices();
    if (process_ != nullptr) {
      down_ = false;
      return start_process();
    }
    program_->renew();
    contain();
    down_ = false;
    return init_program();
  } catch (const std::exception& error) {
    std::strncpy(what, error.what(), sizeof(what) - 1);
  }
  guard_.evidence() = Evidence{};
  guard_.evidence().kind = FaultKind::init;
  std::memcpy(guard_.evidence().what, what, sizeof(what));
  return false;
}

bool Shard::engage(std::unique_ptr<Module>& program, std::unique_ptr<Place>& place) noexcept {
  const std::lock_guard<std::mutex> lock(understudy_mutex_);
  if (understudy_.turn == Understudy::Turn::begins) return false;
  understudy_ = {Understudy::Turn::waits, std::move(program), std::move(place)};
  return true;
}

Understudy::Turn Shard::understudy() noexcept {
  const std::lock_guard<std::mutex> lock(understudy_mutex_);
  return understudy_.turn;
}

Understudy Shard::dismiss() noexcept {
  const std::lock_guard<std::mutex> lock(understudy_mutex_);
  return std::exchange(understudy_, Understudy{});
}

// False: nobody waits.
bool Shard::step_in() noexcept {
  const std::lock_guard<std::mutex> lock(understudy_mutex_);
  if (understudy_.turn != Understudy::Turn::waits) return false;
  understudy_.turn = Understudy::Turn::begins;
  change_with_understudy();
  return true;
}

// It has begun, or has not: then the one before is the next again.
void Shard::settle_understudy(bool started) noexcept {
  const std::lock_guard<std::mutex> lock(understudy_mutex_);
  understudy_.turn = started ? Understudy::Turn::plays : Understudy::Turn::failed;
  if (!started) {
    change_with_understudy();
    return;
  }
  record_->generation.add(1);
  record_->reloads.add(1);
}

void Shard::change_with_understudy() noexcept {
  std::unique_ptr<Program> now = std::move(understudy_.program);
  understudy_.program.reset(program_.release()->module());
  program_ = std::move(now);
  std::swap(place_, understudy_.place);
  if (place_ != nullptr) place_->handle.rehearsal = nullptr;
  program_->module()->play(handle(), &guard_);
}

void Shard::end_without_program() noexcept {
  enter(ShardState::draining);
  const bool stuck = guard_.evidence().kind == FaultKind::asked && control() == Control::stop_now;
  if (stuck) {
    note_failure("VANITY_E_STUCK", "did not stop, and was left: " + plan_.name,
                 "its poll() does not return");
  } else if (gave_up_) {
    note_failure("VANITY_E_PROGRAM_FAULT",
                 "shard " + plan_.name + ": its program faulted " +
                     std::to_string(record_->faults.get()) + " times and was given up",
                 "the warnings above say where");
  }
  drop_again();
  drain_inputs();
  send_off();
  publish_wait_counters();
  enter(gave_up_ || stuck ? ShardState::failed : ShardState::stopped);
}

// Until nothing more can come, or at once when there is no time.
void Shard::drain_inputs() noexcept {
  while (control() != Control::stop_now) {
    record_->progress.add(1);
    hear_of_devices();
    take_all_returns();
    if (plan_.kind == ProgramKind::typescript) take_up_rings();
    for (uint32_t input; (input = ready_.next()) != Inputs::kNoInput;) {
      if (inputs_[input]->record->carries_packets != 0) {
        drop_input(input);
        continue;
      }
      // Messages hold no buffers: they are only let go.
      while (const ReadableSlots slots = consumers_[input].peek(limits::kBurstMax)) {
        inputs_[input]->record->received.add(slots.count);
        inputs_[input]->record->dropped.add(slots.count);
        consumers_[input].release(slots.count);
      }
    }
    if (control() == Control::finish && inputs_empty()) break;
    idle();
  }
}

}  // namespace vanity
