#include "shard/shard.hpp"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>

#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"

namespace vanity {
namespace {

constexpr uint32_t kNoBuffer = 0xffffffffu;
constexpr uint32_t kHomeSlotsAhead = 64;  // eight lines
// Looking for returns costs a crossing whether there are many or few: look seldom, take many.
constexpr uint32_t kTurnsBetweenReturns = 8;
constexpr uint32_t kIdsPerElement = 2;  // of a return ring, whose elements are 8 bytes
constexpr uint64_t kPollNsMax = 10'000'000;
// A monitor watches one line: with rotate or primary the other inputs are looked at this often.
constexpr uint64_t kUnwatchedNsMax = 20'000;

}  // namespace

Shard::Shard(const ShardPlan& plan, uint32_t index, ShardRecord* record, bool oversubscribed)
    : plan_(plan), index_(index), record_(record), oversubscribed_(oversubscribed) {
  handle_ = {{&kApi}, this};
  std::strncpy(record->name, plan.name.c_str(), sizeof(record->name) - 1);
  const size_t slash = plan.program.rfind('/');
  const std::string program =
      slash == std::string::npos ? plan.program : plan.program.substr(slash + 1);
  std::strncpy(record->program, program.c_str(), sizeof(record->program) - 1);
  record->core = plan.core;
  record->strategy = static_cast<uint32_t>(plan.strategy);
  record->fifo = plan.fifo;
}

Shard::~Shard() {
  if (thread_.joinable()) thread_.join();
  if (line_ != nullptr) line_->~ShardLine();
}

Shard* Shard::of(vanity_shard* handle) {
  return reinterpret_cast<Handle*>(handle)->shard;
}

// ---- wiring
// --------------------------------------------------------------------------------------

void Shard::set_arena(std::unique_ptr<Arena> arena) {
  arena_ = std::move(arena);
  line_ = new (arena_->allocate(sizeof(ShardLine), alignof(ShardLine))) ShardLine();
  record_->arena_bytes.set(arena_->bytes());
  record_->arena_pages = static_cast<uint32_t>(arena_->kind());
  record_->arena_locked = arena_->locked() ? 1 : 0;
}

void Shard::add_input(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                      const Channel& ring) {
  auto end = std::make_unique<vanity_channel>();
  end->name = plan.name;
  end->index = index;
  end->shard = this;
  end->record = record;
  end->packets = plan.packets;
  end->ring = ring;
  if (!plan.packets) ++message_inputs_;
  inputs_.push_back(std::move(end));
  consumers_.push_back(ring.consumer());
}

void Shard::add_output(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                       const Channel& ring, Bell bell, Sleeper* sleeper) {
  auto end = std::make_unique<vanity_channel>();
  end->name = plan.name;
  end->index = index;
  end->shard = this;
  end->record = record;
  end->packets = plan.packets;
  end->overflow = plan.overflow;
  end->high = plan.high_watermark;
  end->low = plan.low_watermark;
  end->ring = ring;
  end->producer = ring.producer();
  end->bell = bell;
  end->sleeper = sleeper;
  outputs_.push_back(std::move(end));
}

void Shard::owns_pool(Pool* pool) {
  if (owned_pools_.size() <= pool->index()) owned_pools_.resize(pool->index() + 1, nullptr);
  owned_pools_[pool->index()] = pool;
}

void Shard::add_home(uint32_t pool, const Producer& producer) {
  if (homes_.size() <= pool) homes_.resize(pool + 1);
  homes_[pool] = producer;
  homes_[pool].own_in_advance(kHomeSlotsAhead);
}

void Shard::add_returns(Pool* pool, const Consumer& consumer) {
  returns_.push_back({pool, consumer});
}

void Shard::wire(const PoolTable* pools) {
  pools_ = pools;
  uint32_t primary = 0;
  for (uint32_t i = 0; i < inputs_.size(); ++i) {
    inputs_[i]->consumer = &consumers_[i];
    if (inputs_[i]->index == plan_.primary) primary = i;
  }
  ready_ = Inputs(consumers_.data(), input_count(), plan_.strategy, &line_->doorbell, primary);
  if (inputs_.empty()) polled_.resize(rx_.size());
}

vanity_channel* Shard::find_channel(const std::string& name) noexcept {
  for (const auto* ends : {&inputs_, &outputs_}) {
    for (const auto& end : *ends) {
      if (end->name == name) return end.get();
    }
  }
  return nullptr;
}

Counter* Shard::user_counter(const std::string& name) {
  for (uint32_t i = 0; i < user_counters_; ++i) {
    if (name == record_->user[i].name) return &record_->user[i].value;
  }
  if (user_counters_ == limits::kUserCounters || name.empty() || name.size() > limits::kNameBytes) {
    throw Error("VANITY_E_PROGRAM_INIT",
                "shard " + plan_.name + ": counter \"" + name + "\": a program may have " +
                    std::to_string(limits::kUserCounters) + " counters, with names of 1 to " +
                    std::to_string(limits::kNameBytes) + " bytes");
  }
  DynamicCounter& counter = record_->user[user_counters_++];
  std::strncpy(counter.name, name.c_str(), sizeof(counter.name) - 1);
  return &counter.value;
}

void* Shard::arena_allocate(size_t bytes, size_t align) {
  return arena_->allocate(bytes, align);
}

// ---- life
// ----------------------------------------------------------------------------------------

void Shard::control(Control wanted) noexcept {
  line_->control.store(static_cast<uint32_t>(wanted), std::memory_order_release);
  line_->doorbell.ring(Doorbell::kControlKernel);
  signal(line_->sleeper);
}

void Shard::fail(const std::string& code, const std::string& message,
                 const std::string& hint) noexcept {
  note_failure(code, message, hint);
  set_state(ShardState::failed);
}

void Shard::note_failure(const std::string& code, const std::string& message,
                         const std::string& hint) noexcept {
  failure_code_ = code;
  failure_ = message;
  failure_hint_ = hint;
  failed_.store(true, std::memory_order_release);  // pairs with has_failed(): publishes the texts
}

void Shard::start() {
  // A handler takes microseconds at the best: whoever sends signals to the process finds other
  // threads. What a thread brings on itself, and profilers, stay.
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF}) {
    sigdelset(&blocked, own);
  }
  pthread_sigmask(SIG_SETMASK, &blocked, &before);  // the new thread inherits it
  try {
    thread_ = std::thread([this] { thread_main(); });
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Shard::join() {
  if (thread_.joinable()) thread_.join();
}

void Shard::set_up_thread() {
  record_->tid = static_cast<uint32_t>(thread_id());
  set_thread_name(plan_.name);
  if (plan_.core != kNone) pin_thread(plan_.core);
  set_fifo(plan_.fifo);
  const Backend backend = choose_backend(plan_.wait);
  record_->wait_backend = static_cast<uint32_t>(backend);
  // On a shared core a spin keeps the very thread waiting that would end it.
  const uint64_t spin = oversubscribed_ ? 0 : ns_to_ticks(plan_.spin_ns_max);
  waiter_ = std::make_unique<Waiter>(backend, WaitTuning{spin, ns_to_ticks(plan_.sleep_ns_max)},
                                     &line_->sleeper);
}

void Shard::adopt_thread() {
  set_up_thread();
}

void Shard::thread_main() noexcept {
  try {
    set_up_thread();
    program_->init(*this);
  } catch (const Error& error) {
    fail(error.code(), "shard " + plan_.name + ": " + error.what(), error.hint());
    return;
  } catch (const std::exception& error) {
    fail("VANITY_E_PROGRAM_INIT", "shard " + plan_.name + ": " + error.what(), "");
    return;
  }
  set_state(ShardState::ready);
  while (control() == Control::wait) {
    record_->progress.add(1);
    waiter_->idle(
        &line_->doorbell, [this] { return control() != Control::wait; }, UINT64_MAX);
  }
  poll_loop();
  program_->fini(*this);  // which may still send what it held back
  for (TxQueue* queue : tx_) queue->flush();
  publish_wait_counters();
  set_state(ShardState::stopped);
}

void Shard::poll_loop() noexcept {
  set_state(ShardState::running);
  bool draining = false;
  uint32_t work = 0;
  uint64_t last = now_ticks();
  for (;;) {
    const Control wanted = control();
    if (wanted != Control::run) [[unlikely]] {
      if (wanted == Control::stop_now) return;
      if (!draining) set_state(ShardState::draining);
      draining = true;
      if (wanted == Control::finish && inputs_empty()) return;
    }
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
      last = now;
      continue;
    }
    record_->idle_ticks.add(now - last);
    idle();
    last = now_ticks();
    record_->wait_ticks.add(last - now);
  }
}

