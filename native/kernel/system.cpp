#include "kernel/system.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "kernel/growth.hpp"
#include "kernel/validate.hpp"
#include "memory/guarded_mapping.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"

namespace vanity {
namespace {

constexpr uint64_t kTurnNs = 10'000'000;
constexpr uint64_t kTurnStoppingNs = 1'000'000;
constexpr uint64_t kServiceNs = 100'000'000;
// An immediate stop that a shard does not follow within this time leaves it behind.
constexpr uint64_t kStopNowNs = 1'000'000'000;
// Before that, one that can be left is made to leave its program.
constexpr uint64_t kLeaveNs = 200'000'000;
// Longer than a burst takes, and a burst's way through a sleeping shard.
constexpr uint64_t kQuietNs = 5'000'000;
constexpr size_t kWarningsMax = 1000;
constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as a shell has it

bool ended(ShardState state) {
  return state == ShardState::stopped || state == ShardState::failed;
}

}  // namespace

System::System(const Plan& plan, BootOptions options)
    : plan_(plan), options_(std::move(options)), segment_([&]() -> Segment {
        validate(plan_);
        platform_init();
        if (any_isolated(plan_)) platform_share();
        sweep_leftovers();
        lock_cores();
        make_programs();
        pool_plans_ = plan_pools(plan_, programs_);
        shape_ = shape();
        return Segment(plan_.name, shape_);
      }()) {
  segment_.write_manifest(plan_.manifest);
  segment_.header().ticks_per_second = ticks_per_second();
  const uint64_t epoch = now_ticks();
  make_room();
  for (uint32_t s = 0; s < plan_.shards.size(); ++s) {
    shards_.push_back(
        std::make_unique<Shard>(plan_.shards[s], s, &segment_.shard(s), plan_.oversubscribe));
    shards_[s]->set_program(std::move(programs_[s]));
    shards_[s]->log_to(segment_.events(s));
    if (plan_.shards[s].kind == ProgramKind::typescript) workers_.add(*shards_[s]);
    segment_.events(s).epoch_ticks.set(epoch);
    segment_.shard(s).tracing.store(plan_.shards[s].trace ? 1 : 0, std::memory_order_relaxed);
  }
  open_devices();
  take_keys();
  make_arenas();
  confine();
  make_carriers();
  make_pools();
  make_channels();
  make_returns();
  make_ports();
  map_pools();
  order_shards();
  find_loops();
  for (const auto& shard : shards_) {
    // A fault of a built-in stage is one of the runtime, which nothing contains.
    if (shard->plan().watch.on_fault != Policy::report && shard->program()->renewable()) {
      shard->contain();
    }
    shard->wire(pool_table_.get());
  }
  hand_over();
  watches_.resize(shards_.size());
  Guard::install(GuardedMapping::contain_fault);
  watchdog_ = std::make_unique<Watchdog>(
      plan_, shards_, channels_, segment_,
      Watchdog::Says{
          [this](const std::string& code, const std::string& message, const std::string& hint) {
            warn(code, message, hint);
          },
          [this](const std::string& code, const std::string& message, const std::string& hint) {
            fail(code, message, hint);
            stop_for_watchdog_ = true;
          },
          [this](const Evidence& evidence) { return owner_of(evidence); }});

  reloads_ = std::make_unique<Reloads>(
      plan_, shards_, *watchdog_, segment_,
      Reloads::Does{
          [this](uint32_t shard, uint32_t core) { move_shard(shard, core); },
          [this](uint32_t shard, const std::vector<std::string>& channels) {
            return rewiring_of(shard, channels);
          },
          [this](const ReloadRequest& request) { return std::make_unique<Growth>(*this, request); },
          [this](const Evidence& evidence) { return owner_of(evidence); }},
      [this](const std::string& code, const std::string& message, const std::string& hint) {
        warn(code, message, hint);
      });

  wake_fd_ = make_event();
  if (!wake_fd_) throw system_error("VANITY_E_SYSTEM", "eventfd", errno);
  interrupts_->add(wake_fd_.get(), 0, [](uint64_t) {});
  segment_.publish();
  booted_ns_ = monotonic_ns();
  if (options_.handle_signals) signals_ = std::make_unique<StopSignals>(wake_fd_.get());
  try {
    for (const auto& shard : shards_) {
      if (shard->plan().kind != ProgramKind::typescript && !shard->carried()) shard->start();
    }
    for (const auto& carrier : carriers_) carrier->start();
    kernel_ = Hardware::Thread([this] { kernel_main(); });
  } catch (const std::system_error& error) {
    // Joined here: the ports and pools that a thread still uses end before the shards do.
    for (const auto& shard : shards_) shard->control(Control::stop_now);
    for (const auto& shard : shards_) shard->join();
    for (const auto& carrier : carriers_) carrier->join();
    signals_.reset();
    throw Error("VANITY_E_SYSTEM", std::string("cannot start a thread: ") + error.what(),
                "raise the limit of processes: ulimit -u");
  }
}

System::~System() {
  close();
}

void System::start() {
  start_asked_.store(true, std::memory_order_release);  // pairs with turn_booting
  wake();
}

void System::stop(bool immediate) {
  stop_asked_.fetch_or(immediate ? 2 : 1, std::memory_order_release);  // pairs with turn()
  wake();
}

void System::close() {
  if (!kernel_.joinable()) return;
  close_asked_.store(true, std::memory_order_release);  // pairs with kernel_main
  stop(true);
  kernel_.join();
  signals_.reset();
  wake_fd_.reset();
  segment_.unlink();
  locks_.clear();
  if (abandoned_) {
    // A thread that does not stop still uses its memory: it goes with the process.
    for (auto& shard : shards_) static_cast<void>(shard.release());
    for (auto& carrier : carriers_) static_cast<void>(carrier.release());
    for (auto& pool : pools_) static_cast<void>(pool.release());
    for (auto& port : ports_) static_cast<void>(port.release());
    static_cast<void>(devices_.release());
    static_cast<void>(interrupts_.release());
    static_cast<void>(pool_table_.release());
    static_cast<void>(reloads_.release());
    keys_.leave();
    segment_.leave_mapped();
  }
}

std::vector<Failure> System::failures() const {
  const std::lock_guard<std::mutex> lock(failures_mutex_);
  return failures_;
}

std::vector<Failure> System::warnings() const {
  const std::lock_guard<std::mutex> lock(failures_mutex_);
  return warnings_;
}

void System::warn(const std::string& code, const std::string& message,
                  const std::string& hint) noexcept {
  {
    const std::lock_guard<std::mutex> lock(failures_mutex_);
    if (warnings_.size() >= kWarningsMax) return;  // what repeats itself counts, too
    warnings_.push_back({code, message, hint});
  }
  tell_owner();
}

void System::fail(const std::string& code, const std::string& message,
                  const std::string& hint) noexcept {
  const std::lock_guard<std::mutex> lock(failures_mutex_);
  failures_.push_back({code, message, hint});
}

void System::set_state(SystemState state) noexcept {
  segment_.header().state.store(static_cast<uint32_t>(state), std::memory_order_release);
  tell_owner();
}

void System::wake() noexcept {
  raise_event(wake_fd_.get());
}

// ---- the kernel's thread
// -------------------------------------------------------------------------

void System::kernel_main() noexcept {
  set_thread_name("vanity-kernel");
  if (plan_.kernel_core != kNone) {
    try {
      pin_thread(plan_.kernel_core);
    } catch (const Error& error) {
      fail(error.code(), error.what(), error.hint());
    }
  }
  for (;;) {
    const SystemState now = state();
    const bool over = now == SystemState::stopped || now == SystemState::failed;
    if (over && close_asked_.load(std::memory_order_acquire)) return;  // pairs with close()
    // Between two turns only interrupts: they may come more often than a turn is worth.
    const uint64_t pause = now == SystemState::stopping  ? kTurnStoppingNs
                           : over && !hurried()          ? UINT64_MAX
                           : now == SystemState::running ? watchdog_->pause_ns(kTurnNs)
                                                         : kTurnNs;
    const uint64_t began = monotonic_ns();
    for (uint64_t past = 0; past < pause; past = monotonic_ns() - began) {
      if (interrupts_->wait(pause == UINT64_MAX ? pause : pause - past)) break;
    }
    turn();
  }
}

void System::turn() noexcept {
  const uint64_t now = monotonic_ns();
  segment_.header().heartbeat_ns.set(now);
  devices_->turn(now);
  uint32_t asked = stop_asked_.load(std::memory_order_acquire);  // pairs with stop()
  if (signals_ != nullptr) asked = std::max(asked, std::min(signals_->count(), 2u));
  const SystemState current = state();
  switch (current) {
    case SystemState::booting:
      if (asked > 0) {
        begin_stop();
      } else {
        turn_booting();
      }
      break;
    case SystemState::running:
      segment_.header().uptime_ns.set(now - running_since_ns_);
      turn_running();
      if (state() != SystemState::running) break;  // a failed shard
      if (asked > 0 || all_sources_finished()) begin_stop();
      break;
    case SystemState::stopping:
      break;
    case SystemState::stopped:
    case SystemState::failed:
      // Whoever should have read the report is stuck: a second signal ends the process all the
      // same. It had a second to read it.
      if (hurried() && now - ended_ns_ > kStopNowNs) abandon();
      return;
  }
  if (state() != SystemState::stopping) return;
  if (asked >= 2 && stop_now_since_ns_ == 0) {
    stop_now_since_ns_ = monotonic_ns();
    for (const auto& shard : shards_) shard->control(Control::stop_now);
  }
  if (hurried()) interrupted_.store(true, std::memory_order_relaxed);
  turn_stopping();
}

void System::turn_booting() noexcept {
  note_failed_shards();
  bool ready = true;
  std::string missing;
  for (const auto& shard : shards_) {
    if (shard->state() == ShardState::failed) {
      begin_stop();
      return;
    }
    if (shard->state() == ShardState::starting) {
      ready = false;
      missing += (missing.empty() ? "" : ", ") + shard->plan().name;
    }
  }
  if (ready && start_asked_.load(std::memory_order_acquire)) {  // pairs with start()
    release_shards();
    return;
  }
  if (!ready && monotonic_ns() - booted_ns_ > options_.attach_ns) {
    fail("VANITY_E_BOOT_TIMEOUT", "not ready in time: " + missing,
         "look for an endless loop in the program's init");
    begin_stop();
  }
}

void System::release_shards() noexcept {
  try {
    devices_->start();
  } catch (const Error& error) {
    fail(error.code(), error.what(), error.hint());
    begin_stop();
    return;
  }
  for (uint32_t p = 0; p < ports_.size(); ++p) {
    if (!devices_->serves(p)) continue;
    try {
      ports_[p]->start();
    } catch (const Error& error) {
      fail(error.code(), error.what(), error.hint());
      begin_stop();
      return;
    } catch (const std::exception& error) {
      fail("VANITY_E_PORT", error.what(), "");
      begin_stop();
      return;
    }
    if (plan_.ports[p].on_socket() && ports_[p]->state() != PortState::up) {
      warn("VANITY_W_PORT_PEER", ports_[p]->error(),
           "the system runs without it, and looks again every second");
    }
  }
  running_since_ns_ = monotonic_ns();
  serviced_ns_ = running_since_ns_;
  watchdog_->begin(running_since_ns_);
  set_state(SystemState::running);
  // Consumers first: whoever produces finds its consumers polling.
  for (auto it = order_.rbegin(); it != order_.rend(); ++it) shards_[*it]->control(Control::run);
}

void System::turn_running() noexcept {
  note_failed_shards();
  const uint64_t now = monotonic_ns();
  watchdog_->look(now);
  reloads_->turn(now);
  if (stop_for_watchdog_) begin_stop();
  if (state() != SystemState::running) return;
  looks_.turn(now);
  if (now - serviced_ns_ < kServiceNs) return;
  serviced_ns_ = now;
  service_ports();
  count_switches();
}

void System::service_ports() noexcept {
  for (uint32_t p = 0; p < ports_.size(); ++p) {
    if (ports_[p] != nullptr && devices_->serves(p)) ports_[p]->service();
  }
}

// True once nothing more can come in, so that the system's work is done: every port that receives
// has ended, every program that makes packets has made them, and there was at least one of either.
bool System::all_sources_finished() noexcept {
  bool any = false;
  for (uint32_t p = 0; p < ports_.size(); ++p) {
    if (plan_.ports[p].rx.empty() || ports_[p] == nullptr) continue;
    any = true;
    const PortState state = ports_[p]->state();
    if (state != PortState::finished && state != PortState::failed) return false;
  }
  for (const auto& shard : shards_) {
    // What may just be replaced is none. Nothing comes from one that has gone.
    if (shard->ended() || !shard->is_source()) continue;
    any = true;
    if (!shard->program()->finished()) return false;
  }
  return any;
}

void System::note_failed_shards() noexcept {
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    if (!shards_[s]->has_failed() || watches_[s].failure_noted) continue;
    watches_[s].failure_noted = true;
    fail(shards_[s]->failure_code(), shards_[s]->failure(), shards_[s]->failure_hint());
    if (state() == SystemState::running) begin_stop();
  }
}

