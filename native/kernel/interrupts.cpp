#include "kernel/interrupts.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "platform/clock.hpp"
#include "platform/error.hpp"

namespace vanity {

Interrupts::Interrupts(std::function<void(const std::string&)> warn, StormLimits limits)
    : warn_(std::move(warn)), limits_(limits) {}

IrqLine& Interrupts::add(const VectorSpec& spec) {
  auto source = std::make_unique<Source>();
  source->fd = spec.fd;
  source->owner = spec.owner;
  source->record = spec.record;
  source->shard = spec.shard;
  source->shard_name = spec.shard_name;
  source->level = spec.unmask_fd >= 0;
  source->ends_here = source->level && spec.record->eoi == static_cast<uint32_t>(Eoi::immediate);
  if (source->level) {
    // A shard may still write to it when the device is closed: the number must not be another's.
    source->unmask = Fd(fcntl(spec.unmask_fd, F_DUPFD_CLOEXEC, 0));
    if (!source->unmask) {
      throw system_error("VANITY_E_SYSTEM", "an eventfd that unmasks", errno,
                         "raise the limit: ulimit -n");
    }
  }
  source->line = std::make_unique<IrqLine>(
      spec.record, source->level && !source->ends_here ? source->unmask.get() : -1, spec.words);
  events_.add(source->fd, source.get());
  return *sources_.emplace_back(std::move(source))->line;
}

void Interrupts::add(int fd, uint32_t owner, std::function<void(uint64_t)> call) {
  auto source = std::make_unique<Source>();
  source->fd = fd;
  source->owner = owner;
  source->call = std::move(call);
  events_.add(source->fd, source.get());
  sources_.push_back(std::move(source));
}

void Interrupts::add_readable(int fd, uint32_t owner, std::function<void()> call) {
  auto source = std::make_unique<Source>();
  source->fd = fd;
  source->owner = owner;
  source->counts = false;
  source->call = [call = std::move(call)](uint64_t) { call(); };
  events_.add(source->fd, source.get());
  sources_.push_back(std::move(source));
}

void Interrupts::remove(uint32_t owner) noexcept {
  for (const auto& source : sources_) {
    if (source->owner != owner || !source->live) continue;
    source->live = false;
    if (source->held_until != 0) --holding_;
    source->held_until = 0;
    events_.remove(source->fd);
  }
}

void Interrupts::settle(uint32_t owner) noexcept {
  for (const auto& source : sources_) {
    if (source->owner != owner || source->line == nullptr) continue;
    if (source->held_until != 0) --holding_;
    source->held_until = source->pause_ns = source->held = 0;
    source->untaken = 0;
    source->line->settle();
  }
}

bool Interrupts::wait(uint64_t ns) noexcept {
  uint64_t now = monotonic_ns();
  uint64_t until = ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
  if (holding_ != 0) {
    for (const auto& source : sources_) {
      if (source->held_until != 0) until = std::min(until, source->held_until);
    }
  }
  void* tags[EventSet::kMost];
  const int count = events_.wait(tags, now, until);
  now = monotonic_ns();
  bool others = false;
  for (int i = 0; i < count; ++i) {
    Source& source = *static_cast<Source*>(tags[i]);
    uint64_t times = 0;
    if (!source.live) continue;
    if (source.counts && !take_event(source.fd, times)) continue;
    if (source.call) {
      others = true;
      source.call(times);
    } else {
      fired(source, times, now);
    }
  }
  if (holding_ != 0) end_pauses(now);
  return others;
}

void Interrupts::fired(Source& source, uint64_t times, uint64_t now_ns) noexcept {
  if (!source.level) {
    deliver(source, times);
    return;
  }
  source.masked_ticks = now_ticks();
  const bool held = source.held_until != 0;  // a line that is masked does not fire, but who knows
  if (!storms(source, now_ns)) {
    deliver(source, times);
    if (source.ends_here) unmask(source);
    return;
  }
  // The line is masked, and stays so: what is held back is the unmasking, or, where the shard does
  // that, the shard's knowledge.
  source.record->suppressed.add(times);
  if (source.ends_here)
    deliver(source, times);
  else
    source.held += times;
  if (!held) ++holding_;
}

// A level line fired. Does it storm? Then `held_until` says how long it is held back.
bool Interrupts::storms(Source& source, uint64_t now_ns) noexcept {
  if (now_ns - source.window_ns > limits_.window_ns) {
    source.fast = source.fast && source.in_window >= limits_.in_window;
    source.window_ns = now_ns;
    source.in_window = 0;
  }
  ++source.in_window;
  // Both words are read as any reader of the segment does: they order nothing.
  const bool taken = source.record->taken.get() == source.record->raised.get();
  source.untaken = taken || !source.ends_here ? 0 : source.untaken + 1;
  if (source.untaken >= limits_.untaken) {
    if (source.pause_ns == 0) begin_storm(source, now_ns);
    source.pause_ns = std::clamp(source.pause_ns * 2, limits_.pause_ns_min, limits_.pause_ns_max);
    source.held_until = now_ns + source.pause_ns;
    return true;
  }
  source.pause_ns = 0;
  if (source.in_window < limits_.in_window) return false;
  // Whoever serves it may be that fast, or forget to tell the device: no faster it gets.
  if (!source.fast) begin_storm(source, now_ns);
  source.fast = true;
  source.held_until = source.window_ns + limits_.window_ns + 1;
  return true;
}

void Interrupts::begin_storm(Source& source, uint64_t now_ns) noexcept {
  source.record->storms.add(1);
  report(source, source.window_ns, now_ns);
}

void Interrupts::report(const Source& source, uint64_t began_ns, uint64_t now_ns) noexcept {
  // The first, the second, the fourth: a driver that is wrong is so for ever.
  const uint64_t storms = source.record->storms.get();
  if ((storms & (storms - 1)) != 0) return;
  try {
    const std::string name(source.record->name);
    const std::string device = name.substr(0, name.rfind('.'));
    warn_("device " + device + ", vector " + std::to_string(source.record->vector) + ", shard " +
          source.shard_name + ": " + std::to_string(source.in_window) + " interrupts in " +
          std::to_string((now_ns - began_ns) / 1000) + " us" +
          (source.untaken != 0
               ? ", and the shard took none of the last " + std::to_string(source.untaken)
               : std::string()) +
          "; held back from here on");
  } catch (...) {
    // Without memory for a message the counter has to do.
  }
}

void Interrupts::deliver(Source& source, uint64_t times) noexcept {
  source.line->raise(now_ticks(), times);
  source.shard->doorbell.ring(Doorbell::kControlIrq);
  signal(*source.shard->asleep);
}

void Interrupts::unmask(Source& source) noexcept {
  source.record->done.add(1);
  source.record->masked_ticks.add(now_ticks() - source.masked_ticks);
  raise_event(source.unmask.get());
}

void Interrupts::end_pauses(uint64_t now_ns) noexcept {
  for (const auto& source : sources_) {
    if (source->held_until == 0 || source->held_until > now_ns) continue;
    source->held_until = 0;
    --holding_;
    if (source->ends_here) {
      unmask(*source);
    } else {
      deliver(*source, std::exchange(source->held, 0));
    }
  }
}

}  // namespace vanity