bool Shard::inputs_empty() noexcept {
  for (Consumer& consumer : consumers_) {
    if (consumer.ready()) return false;
  }
  return true;
}

bool Shard::sources_finished() const noexcept {
  return !program_->is_source() || program_->finished();
}

bool Shard::anything() noexcept {
  return ready_.anything();
}

uint64_t Shard::port_sleep_ns() const noexcept {
  uint64_t least = program_ != nullptr ? program_->sleep_ns_max() : kSleepForever;
  if (stopping()) return kSleepForever;  // ports are not asked any more
  for (const Rx& rx : rx_) least = std::min(least, rx.queue->sleep_ns_max());
  return least;
}

void Shard::idle() noexcept {
  for (TxQueue* queue : tx_) queue->flush();
  ready_.flush();
  // Control was read at the head of the turn or will be at the head of the next: the mark has done
  // its work and must not keep the shard awake.
  if (line_->doorbell.bytes[Doorbell::kControlKernel].load(std::memory_order_relaxed) != 0) {
    line_->doorbell.take(Doorbell::kControlKernel);
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
  if (sleep_on_ports()) return;
  uint64_t bound_ns = sleep_ns;
  if (!ready_.by_bell() && inputs_.size() > 1 && waiter_->backend() != Backend::futex) {
    bound_ns = std::min(bound_ns, kUnwatchedNsMax);
  }
  const uint64_t deadline =
      bound_ns == kSleepForever ? UINT64_MAX : now_ticks() + ns_to_ticks(bound_ns);
  if (oversubscribed_ && yield_for_work()) return;
  // A futex is signalled for whatever it is; a monitor watches one line.
  const bool signals_for_all = waiter_->backend() == Backend::futex;
  waiter_->idle(
      ready_.watch(), [this] { return anything(); }, deadline,
      [&] { return signals_for_all || ready_.anything_watched(); });
  publish_wait_counters();
}

// The spin of a shared core: whoever brings the work may need this very core, so it gets it.
// Without this, every burst would find its consumer asleep and pay for a wake.
bool Shard::yield_for_work() noexcept {
  const uint64_t until = now_ticks() + ns_to_ticks(plan_.spin_ns_max);
  do {
    sched_yield();
    if (anything()) return true;
  } while (now_ticks() < until);
  return false;
}

bool Shard::sleep_on_ports() noexcept {
  if (polled_.empty() || stopping()) return false;
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
  const int ready = ppoll(polled_.data(), count, &timeout, nullptr);
  ++port_waits_.waits;
  ++(ready > 0 ? port_waits_.signalled : port_waits_.deadline);
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
  record_->waits.set(counters.waits + port_waits_.waits);
  record_->wakes_signalled.set(counters.signalled + port_waits_.signalled);
  record_->wakes_deadline.set(counters.deadline + port_waits_.deadline);
  record_->wakes_os.set(counters.os_limit);
  record_->wakes_spurious.set(counters.spurious);
  record_->wakes_late.set(counters.late);
  record_->spin_budget_ticks.set(waiter_->spin_budget());
}

// ---- packets
// -------------------------------------------------------------------------------------

uint32_t Shard::take_from_ports(vanity_packet* packets, uint32_t n) noexcept {
  if (stopping()) return 0;
  uint32_t got = 0;
  for (uint32_t i = 0; i < rx_.size() && got < n; ++i) {
    Rx& rx = rx_[rx_turn_];
    if (++rx_turn_ == rx_.size()) rx_turn_ = 0;
    got += rx.queue->receive(*rx.pool, packets + got, n - got);
  }
  return got;
}

uint32_t Shard::count_received(const vanity_packet* packets, uint32_t n) noexcept {
  if (n == 0) return 0;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < n; ++i) bytes += packets[i].length;
  record_->received.add(n);
  record_->bytes.add(bytes);
  return n;
}