// From the outside, so that the shard makes no system call for it.
void System::count_switches() noexcept {
  for (const auto& shard : shards_) {
    ShardRecord& record = shard->record();
    const int thread = record.thread();
    if (thread == 0) continue;
    char path[64];
    std::snprintf(path, sizeof(path), "/proc/%d/task/%d/status", thread, thread);
    std::FILE* file = std::fopen(path, "re");
    if (file == nullptr) continue;
    char line[256];
    while (std::fgets(line, sizeof(line), file) != nullptr) {
      unsigned long long n = 0;
      if (std::sscanf(line, "voluntary_ctxt_switches: %llu", &n) == 1) {
        record.switches_voluntary.set(n);
      } else if (std::sscanf(line, "nonvoluntary_ctxt_switches: %llu", &n) == 1) {
        record.switches_involuntary.set(n);
      }
    }
    std::fclose(file);
  }
}

// ---- stopping
// ------------------------------------------------------------------------------------

void System::begin_stop() noexcept {
  if (running_since_ns_ != 0) count_switches();
  stopping_since_ns_ = monotonic_ns();
  const bool ran = running_since_ns_ != 0;
  reloads_->stop();
  set_state(SystemState::stopping);
  // Shards that were never let go have nothing to drain.
  for (const auto& shard : shards_) shard->control(ran ? Control::drain : Control::stop_now);
  if (!ran) stop_now_since_ns_ = stopping_since_ns_;
}

