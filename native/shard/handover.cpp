// The shard's half of a reload: copies bursts for a rehearsal, switches programs between two turns,
// looks whether the new one is well, and brings the old one back when it is not.
#include "shard/handover.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "platform/clock.hpp"
#include "shard/shard.hpp"

namespace vanity {

void Shard::post(Handover& handover) noexcept {
  line_->wishes.post(handover);
}

void Shard::wish(Wish wanted) noexcept {
  line_->wishes.wish(wanted, line_->doorbell, *line_->asleep);
}

Cut Shard::cut() const noexcept {
  Cut cut;
  cut.ticks = now_ticks();
  cut.received = record_->received.get();
  cut.sent = record_->sent.get();
  cut.consumed = record_->consumed.get();
  cut.filtered = record_->filtered.get();
  cut.dropped = record_->dropped.get();
  cut.dropped_fault = record_->dropped_fault.get();
  cut.unsent = unsent_;
  if (own_pool_ != nullptr) cut.allocated = own_pool_->taken();
  cut.held = holds() + again_.size() - again_at_;
  return cut;
}

// Not by the command word: what is asked of the new one must never meet the old one.
void Shard::leave_trial(uintptr_t text_begin) noexcept {
  wish(Wish::leave);
  guard_.ask_to_leave(record_->thread(), text_begin);
}

bool Shard::asked_to_leave_trial() const noexcept {
  const Handover* const handover = attendant_.current();
  return handover != nullptr && handover->switched && line_->wishes.leaves();
}

bool Shard::carries_messages() const noexcept {
  const auto messages = [](const auto& end) { return !end->packets; };
  return message_inputs_ != 0 || std::any_of(outputs_.begin(), outputs_.end(), messages);
}

void Shard::refuse(Unkept why) noexcept {
  const uint64_t held = why == Unkept::cancelled ? holds() : 0;
  conclude(Step::refused, held == 0 ? why : Unkept::held, held);
}

void Shard::attend_bursts() noexcept {
  attentive_ = !again_.empty() || attendant_.is(Step::copying);
}

// A packet that the old one keeps over turns is neither the new one's nor to be lost.
bool Shard::may_switch() noexcept {
  const Handover& handover = *attendant_.current();
  if (handover.rewiring != nullptr && !lets_go_of_inputs()) return false;
  if (!handover.program_follows()) return !handover.drain || inputs_empty();
  return holds() == 0 && again_.empty() && (!handover.drain || inputs_empty());
}

// Are those empty that go? Of a program that was left nobody empties them.
bool Shard::lets_go_of_inputs() noexcept {
  bool empty = true;
  for (const Rewiring::Slot& slot : attendant_.current()->rewiring->slots) {
    if (slot.end != nullptr || slot.at >= slot_count()) continue;
    if (down_) drop_input(slot.at);
    empty &= !consumers_[slot.at].ready();
  }
  return empty;
}

// Other channels and ways home for the same program, which notices none of it, or another stage,
// which keeps nothing from one turn to the next.
void Shard::rewire(uint64_t since) noexcept {
  Handover& handover = *attendant_.current();
  exchange(*handover.rewiring);
  handover.cut = cut();
  handover.pause_ticks = now_ticks() - since;
  conclude(Step::kept, Unkept::none, 0);
}

// No memory is taken for it: make_room() has. What it had is in `rewiring` afterwards.
void Shard::exchange(Rewiring& rewiring) noexcept {
  if (rewiring.stage != nullptr) std::swap(program_, rewiring.stage);
  if (rewiring.ends) {
    for (Rewiring::Slot& slot : rewiring.slots) {
      if (slot.at >= slot_count()) {
        inputs_.resize(slot.at + 1, nullptr);
        consumers_.resize(slot.at + 1, rewiring.nothing);
      }
      std::swap(inputs_[slot.at], slot.end);
      std::swap(consumers_[slot.at], slot.consumer);
      if (inputs_[slot.at] != nullptr) inputs_[slot.at]->consumer = &consumers_[slot.at];
    }
    std::swap(seen_, rewiring.inputs);
    std::swap(outputs_, rewiring.outputs);
    const auto number = [](const auto& ends, auto&& what) {
      return static_cast<uint32_t>(std::count_if(ends.begin(), ends.end(), what));
    };
    message_inputs_ = number(seen_, [](const vanity_channel* end) { return !end->packets; });
    watched_above_ = number(outputs_, [](const vanity_channel* end) { return end->above; });
    full_ = nullptr;
    // Its ports' descriptors wake it only where there is nothing else that may.
    polled_.resize(seen_.empty() ? rx_.size() : 0);
    // All are looked at once: whatever a mark said before is found.
    ready_ = Inputs(consumers_.data(), slot_count(), plan_.strategy, &line_->doorbell,
                    primary_slot(), ready_.by_bell());
  }
  for (Rewiring::Home& home : rewiring.homes) {
    if (homes_.size() <= home.pool) homes_.resize(home.pool + 1);
    std::swap(homes_[home.pool], home.ring);
    held_.change(home.pool, home.page);
  }
  for (const void* const memory : rewiring.goes) {
    const auto gone = std::find_if(returns_.begin(), returns_.end(),
                                   [&](const Returns& each) { return each.ring == memory; });
    if (gone == returns_.end()) continue;
    take_returns(*gone);  // who sent them has ended
    returns_.erase(gone);
  }
  for (const Returns& comes : rewiring.comes) returns_.push_back(comes);
  returns_turn_ = 0;
  returns_wait_ = 1;
}

void Shard::conclude(Step step, Unkept why, uint64_t number) noexcept {
  Handover& handover = *attendant_.current();
  handover.why = why;
  note_reload(step == Step::kept     ? Event::Change::kept
              : step == Step::undone ? Event::Change::undone
                                     : Event::Change::refused);
  handover.number = number;
  handover.end = cut();
  guard_.try_out(false);
  attentive_ = !again_.empty();
  attendant_.conclude(step);
}

void Shard::change_places() noexcept {
  Handover& handover = *attendant_.current();
  std::unique_ptr<Program> now = std::move(handover.program);
  handover.program.reset(program_.release()->module());
  program_ = std::move(now);
  std::swap(place_, handover.place);
  contain();
}

void Shard::switch_programs(uint64_t since) noexcept {
  Handover& handover = *attendant_.current();
  // Nothing that others wait for stays half done.
  flush_ports();
  ready_.flush();
  if (!handover.program_follows()) {
    rewire(since);
    return;
  }
  if (handover.was != nullptr) {
    // It was started anew in the meantime, from a file that has changed.
    if (program_->module()->state() != handover.was) {
      conclude(Step::refused, Unkept::old_fault, 0);
      return;
    }
    const int refusal = program_->module()->save(handover.saved.data());
    if (refusal != 0) {
      conclude(Step::refused, Unkept::save, static_cast<uint64_t>(refusal));
      return;
    }
  }
  for (size_t i = 0; i < outputs_.size(); ++i) handover.above[i] = outputs_[i]->above;
  full_ = nullptr;
  change_places();
  if (handover.rewiring != nullptr) exchange(*handover.rewiring);
  handover.switched = true;
  record_->generation.add(1);
  handover.cut = cut();
  note_reload(Event::Change::switched);
  handover.busy_before = record_->polls_busy.get();
  Module& module = *program_->module();
  place_->handle.rehearsal = nullptr;
  module.play(handle(), &guard_);
  if (handover.was != nullptr) {
    const int refusal = handover.migrates ? module.migrate(*handover.was, handover.saved.data())
                                          : module.restore(handover.saved.data());
    if (refusal != 0) {
      undo(handover.migrates ? Unkept::migrate : Unkept::restore, static_cast<uint64_t>(refusal));
      return;
    }
  }
  for (const auto& output : outputs_) {
    if (output->above) module.watermark(*this, output, true);
  }
  attentive_ = true;
  const uint64_t now = now_ticks();
  handover.cut.ticks = now;
  handover.pause_ticks = now - since;
  guard_.try_out(true);
  attendant_.on_trial();
}

void Shard::try_out(bool keep, uint64_t since) noexcept {
  Handover& handover = *attendant_.current();
  const uint64_t bursts = record_->polls_busy.get() - handover.busy_before;
  if (bursts != handover.bursts) {
    if (handover.bursts == 0) handover.first_turn_ticks = since - handover.cut.ticks;
    handover.bursts = bursts;
    const int complaint = program_->module()->healthy();
    if (complaint != 0) {
      undo(Unkept::unhealthy, static_cast<uint64_t>(complaint));
      return;
    }
  }
  const bool full =
      handover.received.capacity() - handover.received.size() < size_t{limits::kBurstMax};
  if (bursts >= handover.trial_bursts || keep || full) {
    record_->reloads.add(1);
    conclude(Step::kept, Unkept::none, 0);
  }
}

// The old one goes on where it was. What the new one had received and not given away, comes again.
void Shard::undo(Unkept why, uint64_t number) noexcept {
  Handover& handover = *attendant_.current();
  const uint64_t began = now_ticks();
  if (why == Unkept::fault) handover.evidence = guard_.evidence();
  hold_again();
  handover.again = static_cast<uint32_t>(again_.size());
  // What it made itself goes with it.
  const uint32_t lost = held_.clear([this](const vanity_packet& packet) { give_home(&packet, 1); });
  record_->dropped.add(lost);
  record_->dropped_fault.add(lost);
  flush_ports();
  ready_.flush();
  full_ = nullptr;
  set_phase(Phase::polling);
  change_places();
  if (handover.rewiring != nullptr) exchange(*handover.rewiring);
  handover.switched = false;
  record_->generation.set(record_->generation.get() - 1);
  const bool tried = attendant_.is(Step::trial);
  if (tried) record_->reloads_undone.add(1);
  tell_watermarks();
  handover.back_ticks = now_ticks() - began;
  conclude(tried ? Step::undone : Step::refused, why, number);
}

// What became of its outputs while it was away.
void Shard::tell_watermarks() noexcept {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (outputs_[i]->above != attendant_.current()->above[i]) {
      program_->watermark(*this, outputs_[i], outputs_[i]->above);
    }
  }
}

