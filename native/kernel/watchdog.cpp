#include "kernel/watchdog.hpp"

#include <algorithm>

#include "kernel/evidence.hpp"
#include "kernel/symbols.hpp"
#include "platform/clock.hpp"

namespace vanity {
namespace {

constexpr uint64_t kLookNs = 10'000'000;
// By so much a look may be late and still counts in full.
constexpr uint64_t kSlackNs = 5'000'000;
constexpr uint64_t kSoonestNs = 200'000;
constexpr uint64_t kAnswerNs = 20'000'000;  // that a thread gets to say where it is
constexpr uint64_t kUrgeNs = 1'000'000'000;
constexpr uint64_t kSuspendedNs = 1'000'000;
constexpr uint32_t kBackoffDoublings = 10;

std::string ms_text(uint64_t ns) {
  const uint64_t us = ns / 1000;
  if (us < 10'000) return std::to_string(us) + " us";
  return std::to_string(us / 1000) + " ms";
}

}  // namespace

Watchdog::Watchdog(const Plan& plan, const std::vector<std::unique_ptr<Shard>>& shards,
                   const std::vector<Channel>& channels, Segment& segment, Says says)
    : plan_(plan),
      shards_(shards),
      channels_(channels),
      segment_(segment),
      says_(std::move(says)),
      watches_(plan.shards.size()) {
  for (uint32_t c = 0; c < plan.channels.size(); ++c) {
    watches_[plan.channels[c].to].inputs.push_back({c});
  }
}

void Watchdog::follow() {
  watches_.resize(plan_.shards.size());
  for (uint32_t s = 0; s < watches_.size(); ++s) {
    Watch& watch = watches_[s];
    std::vector<Input> inputs;
    for (uint32_t c = 0; c < plan_.channels.size(); ++c) {
      if (plan_.channels[c].to != s) continue;
      const auto known = std::find_if(watch.inputs.begin(), watch.inputs.end(),
                                      [c](const Input& input) { return input.channel == c; });
      Input fresh{c};
      fresh.since = clock_;
      inputs.push_back(known == watch.inputs.end() ? fresh : *known);
    }
    // Whoever comes to this place is another one.
    if (plan_.shards[s].name.empty()) watch = Watch{};
    watch.inputs = std::move(inputs);
  }
}

void Watchdog::begin(uint64_t now_ns) noexcept {
  last_ns_ = now_ns;
  suspended_ = suspended_ns();
  for (uint32_t s = 0; s < watches_.size(); ++s) forget(s);
}

// Whatever was under way counts from now on.
void Watchdog::forget(uint32_t s) noexcept {
  Watch& watch = watches_[s];
  watch.seen = clock_;
  watch.lead = 0;
  watch.halfway = false;
  for (Input& input : watch.inputs) input.since = clock_;
}

// Turns that were none too long are not, and what had been told may be told again.
void Watchdog::measure_anew(uint32_t s) noexcept {
  Watch& watch = watches_[s];
  watch.slow = slow_turns(s);
  watch.told = watch.told_slow = watch.told_other = false;
  for (Input& input : watch.inputs) input.told = false;
  forget(s);
}

void Watchdog::tick(uint64_t now_ns) noexcept {
  clock_ += std::min(now_ns - last_ns_, next_ns_ + kSlackNs);
  last_ns_ = now_ns;
  next_ns_ = kLookNs;
  const uint64_t suspended = suspended_ns();
  // The two clocks are read one after the other.
  if (suspended > suspended_ + kSuspendedNs) {
    for (uint32_t s = 0; s < watches_.size(); ++s) forget(s);
  }
  suspended_ = suspended;
}

void Watchdog::within(uint64_t ns) noexcept {
  next_ns_ = std::min(next_ns_, std::max(ns, kSoonestNs));
}

void Watchdog::look(uint64_t now_ns) noexcept {
  tick(now_ns);
  for (uint32_t s = 0; s < shards_.size(); ++s) look_at(s, now_ns);
}

uint64_t Watchdog::progress_ns(uint32_t s) const noexcept {
  const uint64_t own = plan_.shards[s].watch.progress_ns;
  return own != 0 ? own : plan_.stall_ns;
}

void Watchdog::look_at(uint32_t s, uint64_t now_ns) {
  Watch& watch = watches_[s];
  ShardRecord& record = shards_[s]->record();
  const ShardState state = shards_[s]->state();
  if (state == ShardState::faulted) {
    watch.leaving_since = 0;
    look_at_fault(s, now_ns);
    forget(s);
    return;
  }
  if (state != ShardState::running && state != ShardState::stalled) {
    forget(s);
    return;
  }
  if (watch.leaving_since != 0) urge(s);
  const auto phase = static_cast<Phase>(record.phase.load(std::memory_order_relaxed));
  const uint64_t progress = record.progress.get();
  if (progress != watch.progress) {
    watch.progress = progress;
    watch.seen = clock_;
    const uint64_t turn = record.turn_ticks.get();
    const uint64_t now = now_ticks();
    watch.lead = turn == 0 || turn > now ? 0 : std::min(ticks_to_ns(now - turn), kLookNs);
    watch.told = false;
    watch.told_other = false;
    watch.halfway = false;
    auto stalled = static_cast<uint32_t>(ShardState::stalled);
    // The shard writes this word too when it changes state itself; its own word wins.
    record.state.compare_exchange_strong(stalled, static_cast<uint32_t>(ShardState::running),
                                         std::memory_order_relaxed);
  }
  look_at_turn(s, phase, now_ns);
  look_at_inputs(s, phase);
  look_at_service(s);
}

void Watchdog::look_at_turn(uint32_t s, Phase phase, uint64_t now_ns) {
  Watch& watch = watches_[s];
  if (phase == Phase::idle || phase == Phase::held || phase == Phase::faulted) {
    watch.seen = clock_;
    watch.lead = 0;
    return;
  }
  const WatchPlan& plan = plan_.shards[s].watch;
  ShardRecord& record = shards_[s]->record();
  const uint64_t age = clock_ - watch.seen + watch.lead;
  const uint64_t limit = progress_ns(s);
  // What is known of a turn under way, by its progress, has the turns of its thread's others in it.
  if (plan.service_ns != 0 && !watch.told_slow && phase == Phase::polling &&
      !shards_[s]->carried()) {
    if (age > plan.service_ns) {
      const Finding finding = find_out(s);
      if (record.progress.get() == watch.progress) {
        watch.told_slow = true;  // the histogram will have it too, when it ends
        record.slow.add(1);
        act(s, plan.on_service, "VANITY_W_SHARD_SLOW",
            "its turn takes longer than " + ms_text(plan.service_ns), finding);
      }
    } else {
      within(plan.service_ns - age);
    }
  }
  if (watch.told) return;
  if (!watch.halfway && age > limit / 2) {
    watch.halfway = true;
    watch.half = sample_thread(record.thread());
    watch.half_at = now_ns;
    watch.half_stolen = record.core == kNone ? 0 : stolen_ticks(record.core);
  }
  if (age <= limit) {
    within(watch.halfway ? limit - age : (limit - age + 1) / 2);
    return;
  }
  const Finding finding = find_out(s);
  // A look takes its time; what ended meanwhile is no stall. And what a debugger has stopped is
  // its.
  if (record.progress.get() != watch.progress || finding.kind == Stall::none) {
    forget(s);
    return;
  }
  if (!finding.counts) {
    // Said once, and looked into again: it may hide what a policy is for.
    forget(s);
    if (!watch.told_other) {
      act(s, Policy::report, "VANITY_W_SHARD_STALLED", "no turn ended for " + ms_text(limit),
          finding);
    }
    watch.told_other = true;
    return;
  }
  watch.told = true;
  auto running = static_cast<uint32_t>(ShardState::running);
  record.state.compare_exchange_strong(running, static_cast<uint32_t>(ShardState::stalled),
                                       std::memory_order_relaxed);
  record.stalls.add(1);
  act(s, plan.on_progress, "VANITY_W_SHARD_STALLED", "no turn ended for " + ms_text(limit),
      finding);
}

void Watchdog::look_at_inputs(uint32_t s, Phase phase) {
  Watch& watch = watches_[s];
  const WatchPlan& plan = plan_.shards[s].watch;
  for (Input& input : watch.inputs) {
    const auto& ring = *channels_[input.channel].memory();
    // Looks from the side, ordering nothing; the head first, so that a full look is a late one.
    const uint32_t head = ring.head.load(std::memory_order_relaxed);
    const uint32_t tail = ring.tail.load(std::memory_order_relaxed);
    const uint64_t received = segment_.channel(input.channel).received.get();
    if (head == tail || head != input.head || received != input.received) {
      input.head = head;
      input.received = received;
      input.since = clock_;
      input.progress = watch.progress;
      input.told = false;
      continue;
    }
    const bool asleep = phase == Phase::idle && watch.progress == input.progress;
    const uint64_t limit = plan.starve_ns != 0 ? plan.starve_ns : asleep ? progress_ns(s) : 0;
    if (limit == 0 || input.told) continue;
    const uint64_t age = clock_ - input.since;
    if (age <= limit) {
      within(limit - age);
      continue;
    }
    // One that makes no turns is not starved but stalled, and told as such.
    if (!asleep && watch.progress == input.progress) continue;
    Finding finding;
    const bool displaced = asleep && find_displaced(s, finding);
    // Woken, and not run: that is for Linux to answer.
    if (asleep && !displaced && sample_thread(shards_[s]->record().thread()).state == 'R') {
      input.since = clock_;
      continue;
    }
    input.told = true;
    if (!displaced) {
      finding.kind = asleep ? Stall::lost_wake : Stall::running;
      finding.text =
          asleep ? "asleep, and was not woken for it" : "it takes turns, and does not take this";
    }
    shards_[s]->record().starved.add(1);
    const Policy policy = plan.starve_ns != 0 ? plan.on_starve : plan.on_progress;
    act(s, displaced ? Policy::report : policy, "VANITY_W_SHARD_STARVED",
        std::to_string(tail - head) + " elements of channel " + plan_.channels[input.channel].name +
            " wait for more than " + ms_text(limit),
        finding);
  }
}

uint64_t Watchdog::slow_turns(uint32_t s) const noexcept {
  const Histogram& turns = shards_[s]->record().service_ticks;
  uint64_t all = 0;
  const uint64_t ticks = ns_to_ticks(plan_.shards[s].watch.service_ns);
  for (uint32_t b = Histogram::bucket_of(ticks) + 1; b < Histogram::kBuckets; ++b) {
    all += turns.buckets[b].get();
  }
  return all;
}

// What was over before anybody looked.
void Watchdog::look_at_service(uint32_t s) {
  const WatchPlan& plan = plan_.shards[s].watch;
  if (plan.service_ns == 0) return;
  Watch& watch = watches_[s];
  const uint64_t slow = slow_turns(s);
  const uint64_t fresh = slow - watch.slow;
  if (fresh == 0) return;
  watch.slow = slow;
  const bool known = watch.told_slow;
  watch.told_slow = false;
  if (fresh == 1 && known) return;
  shards_[s]->record().slow.add(fresh - (known ? 1 : 0));
  Finding finding;
  finding.kind = Stall::running;
  finding.text = "they are over";
  act(s, plan.on_service, "VANITY_W_SHARD_SLOW",
      std::to_string(fresh) + (fresh == 1 ? " turn" : " turns") + " took longer than " +
          ms_text(plan.service_ns),
      finding);
}

// Who waits for whom, from this shard on.
Watchdog::Finding Watchdog::find_blocked(uint32_t s) {
  Finding finding;
  finding.kind = Stall::blocked;
  std::vector<uint32_t> seen;
  for (uint32_t at = s;;) {
    const ShardRecord& record = shards_[at]->record();
    const auto phase = static_cast<Phase>(record.phase.load(std::memory_order_relaxed));
    if (std::find(seen.begin(), seen.end(), at) != seen.end()) {
      finding.text += ": a cycle";
      return finding;
    }
    seen.push_back(at);
    if (phase != Phase::blocked) {
      static constexpr const char* kPhases[] = {"polling", "idle",         "held",
                                                "blocked", "transmitting", "faulted"};
      finding.text += ", which is " + std::string(kPhases[static_cast<uint32_t>(phase)]);
      if (phase == Phase::idle && sample_thread(record.thread()).state == 'R') {
        finding.kind = Stall::descheduled;
        finding.counts = false;
        finding.text += ", woken, and not run by Linux";
      }
      return finding;
    }
    const uint32_t channel = record.waiting_for.load(std::memory_order_relaxed);
    if (channel >= plan_.channels.size()) return finding;
    const uint32_t to = plan_.channels[channel].to;
    finding.text += (finding.text.empty() ? "" : ", which ") + std::string("waits for room in ") +
                    plan_.channels[channel].name + ", read by " + name(to);
    at = to;
  }
}

// Another shard of its thread runs; nothing that is done to this one mends that.
bool Watchdog::find_displaced(uint32_t s, Finding& finding) {
  const uint32_t other = shards_[s]->displaced_by();
  if (other == kNone) return false;
  finding.kind = Stall::descheduled;
  finding.counts = false;
  finding.text = "shard " + name(other) + " has their thread and does not give way";
  return true;
}

Watchdog::Finding Watchdog::find_out(uint32_t s) {
  Watch& watch = watches_[s];
  Shard& shard = *shards_[s];
  const ShardRecord& record = shard.record();
  Finding finding;
  const auto phase = static_cast<Phase>(record.phase.load(std::memory_order_relaxed));
  if (phase == Phase::blocked) return find_blocked(s);
  if (phase == Phase::transmitting) {
    finding.kind = Stall::device;
    finding.text = "waits for its output " +
                   std::to_string(record.waiting_for.load(std::memory_order_relaxed)) +
                   " of a port to take packets";
    return finding;
  }
  if (find_displaced(s, finding)) return finding;
  const ThreadSample now = sample_thread(record.thread());
  if (now.state == 't' || now.state == 'T') return finding;  // somebody has stopped it
  if (now.state == 'D') {
    finding.kind = Stall::device;
    finding.counts = false;
    finding.text = "Linux waits for a device on its behalf, in " + wait_channel(record.thread());
    return finding;
  }
  const uint64_t span = watch.halfway ? monotonic_ns() - watch.half_at : 0;
  const uint64_t waited = now.wait_ns - watch.half.wait_ns;
  if (watch.halfway && now.scheduled && now.state == 'R' && waited > span / 4 * 3) {
    finding.kind = Stall::descheduled;
    finding.counts = false;
    finding.text = "Linux gave its core to others for " + ms_text(std::min(waited, span)) +
                   " of the last " + ms_text(span) + " (" +
                   std::to_string(record.switches_involuntary.get()) + " switches in all";
    const uint64_t stolen =
        record.core == kNone ? 0 : stolen_ticks(record.core) - watch.half_stolen;
    finding.text += stolen == 0 ? ")" : ", " + std::to_string(stolen * 10) + " ms stolen)";
    return finding;
  }
  finding.kind = now.state == 'S' ? Stall::sleeping : Stall::running;
  finding.text = now.state == 'S' ? "its program sleeps in Linux" : "its program runs";
  const std::string channel = now.state == 'S' ? wait_channel(record.thread()) : std::string();
  if (!channel.empty()) finding.text += " (" + channel + ")";
  if (plan_.shards[s].kind == ProgramKind::typescript) return finding;
  finding.frame_count =
      shard.guard().sample(record.thread(), finding.frames, Evidence::kFrames, kAnswerNs);
  finding.keeps_others = shard.carried();
  return finding;
}

void Watchdog::act(uint32_t s, Policy policy, const char* code, const std::string& what,
                   const Finding& finding) {
  Shard& shard = *shards_[s];
  shard.record().last_stall.store(static_cast<uint32_t>(finding.kind), std::memory_order_relaxed);
  const char* then = "";
  const char* hint = "look at it: vanity top; hold it: vanity hold";
  switch (policy) {
    case Policy::report:
      break;
    case Policy::hold:
      shard.record().command.store(static_cast<uint32_t>(Command::hold), std::memory_order_relaxed);
      then = "; it is held";
      hint = "let it go on: vanity release";
      break;
    case Policy::restart:
      if (!shard.contained()) {
        then = "; only native modules can be started anew";
        break;
      }
      shard.leave_program();
      watches_[s].leaving_since = clock_ + 1;
      within(0);
      then = "; its program is started anew";
      break;
    case Policy::stop_system:
      hint = "";
      break;
  }
  std::string message = "shard " + name(s) + ": " + what + ": " + finding.text;
  if (finding.frame_count != 0) {
    message += ", in " + backtrace_text(finding.frames, finding.frame_count);
  }
  if (finding.keeps_others) message += "; the other shards of its thread wait for it";
  (policy == Policy::stop_system ? says_.stop : says_.warn)(code, message + then, hint);
}

// A program that does not come back is left as soon as it is at an instruction of its own.
void Watchdog::urge(uint32_t s) {
  Watch& watch = watches_[s];
  Shard& shard = *shards_[s];
  if (!shard.asked_to_leave()) {
    watch.leaving_since = 0;
    return;
  }
  shard.leave_program();
  within(0);
  if (clock_ - watch.leaving_since < kUrgeNs) return;
  watch.leaving_since = 0;
  says_.warn("VANITY_W_SHARD_STALLED",
             "shard " + name(s) +
                 ": its program cannot be left: it stays in the C library or in a "
                 "system call",
             "it is started anew when its poll returns");
}

void Watchdog::look_at_fault(uint32_t s, uint64_t now_ns) {
  Watch& watch = watches_[s];
  Shard& shard = *shards_[s];
  const WatchPlan& plan = plan_.shards[s].watch;
  Verdicts& verdicts = shard.verdicts();
  const uint64_t left = verdicts.left();
  if (left != watch.left) {
    watch.left = left;
    watch.due_ns = 0;  // of the time before: it was started anew by hand
    const auto out = [&](uint64_t when) { return now_ns - when > plan.window_ns; };
    watch.restarts.erase(std::remove_if(watch.restarts.begin(), watch.restarts.end(), out),
                         watch.restarts.end());
    const auto times = static_cast<uint32_t>(watch.restarts.size());
    const Evidence& evidence = shard.guard().evidence();
    std::string message = "shard " + name(s) + ": its program was left: " +
                          evidence_text(evidence, strayed(evidence) ? says_.owner(evidence) : "");
    if (shard.lost_last() != 0) {
      message += "; " + std::to_string(shard.lost_last()) + " packets that it held are dropped";
    }
    message += "; what it did before: vanity trace " + plan_.name + " " + name(s) + " --fault";
    const bool asked = evidence.kind == FaultKind::asked;
    verdicts.judge(Verdict::seen, left);  // the evidence is read
    if (plan.on_fault == Policy::stop_system && !asked) {
      verdicts.judge(Verdict::give_up, left);
      says_.stop("VANITY_E_PROGRAM_FAULT", message, "");
      return;
    }
    if (times >= plan.max_restarts || (plan.on_fault == Policy::hold && !asked)) {
      verdicts.judge(Verdict::give_up, left);
      message += "; started anew " + std::to_string(times) + " times within " +
                 ms_text(plan.window_ns) + ", it is given up";
      says_.warn("VANITY_W_SHARD_FAULT", message, "start it by hand: vanity restart");
      return;
    }
    const uint64_t backoff = plan.backoff_ns << std::min(times, kBackoffDoublings);
    watch.due_ns = now_ns + backoff;
    message += "; it is started anew in " + ms_text(backoff) + ", for the " +
               std::to_string(times + 1) + ". time of " + std::to_string(plan.max_restarts);
    says_.warn("VANITY_W_SHARD_FAULT", message, "mend the program; nobody else was harmed");
  }
  if (watch.due_ns == 0) return;
  if (now_ns < watch.due_ns) {
    within(watch.due_ns - now_ns);
    return;
  }
  watch.due_ns = 0;
  watch.restarts.push_back(now_ns);
  verdicts.judge(Verdict::restart, left);
}

}  // namespace vanity