// Descriptors and headers lie in the sender's cache, a crossing away: ask for all at once, a burst
// before they are needed when it is there already.
void Shard::prefetch_headers(const Consumer& consumer, const vanity_packet* packets, uint32_t taken,
                             uint32_t n) const noexcept {
  if (consumer.depth() == 0) {
    for (uint32_t i = 0; i < taken; ++i) prefetch_read(pools_->data(packets[i]));
    return;
  }
  const ReadableSlots next = consumer.ahead(0, n);
  for (uint32_t i = 0; i < next.count; ++i) {
    prefetch_read(pools_->data(next.at<vanity_packet>(i)));
  }
  const ReadableSlots later = consumer.ahead(n, n);
  for (uint32_t i = 0; i < later.count; i += kLineBytes / sizeof(vanity_packet)) {
    prefetch_read(later[i]);
  }
}

uint32_t Shard::receive(vanity_packet* packets, uint32_t n) noexcept {
  // Half for the ports when there are channels too, so that neither starves the other.
  uint32_t share = inputs_.empty() ? n : n / 2;
  if (n == 1 && !inputs_.empty()) share = (ports_first_ = !ports_first_) ? 1 : 0;
  uint32_t got = rx_.empty() ? 0 : take_from_ports(packets, share);
  uint32_t passed_over = 0;
  while (got < n) {
    const uint32_t input = ready_.next();
    if (input == Inputs::kNoInput) break;
    if (!inputs_[input]->packets) [[unlikely]] {
      // Messages are the program's to peek at. Inputs come in turn, so this many is a whole round.
      if (++passed_over > message_inputs_) break;
      continue;
    }
    const uint32_t taken = consumers_[input].receive(packets + got, n - got);
    prefetch_headers(consumers_[input], packets + got, taken, n);
    ChannelRecord& record = *inputs_[input]->record;
    record.received.add(taken);
    record.depth_max.raise(taken + consumers_[input].depth());
    got += taken;
  }
  return count_received(packets, got);
}