// Does anything still come to this shard? Those on a cycle feed one another for ever, so they are
// looked at as one: it is fed from outside, or by what still goes round in it.
bool System::fed(uint32_t shard) const noexcept {
  bool alone = true;
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    if (loop_of_[s] != loop_of_[shard]) continue;
    alone &= s == shard;
    for (const uint32_t from : upstream_[s]) {
      if (loop_of_[from] != loop_of_[shard] && !ended(shards_[from]->state())) return true;
    }
  }
  return !alone && !watches_[loop_of_[shard]].loop_quiet;
}

// A cycle has come to rest when its channels are empty and nothing was committed to them for a
// while. A shard that works on one burst for longer may still send: that is dropped and counted.
void System::watch_loops() noexcept {
  const uint64_t now = monotonic_ns();
  for (uint32_t loop = 0; loop < shards_.size(); ++loop) {
    if (loop_of_[loop] != loop) continue;
    uint64_t committed = 0;
    bool empty = true;
    for (uint32_t c = 0; c < channels_.size(); ++c) {
      const ChannelPlan& plan = plan_.channels[c];
      if (plan.from == kNone) continue;
      if (loop_of_[plan.from] != loop || loop_of_[plan.to] != loop) continue;
      const auto& ring = *channels_[c].memory();
      // Looks from the side, ordering nothing; the head first, so that a full look is a late one.
      const uint32_t head = ring.head.load(std::memory_order_relaxed);
      const uint32_t tail = ring.tail.load(std::memory_order_relaxed);
      committed += tail;
      empty &= head == tail || ended(shards_[plan.to]->state());
    }
    Watch& watch = watches_[loop];
    if (committed != watch.committed || !empty) {
      watch.committed = committed;
      watch.committed_since_ns = now;
    }
    watch.loop_quiet |= watch.committed_since_ns != 0 && now - watch.committed_since_ns > kQuietNs;
    if (watch.committed_since_ns == 0) watch.committed_since_ns = now;
  }
}

