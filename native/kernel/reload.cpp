#include "kernel/reload.hpp"

#include <algorithm>
#include <utility>

#include "kernel/evidence.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"
#include "shard/state.hpp"

namespace vanity {
namespace {

constexpr uint32_t kCopyBursts = 16;
constexpr uint64_t kCopyNs = 100'000'000;
constexpr uint64_t kHoldNs = 5'000'000'000;
constexpr uint64_t kTrialNs = 1'000'000'000;
// Input waits, and the new one takes none of it for so long.
constexpr uint64_t kStarvedNs = 200'000'000;
constexpr uint64_t kRehearsalNs = 5'000'000'000;
constexpr uint64_t kCloseNs = 1'000'000'000;
constexpr uint64_t kWritingNs = 1'000'000'000;
constexpr uint64_t kArenaSlack = 4096;

// As the manifest tells programs apart.
bool in_javascript(const std::string& path) {
  const size_t dot = path.rfind('.');
  const std::string end = dot == std::string::npos ? "" : path.substr(dot);
  for (const char* const one : {".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"}) {
    if (end == one) return true;
  }
  return false;
}

// Modules have paths, stages have names.
bool names_stage(const ReloadRequest& request, const Shard& shard) {
  return shard.plan().kind == ProgramKind::builtin && request.path.find('/') == std::string::npos &&
         !request.path.empty();
}

}  // namespace

void hand_over(Shard& shard, std::unique_ptr<Rewiring> rewiring) {
  Handover handover;
  handover.rewiring = std::move(rewiring);
  Asking asking(shard, handover);
  asking.post();
  asking.swap(kHoldNs);
  asking.withdraw();
  if (asking.step() == Step::kept) return;
  throw Error("VANITY_E_RELOAD_LATE",
              "shard " + shard.plan().name +
                  (shard.ended() ? ": it has ended" : ": it does not come back from its turn"),
              "look at it: vanity stats");
}

Reload::Reload(const Plan& plan, Shard& shard, ReloadRequest request,
               std::unique_ptr<Rewiring> rewiring, const OwnerOf& owner)
    : plan_(plan),
      owner_(owner),
      shard_(shard),
      script_(shard.plan().kind == ProgramKind::typescript),
      request_(std::move(request)),
      options_(request_.options ? *request_.options : shard.options()),
      began_ns_(monotonic_ns()) {
  for (const vanity_channel* end : shard.inputs()) inputs_.push_back(end->ring);
  for (const vanity_channel* end : shard.outputs()) outputs_.push_back(end->ring);
  if (rewiring == nullptr) return;
  for (const vanity_channel* end : rewiring->inputs) inputs_.push_back(end->ring);
  for (const vanity_channel* end : rewiring->outputs) outputs_.push_back(end->ring);
  handover_.rewiring = std::move(rewiring);
}

Reload::~Reload() {
  if (thread_.joinable()) thread_.join();
}

void Reload::refuse(const char* code, const std::string& message, const std::string& hint) const {
  throw Error(code, "shard " + shard_.plan().name + ": " + message, hint);
}

void Reload::run() noexcept {
  set_thread_name("vanity-reload");
  try {
    if (request_.path.empty() || names_stage(request_, shard_)) {
      rewire();
    } else {
      other_program();
    }
  } catch (const Error& error) {
    certificate_.outcome = ReloadOutcome::refused;
    certificate_.code = error.code();
    certificate_.message = error.what();
    certificate_.hint = error.hint();
  } catch (const std::exception& error) {
    certificate_.outcome = ReloadOutcome::refused;
    certificate_.code = "VANITY_E_RELOAD";
    certificate_.message = error.what();
  }
  asking_.call_off();  // refused before the switch was wished for: the shard may still be copying
  rehearsing_.store(0, std::memory_order_relaxed);
  rehearsal_.reset();
  certificate_.generation = shard_.record().generation.get();
  asking_.finish();
}

void Reload::check_shard() const {
  if (shard_.plan().kind == ProgramKind::builtin) {
    refuse("VANITY_E_RELOAD",
           "it runs a built-in stage, and no module takes its place while it runs",
           "restart the system with another manifest; another stage: vanity apply");
  }
  const bool module = !in_javascript(request_.path);
  if (module == script_) {
    refuse("VANITY_E_RELOAD",
           script_ ? "it runs a TypeScript program, and " + request_.path + " is none"
                   : "it runs a native module, and " + request_.path + " is a TypeScript program",
           script_ ? "give one: path/to/program.js" : "give a native module: path/to/program.so");
  }
  if (script_ ? shard_.plan().watch.on_fault == Policy::report : !shard_.contained()) {
    refuse("VANITY_E_RELOAD", "nothing contains the faults of its program",
           "remove on_fault = \"crash\"");
  }
  if (shard_.confined() && handover_.rewiring != nullptr) refuse_rewiring();
  if (shard_.has_devices()) {
    refuse("VANITY_E_RELOAD", "it has been granted devices, which two programs would drive at once",
           "restart it: vanity restart");
  }
  const ShardState state = shard_.state();
  if (script_ && state == ShardState::faulted) {
    refuse("VANITY_E_RELOAD", "its program was left, so there is nothing to take over from",
           "mend its file, and start it anew: vanity restart");
  }
  if (state != ShardState::running && state != ShardState::held && state != ShardState::stalled &&
      state != ShardState::faulted) {
    refuse("VANITY_E_RELOAD", "it does not run, so there is nothing to take over from",
           "look at it: vanity stats");
  }
}

// JavaScript loads, compares and switches; here it is asked, waited for, and watched.
void Reload::change_script() {
  handover_.script.path = request_.path;
  handover_.drain = request_.drain;
  handover_.trial_bursts = request_.trial_bursts;
  handover_.place = std::make_unique<Place>();
  handover_.place->options = options_;
  const bool answered = asking_.copy(kImportNs, kHoldNs);
  const ScriptSide& script = handover_.script;
  if (asking_.over() || (answered && script.prepared)) {
    certificate_.old_name = script.old_name;
    certificate_.new_name = script.new_name;
    certificate_.difference = script.difference;
    certificate_.old_hash = script.old_hash;
    certificate_.new_hash = script.new_hash;
  }
  if (asking_.over()) {
    settle();
    return;
  }
  if (!answered || !script.prepared) {
    refuse("VANITY_E_RELOAD_LATE",
           answered
               ? "the new program was not loaded and did not end its init within thirty seconds"
               : "its program does not come back from its turn",
           "look at it: vanity stats");
  }
  certificate_.prepare_ns = monotonic_ns() - began_ns_;
  if (request_.dry_run) {
    certificate_.pause_ns = script.stood_ns;
    certificate_.outcome = ReloadOutcome::rehearsed;
    return;
  }
  if (asking_.swap(request_.drain ? plan_.drain_ns : kHoldNs)) watch();
  settle();
}

void Reload::other_program() {
  check_shard();
  if (script_) {
    change_script();
    return;
  }
  load();
  if (shard_.state() == ShardState::faulted) {
    replace();
    return;
  }
  prepare();
  if (request_.dry_run) {
    certificate_.outcome = ReloadOutcome::rehearsed;
    rehearsal_->farewell(*handover_.program);
    return;
  }
  if (asking_.swap(request_.drain ? plan_.drain_ns : kHoldNs)) watch();
  settle();
}

void Reload::refuse_rewiring() const {
  refuse("VANITY_E_RELOAD", "a protection key confines its program to the channels it began with",
         "start the system with the other manifest: vanity run");
}

// Other channels for the same program, or another stage.
void Reload::rewire() {
  if (shard_.confined()) refuse_rewiring();
  if (!request_.path.empty()) {
    handover_.rewiring->stage = other_stage();
    if (request_.dry_run) {
      certificate_.outcome = ReloadOutcome::rehearsed;
      return;
    }
    // It asks for counters, as the one before did; they may be asked for from here.
    handover_.rewiring->stage->init(shard_);
    certificate_.prepare_ns = monotonic_ns() - began_ns_;
  }
  handover_.drain = request_.drain;
  asking_.post();
  asking_.swap(request_.drain ? plan_.drain_ns : kHoldNs);
  asking_.withdraw();
  if (asking_.step() == Step::kept) {
    certificate_.outcome = ReloadOutcome::kept;
    certificate_.pause_ns = ticks_to_ns(handover_.pause_ticks);
    if (!request_.path.empty()) shard_.name_program(request_.path);
    return;
  }
  refuse("VANITY_E_RELOAD_LATE",
         shard_.ended() ? "it has ended"
                        : "it does not let go of its channels: what is in them waits, or its "
                          "program does not come back from its turn",
         "look at it: vanity stats");
}

std::unique_ptr<Program> Reload::other_stage() const {
  ShardPlan plan = shard_.plan();
  plan.program = request_.path;
  plan.options = options_;
  std::unique_ptr<Program> stage = make_stage(plan);
  if (shard_.is_source() || stage->is_source()) {
    refuse("VANITY_E_RELOAD", "who makes packets is made along with its buffers",
           "restart the system with another manifest");
  }
  return stage;
}

// From the side, ordering nothing; the head first, so that the difference is not below 0.
bool Reload::input_waits() const noexcept {
  return std::any_of(inputs_.begin(), inputs_.end(), [](const Channel& channel) {
    const auto& ring = *channel.memory();
    const uint32_t head = ring.head.load(std::memory_order_relaxed);
    return ring.tail.load(std::memory_order_relaxed) != head;
  });
}

bool Reload::output_is_full() const noexcept {
  return std::any_of(outputs_.begin(), outputs_.end(), [](const Channel& channel) {
    const auto& ring = *channel.memory();
    const uint32_t head = ring.head.load(std::memory_order_relaxed);  // as above
    return ring.tail.load(std::memory_order_relaxed) - head >= ring.capacity;
  });
}

void Reload::load() {
  Module& old = *shard_.program()->module();
  certificate_.old_name = old.name();
  certificate_.old_version = old.version();
  handover_.program = std::make_unique<Module>(request_.path, options_, Module::File::copy);
  Module& fresh = *handover_.program;
  certificate_.new_name = fresh.name();
  certificate_.new_version = fresh.version();
  if (!fresh.knows_reload()) {
    throw Error("VANITY_E_PROGRAM_ABI",
                request_.path + ": it was compiled before programs could be replaced",
                "compile it again with this version's include/vanity/program.h");
  }
  uintptr_t text_end;
  fresh.text(&text_begin_, &text_end);
}

void Reload::prepare() {
  compare_states();
  copy_bursts();
  rehearse();
  certificate_.prepare_ns = monotonic_ns() - began_ns_;
}

void Reload::compare_states() {
  const vanity_reload* const from = shard_.program()->module()->reload();
  const vanity_reload* const to = handover_.program->reload();
  const bool hands_on = from != nullptr && from->save != nullptr && from->state != nullptr;
  const vanity_state* const was = hands_on ? from->state : nullptr;
  const vanity_state* const now = to == nullptr ? nullptr : to->state;
  for (const vanity_state* const state : {was, now}) {
    if (state == nullptr) continue;
    const std::string problem = state_problem(*state);
    if (!problem.empty()) {
      refuse("VANITY_E_RELOAD_STATE",
             std::string("the description of the ") + (state == was ? "old" : "new") +
                 " program's state is wrong: " + problem,
             "correct its vanity_state");
    }
  }
  certificate_.old_hash = state_hash(was);
  certificate_.new_hash = state_hash(now);
  handover_.was = was;
  if (was == nullptr) return;
  certificate_.state_bytes = was->bytes;
  handover_.saved.resize(was->bytes);
  const std::vector<std::string> lines = state_difference(was, now);
  for (const std::string& line : lines) {
    certificate_.difference += (certificate_.difference.empty() ? "" : "; ") + line;
  }
  if (!lines.empty()) {
    handover_.migrates = true;
    if (to == nullptr || to->migrate == nullptr) {
      refuse(
          "VANITY_E_RELOAD_STATE",
          "the new program cannot take over the state of the old one: " + certificate_.difference,
          "keep the fields, or give the new program a migrate()");
    }
  }
  certificate_.handed = lines.empty() ? Handed::restored : Handed::migrated;
}

// What it receives just now, for the rehearsal; none when nothing comes.
void Reload::copy_bursts() {
  handover_.drain = request_.drain;
  handover_.trial_bursts = request_.trial_bursts;
  handover_.copy_bursts = kCopyBursts;
  handover_.copies.reserve();
  handover_.received.reserve(size_t{request_.trial_bursts + 1} * limits::kBurstMax);
  handover_.above.resize(shard_.output_count());
  make_rehearsal();
  if (!asking_.copy(kCopyNs, kHoldNs)) {
    if (asking_.step() == Step::refused) say_why();
    if (asking_.over() || asking_.hurried()) refuse("VANITY_E_RELOAD", "the system stops", "");
    refuse("VANITY_E_RELOAD_LATE", "its program does not come back from its turn",
           "look at it: vanity stats; restart it: vanity restart");
  }
}

void Reload::make_rehearsal() {
  const uint64_t arena = shard_.plan().arena_bytes + kArenaSlack;
  rehearsal_ = std::make_unique<Rehearsal>(shard_, handover_, guard_, options_, arena, plan_.pages);
}

// Nobody is there to take over from: it begins as a program that is started anew does, but for its
// file.
void Reload::replace() {
  make_rehearsal();
  rehearse();
  rehearsal_->farewell(*handover_.program);
  rehearsal_.reset();
  certificate_.prepare_ns = monotonic_ns() - began_ns_;
  if (request_.dry_run) {
    certificate_.outcome = ReloadOutcome::rehearsed;
    return;
  }
  // The program that was left calls nobody, so its channels may be others at once.
  if (handover_.rewiring != nullptr) hand_over(shard_, std::move(handover_.rewiring));
  if (!shard_.engage(handover_.program, handover_.place)) {
    refuse("VANITY_E_RELOAD_LATE", "the program before does not come back from its init",
           "restart the system");
  }
  // As by hand, whatever the watchdog has said of the one before.
  shard_.record().command.store(static_cast<uint32_t>(Command::restart), std::memory_order_relaxed);
  const auto waits = [this] {
    const Understudy::Turn turn = shard_.understudy();
    return turn == Understudy::Turn::waits || turn == Understudy::Turn::begins;
  };
  const uint64_t since = monotonic_ns();
  while (waits() && !shard_.ended() && !asking_.hurried() && monotonic_ns() - since < kHoldNs) {
    ReloadClock::nap();
  }
  while (shard_.understudy() == Understudy::Turn::begins) {
    if (monotonic_ns() - since > 2 * kHoldNs) {
      refuse("VANITY_E_RELOAD_LATE", "the new program does not come back from its init",
             "restart the system");
    }
    ReloadClock::nap();
  }
  const Understudy gone = shard_.dismiss();
  if (gone.turn == Understudy::Turn::plays) {
    certificate_.outcome = ReloadOutcome::kept;
    shard_.name_program(request_.path);
  } else if (gone.turn == Understudy::Turn::failed) {
    refuse("VANITY_E_RELOAD_FAULT", "the new program faulted in its init",
           "the one before is started anew by the watchdog; mend the new one");
  } else if (asking_.over() || asking_.hurried()) {
    refuse("VANITY_E_RELOAD", "the system stops", "");
  } else {
    refuse("VANITY_E_RELOAD_LATE", "it did not leave its program within five seconds",
           "look at it: vanity stats");
  }
}

std::string Reload::told(const Evidence& evidence) const {
  return evidence_text(evidence, strayed(evidence) ? owner_(evidence) : "");
}

void Reload::rehearse() {
  rehearsing_.store(static_cast<int>(thread_id()), std::memory_order_relaxed);
  const auto act = [this](auto&& part) {
    try {
      part();
    } catch (const Error& error) {
      if (std::string(error.code()) != "VANITY_E_RELOAD_FAULT") throw;
      throw Error(error.code(), std::string(error.what()) + ": " + told(guard_.evidence()),
                  error.hint());
    }
  };
  act([this] { rehearsal_->init(); });
  if (!handover_.copies.packets.empty()) {
    act([this] { certificate_.warm_bursts = rehearsal_->warm(); });
    act([this] { rehearsal_->init(); });
  }
  rehearsing_.store(0, std::memory_order_relaxed);
}

void Reload::urge() noexcept {
  // Late by a moment, it meets no program's code, and does nothing.
  const int thread = rehearsing_.load(std::memory_order_relaxed);
  if (thread != 0) guard_.ask_to_leave(thread);
}

void Reload::watch() {
  const uint64_t since = monotonic_ns();
  progress_ns_ = received_ns_ = since;
  while (!asking_.over()) {
    ReloadClock::nap();
    judge(monotonic_ns(), since);
  }
  certificate_.trial_ns = monotonic_ns() - since;
}

void Reload::judge(uint64_t now_ns, uint64_t since_ns) {
  const ShardRecord& record = shard_.record();
  const auto phase = static_cast<Phase>(record.phase.load(std::memory_order_relaxed));
  const uint64_t progress = record.progress.get();
  if (progress != progress_ || phase != Phase::polling) {
    progress_ = progress;
    progress_ns_ = now_ns;
  }
  const uint64_t received = record.received.get();
  if (received != received_ || phase == Phase::held || phase == Phase::blocked ||
      phase == Phase::transmitting || !input_waits() || output_is_full()) {
    received_ = received;
    received_ns_ = now_ns;
  }
  const WatchPlan& watch = request_.watch ? *request_.watch : plan_.shards[shard_.index()].watch;
  const uint64_t own = watch.progress_ns;
  const uint64_t patience = own != 0 ? own : plan_.stall_ns;
  if (asking_.hurried()) {
    shard_.wish(Wish::keep);
  } else if (now_ns - progress_ns_ > patience) {
    missed_ = "a turn of it took longer than " + std::to_string(patience / 1'000'000) + " ms";
    if (script_) {
      shard_.wish(Wish::undo);  // heard once the turn ends: nothing else ends one of JavaScript
    } else {
      shard_.leave_trial(text_begin_);
    }
  } else if (now_ns - received_ns_ > kStarvedNs) {
    missed_ = "it took nothing for " + std::to_string(kStarvedNs / 1'000'000) +
              " ms while its input waited";
    shard_.wish(Wish::undo);
  } else if (now_ns - since_ns > std::max(kTrialNs, patience * 2) &&
             now_ns - received_ns_ < kStarvedNs / 2 && now_ns - progress_ns_ < patience / 2) {
    shard_.wish(Wish::keep);
  }
}

void Reload::say_why() {
  const auto number = std::to_string(handover_.number);
  switch (handover_.why) {
    case Unkept::none:
      break;
    case Unkept::cancelled:
      if (asking_.hurried()) {
        refuse("VANITY_E_RELOAD", "the system stops", "");
      }
      refuse("VANITY_E_RELOAD_LATE",
             request_.drain ? "its inputs were not empty within [kernel] drain_ms"
                            : "its program did not come back from its turn within five seconds",
             request_.drain ? "leave out --drain" : "look at it: vanity stats");
    case Unkept::held:
      refuse("VANITY_E_RELOAD_LATE",
             "its program always holds packets from one turn to the next (" + number +
                 " just now), which nobody else could give away",
             "have it send or free them before poll returns");
    case Unkept::save:
      refuse("VANITY_E_RELOAD_STATE", "save() of the old program returned " + number,
             "look at its own messages");
    case Unkept::restore:
      refuse("VANITY_E_RELOAD_STATE", "restore() of the new program returned " + number,
             "look at its own messages");
    case Unkept::migrate:
      refuse("VANITY_E_RELOAD_STATE",
             "migrate() of the new program returned " + number +
                 " for the state of the old one: " + certificate_.difference,
             "look at its own messages");
    case Unkept::old_fault:
      refuse("VANITY_E_RELOAD", "the old program faulted before it was replaced",
             "try again when it runs");
    case Unkept::fault:
      refuse(asking_.step() == Step::undone ? "VANITY_E_RELOAD_UNDONE" : "VANITY_E_RELOAD_FAULT",
             (missed_.empty() ? "the new program faulted: " : missed_ + ": ") +
                 told(handover_.evidence),
             "the old one goes on with its state; mend the new one");
    case Unkept::unhealthy:
      refuse("VANITY_E_RELOAD_UNDONE",
             "healthy() of the new program returned " + number + " after " +
                 std::to_string(handover_.bursts) + " bursts",
             "the old one goes on with its state; mend the new one");
    case Unkept::wished:
      refuse("VANITY_E_RELOAD_UNDONE", "the new program is not well: " + missed_,
             "the old one goes on with its state; mend the new one");
    case Unkept::told:
      throw Error(handover_.script.code.c_str(), handover_.script.message, handover_.script.hint);
  }
}

void Reload::settle() {
  // A shard that has ended with the new program on trial has kept it.
  const Step last = asking_.step();
  const bool kept = last == Step::kept || last == Step::trial;
  certificate_.outcome = kept                   ? ReloadOutcome::kept
                         : last == Step::undone ? ReloadOutcome::undone
                                                : ReloadOutcome::refused;
  if (last == Step::kept || last == Step::undone || last == Step::trial) {
    certificate_.balanced = !shard_.carries_messages();
    certificate_.begin = handover_.begin;
    certificate_.at_switch = handover_.cut;
    certificate_.end = last == Step::trial ? shard_.cut() : handover_.end;
    certificate_.pause_ns = ticks_to_ns(handover_.pause_ticks);
    certificate_.first_turn_ns = ticks_to_ns(handover_.first_turn_ticks);
    certificate_.back_ns = ticks_to_ns(handover_.back_ticks);
    certificate_.trial_bursts = handover_.bursts;
    certificate_.again = handover_.again;
    if (script_) {
      const ScriptSide& script = handover_.script;
      certificate_.pause_ns = std::max(certificate_.pause_ns, script.stood_ns);
      certificate_.state_bytes = script.state_bytes;
      if (script.old_hash != 0) {
        certificate_.handed = handover_.migrates ? Handed::migrated : Handed::restored;
      }
    }
  }
  asking_.withdraw();
  // Whoever has gone: the old one, or the new one that was not kept. One that faulted has said all.
  if (!script_ && handover_.why != Unkept::fault && last != Step::trial) {
    rehearsal_->farewell(*handover_.program);
  }
  if (script_ && last == Step::trial && shard_.state() == ShardState::failed) {
    refuse("VANITY_E_RELOAD_FAULT", "its thread ended with the new program on trial",
           "look at the failures of the system");
  }
  if (kept) {
    shard_.name_program(request_.path);
    return;
  }
  if (last == Step::none || last == Step::copied) refuse("VANITY_E_RELOAD", "the system stops", "");
  const ReloadOutcome outcome = certificate_.outcome;
  try {
    say_why();
  } catch (const Error& error) {
    certificate_.outcome = outcome;
    certificate_.code = error.code();
    certificate_.message = error.what();
    certificate_.hint = error.hint();
  }
}

// ---- the kernel's side

void Reloads::turn(uint64_t now_ns) noexcept {
  if (current_ != nullptr) {
    if (!current_->done()) {
      if (now_ns - current_->began_ns() > kRehearsalNs) current_->urge();
      return;
    }
    end();
  }
  settle_mail(now_ns);
  ReloadRequest request;
  if (take_request(segment_.reload(), &request)) begin(request);
}

// Whoever wanted to ask died in the middle of it.
void Reloads::settle_mail(uint64_t now_ns) noexcept {
  ReloadRecord& record = segment_.reload();
  const auto writing = static_cast<uint32_t>(MailState::writing);
  if (record.state.load(std::memory_order_relaxed) != writing) {
    writing_since_ns_ = 0;
  } else if (writing_since_ns_ == 0) {
    writing_since_ns_ = now_ns;
  } else if (now_ns - writing_since_ns_ > kWritingNs) {
    writing_since_ns_ = 0;
    record.state.store(static_cast<uint32_t>(MailState::idle), std::memory_order_relaxed);
  }
}

void Reloads::begin(const ReloadRequest& request) {
  Certificate certificate;
  certificate.outcome = ReloadOutcome::refused;
  certificate.code = "VANITY_E_RELOAD";
  if (request.job == Job::shard &&
      (request.shard >= shards_.size() || plan_.shards[request.shard].name.empty())) {
    certificate.message = "there is no shard " + std::to_string(request.shard);
    answer(segment_.reload(), certificate);
    return;
  }
  if (request.job == Job::shard && request.path.empty() && !request.ends) {
    try {
      if (request.core) does_.move(request.shard, *request.core);
      adopt(request);
      certificate.outcome = ReloadOutcome::kept;
      certificate.code.clear();
    } catch (const Error& error) {
      certificate.code = error.code();
      certificate.message = error.what();
      certificate.hint = error.hint();
    }
    answer(segment_.reload(), certificate);
    return;
  }
  try {
    current_ = task_for(request);
    current_->start();
  } catch (const Error& error) {
    current_.reset();
    certificate.code = error.code();
    certificate.message = error.what();
    certificate.hint = error.hint();
    answer(segment_.reload(), certificate);
  } catch (const std::exception& error) {
    current_.reset();
    certificate.message = std::string("cannot start a thread: ") + error.what();
    answer(segment_.reload(), certificate);
  }
}

std::unique_ptr<Task> Reloads::task_for(const ReloadRequest& request) {
  if (request.job != Job::shard) return does_.grow(request);
  // A handover is an address, and there is none that means the same in both.
  if (plan_.shards[request.shard].isolated) {
    throw Error("VANITY_E_RELOAD",
                "shard " + plan_.shards[request.shard].name +
                    ": it is a process of its own, which keeps its program and its channels",
                "start it anew with the file as it is now: vanity restart");
  }
  std::unique_ptr<Rewiring> rewiring;
  if (request.ends) rewiring = does_.rewire(request.shard, *request.ends);
  const bool stage = names_stage(request, *shards_[request.shard]);
  if ((request.path.empty() || stage) && rewiring == nullptr) {
    rewiring = std::make_unique<Rewiring>();
  }
  // It may have noted down where they are.
  if (request.path.empty() && rewiring->ends && shards_[request.shard]->contained()) {
    throw Error("VANITY_E_RELOAD",
                "shard " + plan_.shards[request.shard].name +
                    ": a module finds its channels in init, so other ones come with a program",
                "replace it along with them");
  }
  return std::make_unique<Reload>(plan_, *shards_[request.shard], request, std::move(rewiring),
                                  does_.owner);
}

void Reloads::end() {
  current_->conclude();
  const Certificate& certificate = current_->certificate();
  if (certificate.outcome == ReloadOutcome::undone) {
    warn_("VANITY_W_RELOAD_UNDONE", certificate.message, certificate.hint);
  }
  if (certificate.outcome == ReloadOutcome::kept) adopt(current_->request());
  answer(segment_.reload(), certificate);
  current_.reset();
}

void Reloads::adopt(const ReloadRequest& request) {
  if (request.watch) {
    plan_.shards[request.shard].watch = *request.watch;
    watchdog_.measure_anew(request.shard);
  }
  if (request.figures) {
    plan_.stall_ns = request.figures->stall_ns;
    plan_.drain_ns = request.figures->drain_ns;
  }
  if (request.manifest) segment_.adopt_manifest();
}

void Reloads::stop() noexcept {
  if (current_ != nullptr) current_->hurry();
}

bool Reloads::close() noexcept {
  if (current_ == nullptr) return true;
  const uint64_t since = monotonic_ns();
  while (!current_->done()) {
    if (monotonic_ns() - since > kCloseNs) {
      current_->forsake();
      static_cast<void>(current_.release());
      return false;
    }
    current_->urge();
    ReloadClock::nap();
  }
  end();
  return true;
}

}  // namespace vanity
