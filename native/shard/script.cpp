// The half of a reload that is the shard's, where its programs are JavaScript: that thread loads
// and changes them itself, and is told here when. See lib/runtime/program-reload.ts.
#include <algorithm>

#include "platform/clock.hpp"
#include "shard/handover.hpp"
#include "shard/shard.hpp"

namespace vanity {

// What a wish leads to; everything that has to be done there becomes the order of the turn.
class ScriptAttendance {
 public:
  explicit ScriptAttendance(Shard& shard) noexcept : shard_(shard) {}
  void begin_handover() noexcept { shard_.begin_handover(); }
  bool is_down() const noexcept { return shard_.is_down(); }
  void refuse(Unkept why) noexcept {
    shard_.refuse(why);
    order_ = Shard::Order::forget;
  }
  void attend_bursts() noexcept {
    if (shard_.attendant_.is(Step::copying)) order_ = Shard::Order::prepare;
  }
  bool may_switch() noexcept {
    const Handover& handover = *shard_.attendant_.current();
    return (handover.script.prepared || !handover.program_follows()) && shard_.may_switch();
  }
  void switch_programs(uint64_t since) noexcept {
    if (shard_.attendant_.current()->program_follows()) {
      order_ = Shard::Order::change;
    } else {
      shard_.rewire(since);  // ways home for its own buffers, which JavaScript sees nothing of
    }
  }
  void try_out(bool keep, uint64_t since) noexcept {
    Handover& handover = *shard_.attendant_.current();
    const uint64_t bursts = shard_.record_->polls_busy.get() - handover.busy_before;
    if (bursts == handover.bursts && !keep) return;
    if (handover.bursts == 0) handover.first_turn_ticks = since - handover.cut.ticks;
    handover.bursts = bursts;
    shard_.script_keeps_ = keep;
    order_ = Shard::Order::judge;
  }
  void undo(Unkept, uint64_t) noexcept { order_ = Shard::Order::undo; }
  Shard::Order order() const noexcept { return order_; }

 private:
  Shard& shard_;
  Shard::Order order_ = Shard::Order::none;
};

Shard::Order Shard::script_attend(uint64_t since) noexcept {
  take_up_rings();  // a switch may wait until they are empty
  ScriptAttendance attendance(*this);
  attendant_.attend(line_->wishes, attendance, since);
  return attendance.order();
}

void Shard::script_prepared() noexcept {
  attendant_.current()->script.prepared = true;
  attendant_.copied();
}

void Shard::script_switched(uint64_t since) noexcept {
  Handover& handover = *attendant_.current();
  std::swap(place_, handover.place);
  handover.switched = true;
  record_->generation.add(1);
  handover.cut = cut();
  note_reload(Event::Change::switched);
  handover.busy_before = record_->polls_busy.get();
  script_keeps_ = false;
  const uint64_t now = now_ticks();
  handover.cut.ticks = now;
  handover.pause_ticks = now - since;
  attendant_.on_trial();
}

bool Shard::script_well(bool full) noexcept {
  const Handover& handover = *attendant_.current();
  if (handover.bursts < handover.trial_bursts && !script_keeps_ && !full) return false;
  record_->reloads.add(1);
  conclude(Step::kept, Unkept::none, 0);
  return true;
}

uint32_t Shard::script_undone(Unkept why, const vanity_packet* received, uint32_t n) noexcept {
  Handover& handover = *attendant_.current();
  const uint64_t began = now_ticks();
  if (asked_to_leave()) {
    record_->command.store(static_cast<uint32_t>(Command::run), std::memory_order_relaxed);
  }
  handover.received.assign(received, received + n);
  hold_again();
  const auto again = static_cast<uint32_t>(again_.size());
  handover.again = again;
  // What it made itself goes with it.
  const uint32_t lost = held_.clear([this](const vanity_packet& packet) { give_home(&packet, 1); });
  record_->dropped.add(lost);
  record_->dropped_fault.add(lost);
  std::swap(place_, handover.place);
  handover.switched = false;
  record_->generation.set(record_->generation.get() - 1);
  record_->reloads_undone.add(1);
  handover.back_ticks = now_ticks() - began;
  conclude(Step::undone, why, 0);
  return again;
}

uint32_t Shard::script_again(vanity_packet* packets, uint32_t n) noexcept {
  const auto got = static_cast<uint32_t>(std::min<size_t>(n, again_.size() - again_at_));
  std::copy_n(again_.data() + again_at_, got, packets);
  again_at_ += got;
  if (again_at_ == again_.size()) {
    again_.clear();
    again_at_ = 0;
  }
  held_.add(packets, got);
  return got;
}

}  // namespace vanity
