// The shard's half of a reload: copies bursts for a rehearsal, switches programs between two turns,
// looks whether the new one is well, and brings the old one back when it is not.
#include "shard/handover.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "platform/clock.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

constexpr uint32_t kWishBits = 4;
constexpr uint32_t kWishMask = (1u << kWishBits) - 1;

}  // namespace

void Shard::post(Handover& handover) noexcept {
  posted_ = &handover;
  ++posts_;
}

void Shard::wish(Wish wanted) noexcept {
  line_->wish.store(posts_ << kWishBits | static_cast<uint32_t>(wanted),
                    std::memory_order_release);  // pairs with attend(): what was posted
  line_->doorbell.ring(Doorbell::kControlKernel);
  signal(line_->sleeper);
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
  cut.held = held_.count() + again_.size() - again_at_;
  return cut;
}

// Not by the command word: what is asked of the new one must never meet the old one.
void Shard::leave_trial(uintptr_t text_begin) noexcept {
  wish(Wish::leave);
  guard_.ask_to_leave(static_cast<int>(record_->tid), text_begin);
}

bool Shard::asked_to_leave_trial() const noexcept {
  if (handover_ == nullptr || !handover_->switched) return false;
  return static_cast<Wish>(line_->wish.load(std::memory_order_relaxed) & kWishMask) == Wish::leave;
}

uint64_t Shard::waiting() const noexcept {
  uint64_t all = 0;
  for (const auto& input : inputs_) {
    // Looks from the side, ordering nothing; the head first, so that the difference is not below 0.
    const auto& ring = *input->ring.memory();
    const uint32_t head = ring.head.load(std::memory_order_relaxed);
    all += ring.tail.load(std::memory_order_relaxed) - head;
  }
  return all;
}

bool Shard::any_output_full() const noexcept {
  return std::any_of(outputs_.begin(), outputs_.end(), [](const auto& output) {
    const auto& ring = *output->ring.memory();
    const uint32_t head = ring.head.load(std::memory_order_relaxed);  // as above
    return ring.tail.load(std::memory_order_relaxed) - head >= output->record->capacity;
  });
}

bool Shard::carries_messages() const noexcept {
  const auto messages = [](const auto& end) { return !end->packets; };
  return message_inputs_ != 0 || std::any_of(outputs_.begin(), outputs_.end(), messages);
}

void Shard::attend(uint64_t since) noexcept {
  const uint32_t word = line_->wish.load(std::memory_order_acquire);  // pairs with wish()
  if (word == 0 || word >> kWishBits == settled_) return;
  if (handover_ == nullptr) posted_->begin = cut();
  handover_ = posted_;
  Handover& handover = *handover_;
  const auto wanted = static_cast<Wish>(word & kWishMask);
  if (handover.at == Step::trial) {
    try_out(wanted, since);
    return;
  }
  if (down_) {
    conclude(Step::refused, Unkept::old_fault, 0);
  } else if (wanted == Wish::cancel) {
    conclude(Step::refused, held_.count() == 0 ? Unkept::cancelled : Unkept::held, held_.count());
  } else if (wanted == Wish::copy && handover.at == Step::none) {
    handover.at = Step::copying;
    attentive_ = true;
  } else if (wanted == Wish::enough && handover.at != Step::copied) {
    handover.at = Step::copied;
    attentive_ = !again_.empty();
    handover.step.store(static_cast<uint32_t>(Step::copied),
                        std::memory_order_release);  // pairs with Reload::step()
  } else if (wanted == Wish::swap) {
    // A packet that the old one keeps over turns is neither the new one's nor to be lost.
    if (held_.count() == 0 && again_.empty() && (!handover.drain || inputs_empty())) {
      switch_programs(since);
    }
  }
}

// Nothing of the handover is touched after its last step: the control path may take it down.
void Shard::conclude(Step step, Unkept why, uint64_t number) noexcept {
  Handover& handover = *handover_;
  handover.why = why;
  handover.number = number;
  handover.end = cut();
  handover_ = nullptr;
  settled_ = line_->wish.load(std::memory_order_relaxed) >> kWishBits;
  attentive_ = !again_.empty();
  handover.step.store(static_cast<uint32_t>(step),
                      std::memory_order_release);  // pairs with Reload::step()
}

void Shard::change_places() noexcept {
  std::unique_ptr<Program> now = std::move(handover_->program);
  handover_->program.reset(program_.release()->module());
  program_ = std::move(now);
  std::swap(place_, handover_->place);
  contain();
}

void Shard::switch_programs(uint64_t since) noexcept {
  Handover& handover = *handover_;
  // Nothing that others wait for stays half done.
  flush_ports();
  ready_.flush();
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
  handover.switched = true;
  record_->generation.add(1);
  handover.cut = cut();
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
    if (output->above) module.watermark(*this, output.get(), true);
  }
  handover.at = Step::trial;
  attentive_ = true;
  const uint64_t now = now_ticks();
  handover.cut.ticks = now;
  handover.pause_ticks = now - since;
  handover.step.store(static_cast<uint32_t>(Step::trial),
                      std::memory_order_release);  // pairs with Reload::step()
}

void Shard::try_out(Wish wanted, uint64_t since) noexcept {
  Handover& handover = *handover_;
  if (wanted == Wish::undo || wanted == Wish::leave) {
    undo(Unkept::wished, 0);
    return;
  }
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
  if (bursts >= handover.trial_bursts || wanted == Wish::keep || full) {
    record_->reloads.add(1);
    conclude(Step::kept, Unkept::none, 0);
  }
}

// The old one goes on where it was. What the new one had received and not given away, comes again.
void Shard::undo(Unkept why, uint64_t number) noexcept {
  Handover& handover = *handover_;
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
  handover.switched = false;
  record_->generation.set(record_->generation.get() - 1);
  const bool tried = handover.at == Step::trial;
  if (tried) record_->reloads_undone.add(1);
  tell_watermarks();
  handover.back_ticks = now_ticks() - began;
  conclude(tried ? Step::undone : Step::refused, why, number);
}

// What became of its outputs while it was away.
void Shard::tell_watermarks() noexcept {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (outputs_[i]->above != handover_->above[i]) {
      program_->watermark(*this, outputs_[i].get(), outputs_[i]->above);
    }
  }
}

// In the order in which it came. A buffer that was given away may have come by once more since: the
// last time is the one that counts.
void Shard::hold_again() noexcept {
  std::vector<vanity_packet>& received = handover_->received;
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
      attentive_ = handover_ != nullptr;
    }
    return got;
  }
  const bool trial = handover_ != nullptr && handover_->at == Step::trial;
  if (trial) {
    const size_t room = handover_->received.capacity() - handover_->received.size();
    n = static_cast<uint32_t>(std::min<size_t>(n, room));
  }
  const uint32_t got = receive(packets, n);
  if (got == 0) return 0;
  if (trial) {
    handover_->received.insert(handover_->received.end(), packets, packets + got);
  } else if (handover_ != nullptr && handover_->at == Step::copying) {
    copy_burst(packets, got);
  }
  return got;
}

void Shard::copy_burst(const vanity_packet* packets, uint32_t n) noexcept {
  BurstCopies& copies = handover_->copies;
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
  if (copies.ends.size() < handover_->copy_bursts &&
      copies.packets.size() < BurstCopies::kPackets) {
    return;
  }
  handover_->at = Step::copied;
  attentive_ = false;
  handover_->step.store(static_cast<uint32_t>(Step::copied),
                        std::memory_order_release);  // pairs with Reload::step()
}

}  // namespace vanity
