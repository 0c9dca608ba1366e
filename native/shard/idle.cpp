// What a shard does when it found nothing to do: whatever it waits for, the wait is bounded.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "platform/clock.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

// A full ring of long frames at a gigabit takes 50 ms.
constexpr uint64_t kSendOffNsMax = 100'000'000;
constexpr uint64_t kPollNsMax = 10'000'000;
// A monitor watches one line: with rotate or primary the other inputs are looked at this often.
constexpr uint64_t kUnwatchedNsMax = 20'000;
// A consumer that makes room signals nobody, so a program that waits for it looks this often.
constexpr uint64_t kRoomNsMax = 50'000;
// Nor does it when it falls to a low watermark.
constexpr uint64_t kWatermarkNsMax = 1'000'000;
// Nor does a device that has read the packets that a queue keeps for it.
constexpr uint64_t kKeptNsMax = 1'000'000;

}  // namespace

bool Shard::anything() noexcept {
  return ready_.anything();
}

uint64_t Shard::port_sleep_ns() const noexcept {
  uint64_t least = program_ != nullptr ? program_->sleep_ns_max() : kSleepForever;
  if (stopping()) return kSleepForever;  // ports are not asked any more
  for (const Rx& rx : rx_) least = std::min(least, rx.queue->sleep_ns_max());
  for (const Tx& tx : tx_)
    if (tx.keeps && tx.queue->holding()) least = std::min(least, kKeptNsMax);
  return least;
}

// What waited for a fuller burst goes out, and what the devices are done with comes home.
void Shard::flush_ports() noexcept {
  for (const Tx& tx : tx_) {
    tx.queue->flush();
    if (tx.keeps) take_completed(*tx.queue);
  }
}

// What its NICs have taken reaches the wire before the shard ends, unless nothing leaves any more.
void Shard::send_off() noexcept {
  const uint64_t until = now_ticks() + ns_to_ticks(kSendOffNsMax);
  for (;;) {
    flush_ports();
    const bool held = std::any_of(tx_.begin(), tx_.end(),
                                  [](const Tx& tx) { return tx.keeps && tx.queue->holding(); });
    if (!held || control() == Control::stop_now || now_ticks() > until) return;
    pause();
  }
}

// Who has work for it: the marks of the doorbell, and where producers do not ring, the same of the
// channels themselves.
uint64_t Shard::marks() noexcept {
  uint64_t marks = line_->doorbell.marks();
  if (ready_.by_bell()) return marks;
  for (uint32_t i = 0; i < slot_count(); ++i) {
    if (consumers_[i].ready()) marks |= uint64_t{1} << Doorbell::byte_of(i, slot_count());
  }
  return marks;
}

void Shard::note_wake(Wake wake, uint64_t waits) noexcept {
  events_.note({.kind = EventKind::wake,
                .what = static_cast<uint8_t>(wake),
                .count = static_cast<uint32_t>(waits),
                .a = marks()});
}

void Shard::note_idle(uint64_t since, uint64_t until) noexcept {
  const uint64_t waits = record_->waits.get();
  const bool slept = waits != waits_seen_;
  waits_seen_ = waits;
  const Event::Wait why = slept             ? Event::Wait::slept
                          : oversubscribed_ ? Event::Wait::yielded
                                            : Event::Wait::polled;
  // Until it has work again, all of it is one wait.
  trail_.waited(why, 0, since, until, record_->polls_busy.get());
}

void Shard::idle() noexcept {
  set_phase(Phase::idle);
  sleep_idle();
  set_phase(Phase::polling);
}

void Shard::sleep_idle() noexcept {
  flush_ports();
  ready_.flush();
  if (!again_.empty()) return;
  // Control was read at the head of the turn or will be at the head of the next, and so will be
  // what an interrupt or a wish is for: the mark has done its work and must not keep the shard
  // awake.
  for (const uint32_t byte :
       {Doorbell::kControlKernel, Doorbell::kControlIrq, Doorbell::kControlReload}) {
    if (line_->doorbell.bytes[byte].load(std::memory_order_relaxed) == 0) continue;
    line_->doorbell.take(byte);
    return;
  }
  // A program that peeks at channels of messages takes no marks, and those would keep the shard
  // awake for ever. What it left in a channel does keep it awake.
  if (message_inputs_ != 0 && ready_.by_bell() && ready_.next() != Inputs::kNoInput) {
    pause();
    return;
  }
  const uint64_t sleep_ns = port_sleep_ns();
  if (sleep_ns == 0) {
    // Nobody signals what it waits for. On a shared core, whoever brings it needs the core.
    pause();
    return;
  }
  for (uint32_t i = 0; watched_above_ != 0 && i < outputs_.size(); ++i) {
    if (outputs_[i]->above) watch_depth(*outputs_[i]);
  }
  uint64_t bound_ns = sleep_ns;
  if (watched_above_ != 0) bound_ns = std::min(bound_ns, kWatermarkNsMax);
  if (full_ != nullptr) {
    if (wait_for_room()) return;
    bound_ns = std::min(bound_ns, kRoomNsMax);
  } else if (sleep_on_ports()) {
    return;
  }
  if (!ready_.by_bell() && inputs_.size() + interrupts_ > 1 &&
      waiter_->backend() != Backend::futex) {
    bound_ns = std::min(bound_ns, kUnwatchedNsMax);
  }
  const uint64_t deadline =
      bound_ns == kSleepForever ? UINT64_MAX : now_ticks() + ns_to_ticks(bound_ns);
  if (carrier_ != nullptr) {
    sleep_on_carrier(deadline);
    return;
  }
  // Whoever slept to the bound, and has found nothing since, may wait for long yet.
  const uint64_t busy = record_->polls_busy.get();
  if (oversubscribed_ && slept_through_ != busy && yield_for_work()) return;
  const uint64_t waits = waiter_->counters().waits;
  const bool noted = traced();  // whoever notes the beginning notes the end
  if (noted) events_.note({.kind = EventKind::sleep, .a = deadline});
  // A futex is signalled for whatever it is; a monitor watches one line.
  const bool signals_for_all = waiter_->backend() == Backend::futex;
  const Wake wake = waiter_->idle(
      ready_.watch(), [this] { return anything(); }, deadline,
      [&] { return signals_for_all || ready_.anything_watched(); });
  slept_through_ = wake == Wake::deadline ? busy : UINT64_MAX;
  if (noted) note_wake(wake, waiter_->counters().waits - waits);
  publish_wait_counters();
}