void Shard::notify(vanity_channel& channel) noexcept {
  channel.bell.ring();
  signal(*channel.sleeper);
}

void Shard::watch_depth(vanity_channel& channel) noexcept {
  const uint32_t depth = channel.producer.depth_now();
  if (!channel.above && depth >= channel.high) {
    channel.above = true;
    channel.record->high_watermark.add(1);
    program_->watermark(*this, &channel, true);
  } else if (channel.above && depth <= channel.low) {
    channel.above = false;
    channel.record->low_watermark.add(1);
    program_->watermark(*this, &channel, false);
  }
}

uint32_t Shard::offer(uint32_t output, const vanity_packet* packets, uint32_t n) noexcept {
  if (output >= outputs_.size()) {
    if (output >= output_count()) {
      drop(packets, n);
      return 0;
    }
    return transmit(*tx_[output - outputs_.size()], packets, n);
  }
  vanity_channel& channel = *outputs_[output];
  if (!channel.packets) [[unlikely]] {
    drop(packets, n);  // descriptors are no messages
    return 0;
  }
  uint32_t sent = channel.producer.send(packets, n);
  if (sent != 0) {
    channel.record->sent.add(sent);
    channel.record->bursts.add(1);
    notify(channel);
  }
  if (sent < n) [[unlikely]]
    sent += overflow(channel, packets + sent, n - sent);
  if (channel.high != 0) watch_depth(channel);
  record_->sent.add(sent);
  return sent;
}

uint32_t Shard::send(uint32_t output, const vanity_packet* packets, uint32_t n) noexcept {
  const uint32_t sent = offer(output, packets, n);
  if (sent < n && output < outputs_.size() && outputs_[output]->overflow == Overflow::program) {
    outputs_[output]->record->dropped.add(n - sent);
    drop(packets + sent, n - sent);
  }
  return sent;
}

uint32_t Shard::overflow(vanity_channel& channel, const vanity_packet* packets,
                         uint32_t n) noexcept {
  uint32_t sent = 0;
  switch (channel.overflow) {
    case Overflow::program:
      return 0;
    case Overflow::block:
      channel.record->blocked.add(1);
      while (sent < n && control() != Control::stop_now) {
        const uint32_t more = channel.producer.send(packets + sent, n - sent);
        if (more == 0) {
          pause();
          continue;
        }
        sent += more;
        channel.record->sent.add(more);
        notify(channel);
      }
      [[fallthrough]];
    case Overflow::drop:
      if (sent < n) {
        channel.record->dropped.add(n - sent);
        drop(packets + sent, n - sent);
      }
  }
  return sent;
}