// Sources stop first; a shard may leave when everybody who feeds it has left and its inputs are
// empty.
void System::turn_stopping() noexcept {
  note_failed_shards();
  const uint64_t now = monotonic_ns();
  bool all_ended = true;
  watch_loops();
  for (const uint32_t s : order_) {
    Shard& shard = *shards_[s];
    const bool attached =
        shard.state() != ShardState::starting || shard.plan().kind != ProgramKind::typescript;
    if (ended(shard.state()) || !attached) continue;
    all_ended = false;
    if (watches_[s].told_to_finish || stop_now_since_ns_ != 0) continue;
    if (fed(s)) continue;
    watches_[s].told_to_finish = true;
    shard.control(Control::finish);
  }
  if (all_ended) {
    finish_stop();
    return;
  }
  if (stop_now_since_ns_ == 0 && now - stopping_since_ns_ > plan_.drain_ns) {
    std::string late;
    for (const auto& shard : shards_) {
      if (!ended(shard->state())) late += (late.empty() ? "" : ", ") + shard->plan().name;
    }
    fail("VANITY_E_DRAIN",
         "not drained after " + std::to_string(plan_.drain_ns / 1'000'000) + " ms: " + late,
         "raise [kernel] drain_ms, or look at what keeps those shards from emptying their inputs");
    tell_owner();
    stop_now_since_ns_ = now;
    for (const auto& shard : shards_) shard->control(Control::stop_now);
  }
  if (stop_now_since_ns_ != 0 && now - stop_now_since_ns_ > kLeaveNs) {
    for (const auto& shard : shards_) {
      if (!ended(shard->state()) && shard->contained()) shard->leave_program();
    }
  }
  if (stop_now_since_ns_ != 0 && now - stop_now_since_ns_ > kStopNowNs) {
    std::string stuck;
    for (const auto& shard : shards_) {
      if (!ended(shard->state())) stuck += (stuck.empty() ? "" : ", ") + shard->plan().name;
    }
    fail("VANITY_E_STUCK", "did not stop: " + stuck, "its poll() does not return");
    abandoned_ = true;
    devices_->quiesce();  // whatever that thread still does to them
    ended_ns_ = now;
    set_state(SystemState::failed);
  }
}