// In the order in which it came. A buffer that was given away may have come by once more since: the
// last time is the one that counts.
void Shard::hold_again() noexcept {
  std::vector<vanity_packet>& received = attendant_.current()->received;
  size_t kept = received.size();
  for (size_t i = received.size(); i-- != 0;) {
    if (held_.remove(&received[i], 1) == 1) received[--kept] = received[i];
  }
  received.erase(received.begin(), received.begin() + static_cast<std::ptrdiff_t>(kept));
  std::swap(again_, received);
  again_at_ = 0;
}

void Shard::drop_again() noexcept {
  drop(again_.data() + again_at_, static_cast<uint32_t>(again_.size() - again_at_));
  again_.clear();
  again_at_ = 0;
}

uint32_t Shard::receive_attentively(vanity_packet* packets, uint32_t n) noexcept {
  if (!again_.empty()) {
    const auto got = static_cast<uint32_t>(std::min<size_t>(n, again_.size() - again_at_));
    std::copy_n(again_.data() + again_at_, got, packets);
    again_at_ += got;
    if (again_at_ == again_.size()) {
      again_.clear();
      again_at_ = 0;
      attentive_ = attendant_.current() != nullptr;
    }
    return got;
  }
  Handover* const handover = attendant_.current();
  const bool trial = attendant_.is(Step::trial);
  if (trial) {
    const size_t room = handover->received.capacity() - handover->received.size();
    n = static_cast<uint32_t>(std::min<size_t>(n, room));
  }
  const uint32_t got = receive(packets, n);
  if (got == 0) return 0;
  if (trial) {
    handover->received.insert(handover->received.end(), packets, packets + got);
  } else if (attendant_.is(Step::copying)) {
    copy_burst(packets, got);
  }
  return got;
}

void Shard::copy_burst(const vanity_packet* packets, uint32_t n) noexcept {
  Handover& handover = *attendant_.current();
  BurstCopies& copies = handover.copies;
  for (uint32_t i = 0; i < n && copies.packets.size() < BurstCopies::kPackets; ++i) {
    const uint32_t bytes = uint32_t{packets[i].offset} + packets[i].length;
    if (bytes > BurstCopies::kStride) continue;
    const auto index = static_cast<uint32_t>(copies.packets.size());
    std::memcpy(copies.buffer(index) + VANITY_HEADROOM_BYTES,
                pools_->buffer(packets[i].buffer) + VANITY_HEADROOM_BYTES,
                bytes - VANITY_HEADROOM_BYTES);
    copies.packets.push_back(packets[i]);
    copies.packets.back().buffer = index;
  }
  copies.ends.push_back(static_cast<uint32_t>(copies.packets.size()));
  if (copies.ends.size() < attendant_.current()->copy_bursts &&
      copies.packets.size() < BurstCopies::kPackets) {
    return;
  }
  attentive_ = false;
  attendant_.copied();
}

}  // namespace vanity