uint32_t Shard::transmit(TxQueue& queue, const vanity_packet* packets, uint32_t n) noexcept {
  const uint32_t sent = queue.transmit(*pools_, packets, n);
  // Counted by the queue and not here too, so that every loss stands in one place.
  if (sent < n) queue.drop(n - sent);
  give_home(packets, n);
  record_->sent.add(sent);
  return sent;
}

void Shard::drop(const vanity_packet* packets, uint32_t n) noexcept {
  record_->dropped.add(n);
  give_home(packets, n);
}

void Shard::consume(const vanity_packet* packets, uint32_t n) noexcept {
  record_->consumed.add(n);
  give_home(packets, n);
}

void Shard::discard(const vanity_packet* packets, uint32_t n) noexcept {
  record_->filtered.add(n);
  give_home(packets, n);
}

uint32_t Shard::allocate(vanity_packet* packets, uint32_t n) noexcept {
  if (own_pool_ == nullptr) return 0;
  const uint32_t got = own_pool_->take(packets, n);
  for (uint32_t i = 0; i < got; ++i) {
    packets[i].hash = 0;
    packets[i].offset = VANITY_FRAME_OFFSET;
    packets[i].length = 0;
    packets[i].port = 0;
    packets[i].flags = 0;
    pools_->meta(packets[i]) = {};
  }
  return got;
}

void Shard::originated(uint32_t packets, uint64_t bytes) noexcept {
  record_->received.add(packets);
  record_->bytes.add(bytes);
}

void Shard::give_home(const vanity_packet* packets, uint32_t n) noexcept {
  for (uint32_t i = 0; i < n;) {
    const uint32_t pool = packets[i].buffer >> kPoolShift;
    // The last owner of a shared buffer sends it home, the others only count themselves out.
    uint32_t ids[limits::kBurstMax + kIdsPerElement];
    uint32_t count = 0;
    for (; i < n && count < limits::kBurstMax && packets[i].buffer >> kPoolShift == pool; ++i) {
      if (pools_->release(packets[i])) ids[count++] = packets[i].buffer;
    }
    if (count == 0) continue;
    if (pool < owned_pools_.size() && owned_pools_[pool] != nullptr) {
      owned_pools_[pool]->give(ids, count);
      continue;
    }
    if (count % kIdsPerElement != 0) ids[count] = kNoBuffer;
    // As many slots as the pool has buffers: it never fills, so send() takes all.
    const uint32_t sent = homes_[pool].send(ids, (count + kIdsPerElement - 1) / kIdsPerElement);
    static_cast<void>(sent);
  }
}

// One ring a turn: the owner's poll stays short whatever the number of shards it feeds.
void Shard::take_returns() noexcept {
  returns_wait_ = kTurnsBetweenReturns;
  Returns& returns = returns_[returns_turn_];
  if (++returns_turn_ == returns_.size()) returns_turn_ = 0;
  for (;;) {
    const ReadableSlots slots = returns.consumer.peek(limits::kBurstMax);
    if (!slots) return;
    const auto* ids = reinterpret_cast<const uint32_t*>(slots.data);
    for (uint32_t i = 0; i < slots.count; i += kLineBytes / slots.stride) prefetch_read(slots[i]);
    const uint32_t count = slots.count * kIdsPerElement;
    uint32_t from = 0;
    for (uint32_t i = 0; i <= count; ++i) {
      if (i < count && ids[i] != kNoBuffer) continue;
      if (i > from) returns.pool->give(ids + from, i - from);
      from = i + 1;
    }
    returns.consumer.release(slots.count);
  }
}

void Shard::settle() noexcept {
  if (forsaken_) return;  // where it stopped reading is not known
  if (plan_.kind == ProgramKind::typescript) take_up_rings();
  for (uint32_t i = 0; i < consumers_.size(); ++i) drop_input(i);
}

void Shard::drop_input(uint32_t input) noexcept {
  ChannelRecord& record = *inputs_[input]->record;
  if (record.carries_packets == 0) return;
  vanity_packet packets[limits::kBurstMax];
  uint32_t got;
  while ((got = consumers_[input].receive(packets, limits::kBurstMax)) != 0) {
    record.received.add(got);
    record.dropped.add(got);
    drop(packets, got);
  }
}

