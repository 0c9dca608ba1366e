// A shard that is held: its program is not called, all it had begun is handed on, and it goes on by
// a word of the segment. Neither the kernel's thread nor JavaScript has a part in it.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/clock.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

// What the kernel wants is looked for this often; a release ends the wait by itself.
constexpr uint64_t kHeldNsMax = 1'000'000;

}  // namespace

void Shard::obey() noexcept {
  if (asked_to_leave()) {
    if (contained()) guard_.leave(FaultKind::asked, "");
    // JavaScript leaves by itself, and finds the word as it was.
    if (plan_.kind == ProgramKind::typescript) return;
    record_->command.store(static_cast<uint32_t>(Command::run), std::memory_order_relaxed);
    return;
  }
  const auto held = [this] {
    return record_->command.load(std::memory_order_relaxed) ==
               static_cast<uint32_t>(Command::hold) &&
           control() == Control::run;
  };
  if (held() && record_->steps_taken.get() < record_->steps_asked.get()) {
    if (state() == ShardState::held) {  // as it was left to attend
      set_phase(Phase::polling);
      enter(ShardState::running);
    }
    take_step();
    return;
  }
  // Nothing that others wait for stays half done.
  flush_ports();
  ready_.flush();
  if (state() != ShardState::held) enter(ShardState::held);
  set_phase(Phase::held);
  const uint64_t since = now_ticks();
  uint64_t counted = since;
  while (held() && record_->steps_taken.get() >= record_->steps_asked.get()) {
    record_->progress.add(1);
    const bool script = plan_.kind == ProgramKind::typescript;
    if (wished() && !script) attend(now_ticks());
    if (!devices_.empty()) hear_of_devices();
    wait_for_release();
    const uint64_t now = now_ticks();
    record_->held_ticks.add(now - counted);
    counted = now;
    if (script && wished()) return;  // held as it is: JavaScript attends, and comes back
  }
  if (sampled()) trail_.waited(Event::Wait::held, 0, since, counted, since);
  set_phase(Phase::polling);
  enter(ShardState::running);
  if (asked_to_leave()) obey();
  if (held()) take_step();
}

void Shard::wait_for_release() noexcept {
  if (carrier_ != nullptr) {
    nap(kHeldNsMax);  // the word is not what its thread sleeps on
    return;
  }
  const timespec most{0, static_cast<long>(kHeldNsMax)};
  // Not private: whoever releases it is another process.
  syscall(SYS_futex, &record_->command, FUTEX_WAIT, static_cast<uint32_t>(Command::hold), &most,
          nullptr, 0);
}

void Shard::take_step() noexcept {
  record_->steps_taken.add(1);
  events_.note(
      {.kind = EventKind::step, .count = static_cast<uint32_t>(record_->steps_taken.get())});
}

}  // namespace vanity