void System::finish_stop() noexcept {
  for (const auto& shard : shards_) shard->join();
  for (const auto& carrier : carriers_) carrier->join();
  if (!reloads_->close()) {
    fail("VANITY_E_STUCK", "a program that was to be loaded does not come back",
         "its init() or poll() does not return");
    abandoned_ = true;
  }
  // What an immediate stop left in the channels is dropped and counted; what is on its way home
  // arrives. Whatever is missing after that has leaked.
  for (const auto& shard : shards_) shard->settle();
  for (const auto& shard : shards_) shard->take_all_returns();
  for (uint32_t p = 0; p < ports_.size(); ++p) {
    const auto& port = ports_[p];
    if (port == nullptr) continue;
    const std::string error = port->error();
    if (port->state() == PortState::failed && !error.empty()) {
      fail("VANITY_E_PORT", error, "");
    }
    if (devices_->serves(p)) port->close();
  }
  devices_->quiesce();
  take_back_buffers();
  bool failed_shard = false;
  for (const auto& shard : shards_) failed_shard |= shard->state() == ShardState::failed;
  for (const auto& pool : pools_) {
    if (pool == nullptr) continue;
    const uint32_t missing = pool->missing();
    segment_.pool(pool->index()).leaked.set(missing);
    // A shard that failed took what it held with it; that is said already.
    if (missing == 0 || failed_shard) continue;
    fail("VANITY_E_BUFFER_LEAK",
         std::to_string(missing) + " of " + std::to_string(pool->buffers()) + " buffers of pool " +
             pool_plans_[pool->index()].name + " did not come home",
         "a program keeps packets that it neither sends nor frees");
  }
  bool failed;
  {
    const std::lock_guard<std::mutex> lock(failures_mutex_);
    failed = !failures_.empty();
  }
  ended_ns_ = monotonic_ns();
  set_state(failed ? SystemState::failed : SystemState::stopped);
}

// What the queues of devices still held when they were stopped.
void System::take_back_buffers() noexcept {
  const auto all_of = [&](auto& queue) {
    for (uint32_t all = 0;;) {
      vanity_packet packets[limits::kBurstMax] = {};  // a receive queue gives nothing but buffers
      const uint32_t got = queue.take_back(packets, limits::kBurstMax);
      if (got == 0) return all;
      all += got;
      for (uint32_t i = 0; i < got; ++i) {
        if (pool_table_->release(packets[i]))
          pools_[packets[i].buffer >> kPoolShift]->give(&packets[i], 1);
      }
    }
  };
  for (uint32_t p = 0; p < ports_.size(); ++p) {
    if (ports_[p] == nullptr) continue;
    for (uint32_t q = 0; q < plan_.ports[p].rx.size(); ++q) all_of(ports_[p]->rx(q));
    // What was not sent by then never will be.
    for (uint32_t q = 0; q < plan_.ports[p].tx.size(); ++q) {
      TxQueue& queue = ports_[p]->tx(q);
      queue.drop(all_of(queue));
    }
  }
}

bool System::hurried() const noexcept {
  return signals_ != nullptr && signals_->count() >= 2;
}

void System::abandon() noexcept {
  segment_.unlink();
  locks_.clear();
  _exit(kExitInterrupted);
}

}  // namespace vanity