// ---- TypeScript
// ------------------------------------------------------------------------------------

// JavaScript has moved the indices since; what it published is all there is to know.
void Shard::take_up_rings() noexcept {
  for (uint32_t i = 0; i < inputs_.size(); ++i) consumers_[i] = inputs_[i]->ring.consumer();
  uint32_t primary = 0;
  for (uint32_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i]->index == plan_.primary) primary = i;
  }
  ready_ = Inputs(consumers_.data(), input_count(), plan_.strategy, &line_->doorbell, primary);
}

void Shard::wait_for_work() noexcept {
  const uint64_t since = now_ticks();
  record_->progress.add(1);
  if (control() == Control::wait) {
    waiter_->idle(
        &line_->doorbell, [this] { return control() != Control::wait; }, UINT64_MAX);
    return;
  }
  take_all_returns();
  take_up_rings();
  // Takes the marks of the doorbell, too: what they stand for, the next turn finds by itself.
  if (ready_.next() == Inputs::kNoInput) idle();
  record_->wait_ticks.add(now_ticks() - since);
}

uint32_t Shard::receive_ports(vanity_packet* packets, uint32_t n) noexcept {
  take_all_returns();
  return count_received(packets, take_from_ports(packets, n));
}

void Shard::take_all_returns() noexcept {
  for (size_t i = 0; i < returns_.size(); ++i) take_returns();
}

void Shard::pause() noexcept {
  if (oversubscribed_) {
    sched_yield();
  } else {
    relax();
  }
}

bool Shard::may_hold(uint32_t pool) const noexcept {
  if (pool < owned_pools_.size() && owned_pools_[pool] != nullptr) return true;
  return pool < homes_.size() && homes_[pool];
}

void Shard::fail_and_drain(const std::string& code, const std::string& message,
                           const std::string& hint) noexcept {
  const bool ran = control() != Control::wait;
  if (ran) set_state(ShardState::draining);
  note_failure(code, message, hint);
  while (ran && control() != Control::stop_now) {
    record_->progress.add(1);
    take_all_returns();
    take_up_rings();
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
  for (TxQueue* queue : tx_) queue->flush();
  set_state(ShardState::failed);
}

void Shard::stopped() noexcept {
  for (TxQueue* queue : tx_) queue->flush();
  publish_wait_counters();
  set_state(ShardState::stopped);
}

void Shard::forsake(const std::string& code, const std::string& message,
                    const std::string& hint) noexcept {
  forsaken_ = true;  // published with the state
  if (!has_failed()) note_failure(code, message, hint);
  set_state(ShardState::failed);
}

// ---- messages
// ------------------------------------------------------------------------------------

void Shard::commit(vanity_channel& channel, uint32_t n) noexcept {
  if (n == 0) return;
  channel.producer.commit(n);
  channel.record->sent.add(n);
  channel.record->bursts.add(1);
  record_->sent.add(n);
  notify(channel);
  if (channel.high != 0) watch_depth(channel);
}

void Shard::release(vanity_channel& channel, uint32_t n) noexcept {
  if (n == 0) return;
  channel.consumer->release(n);
  channel.record->received.add(n);
  channel.record->depth_max.raise(n + channel.consumer->depth());
  record_->received.add(n);
}

uint32_t Shard::send_copy(vanity_channel& channel, const void* elements, uint32_t n) noexcept {
  const uint32_t sent = channel.producer.send(elements, n);
  if (sent != 0) {
    channel.record->sent.add(sent);
    channel.record->bursts.add(1);
    record_->sent.add(sent);
    notify(channel);
  }
  // The program decides about messages, whatever the policy: they hold no buffers.
  if (sent < n && channel.overflow == Overflow::drop) channel.record->dropped.add(n - sent);
  if (sent < n && channel.overflow != Overflow::drop) channel.record->blocked.add(1);
  if (channel.high != 0) watch_depth(channel);
  return sent;
}

uint32_t Shard::receive_copy(vanity_channel& channel, void* elements, uint32_t n) noexcept {
  const uint32_t got = channel.consumer->receive(elements, n);
  if (got != 0) {
    channel.record->received.add(got);
    channel.record->depth_max.raise(got + channel.consumer->depth());
    record_->received.add(got);
  }
  return got;
}

}  // namespace vanity