// The spin of a shared core: whoever brings the work may need this very core, so it gets it.
// Without this, every burst would find its consumer asleep and pay for a wake.
bool Shard::yield_for_work() noexcept {
  const uint64_t until = now_ticks() + ns_to_ticks(plan_.spin_ns_max);
  do {
    Hardware::yield();
    if (anything()) return true;
  } while (now_ticks() < until);
  return false;
}

// Its thread goes on with the others, and sleeps when none has work.
void Shard::sleep_on_carrier(uint64_t deadline) noexcept {
  // They come to their bounds together, so that the thread is woken once for all of them.
  const uint64_t bound = std::max<uint64_t>(ns_to_ticks(plan_.sleep_ns_max), 1);
  deadline = std::min(deadline, (now_ticks() / bound + 1) * bound);
  const bool noted = traced();
  if (noted) events_.note({.kind = EventKind::sleep, .a = deadline});
  const auto [wake, late] = carrier_->wait([this] { return anything(); }, deadline);
  ++other_waits_.waits;
  ++(wake == Wake::signalled ? other_waits_.signalled : other_waits_.deadline);
  other_waits_.late += late;
  if (noted) note_wake(wake, 1);
  publish_wait_counters();
}

void Shard::wait_to_be_let_go() noexcept {
  const auto go = [this] { return let_go(); };
  if (carrier_ != nullptr) {
    carrier_->wait(go, now_ticks() + ns_to_ticks(plan_.sleep_ns_max));
  } else {
    waiter_->idle(&line_->doorbell, go, UINT64_MAX);
  }
}

void Shard::nap(uint64_t ns) noexcept {
  if (carrier_ != nullptr) {
    carrier_->wait([] { return false; }, now_ticks() + ns_to_ticks(ns));
    return;
  }
  // Nobody wakes by its word who finds there that it is awake.
  Hardware::futex_wait(line_->sleeper.sleeping, 0, now_ticks() + ns_to_ticks(ns));
}

// The program gave up on a full channel: most likely that is what it waits for. Whatever else there
// is for it, whoever makes room may need this very core.
bool Shard::wait_for_room() noexcept {
  vanity_channel& channel = *full_;
  full_ = nullptr;
  const uint64_t until = now_ticks() + ns_to_ticks(plan_.spin_ns_max);
  do {
    if (channel.producer.depth_now() < channel.producer.capacity()) return true;
    pause();
    if (anything()) return true;
  } while (now_ticks() < until && !stopping());
  return false;
}

bool Shard::sleep_on_ports() noexcept {
  // The descriptors would not wake the thread for its other shards.
  if (polled_.empty() || interrupts_ || stopping() || carrier_ != nullptr) return false;
  uint64_t ns = std::min(program_->sleep_ns_max(), std::min(plan_.sleep_ns_max, kPollNsMax));
  nfds_t count = 0;
  for (const Rx& rx : rx_) {
    const int fd = rx.queue->poll_fd();
    if (fd >= 0) {
      polled_[count++] = {fd, POLLIN, 0};
    } else {
      ns = std::min(ns, rx.queue->sleep_ns_max());
    }
  }
  if (count == 0) return false;
  const timespec timeout{0, static_cast<long>(ns)};
  const bool noted = traced();
  if (noted) events_.note({.kind = EventKind::sleep, .a = now_ticks() + ns_to_ticks(ns)});
  const int ready = ppoll(polled_.data(), count, &timeout, nullptr);
  ++other_waits_.waits;
  ++(ready > 0 ? other_waits_.signalled : other_waits_.deadline);
  if (noted) note_wake(ready > 0 ? Wake::signalled : Wake::deadline, 1);
  for (nfds_t i = 0; ready > 0 && i < count; ++i) {
    // An interface that goes leaves an error behind, which would end every wait from now on.
    int error;
    socklen_t size = sizeof(error);
    if ((polled_[i].revents & POLLERR) != 0) {
      getsockopt(polled_[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
  }
  publish_wait_counters();
  return true;
}

void Shard::publish_wait_counters() noexcept {
  const WaitCounters& counters = waiter_->counters();
  record_->waits.set(counters.waits + other_waits_.waits);
  record_->wakes_signalled.set(counters.signalled + other_waits_.signalled);
  record_->wakes_deadline.set(counters.deadline + other_waits_.deadline);
  record_->wakes_os.set(counters.os_limit);
  record_->wakes_spurious.set(counters.spurious);
  record_->wakes_late.set(counters.late + other_waits_.late);
  record_->spin_budget_ticks.set(waiter_->spin_budget());
}

void Shard::pause() noexcept {
  if (carrier_ != nullptr) {
    carrier_->pause();
  } else if (oversubscribed_) {
    Hardware::yield();
  } else {
    relax();
  }
}

}  // namespace vanity
