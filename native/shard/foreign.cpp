// A shard whose poll loop is a worker thread of JavaScript: what that thread calls instead.
#include <cstring>

#include "platform/clock.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

// How long one wait for the kernel's verdict takes: the worker's event loop has its turn in
// between.
constexpr uint64_t kLookNs = 500'000;

// Its place in the native system: the worker thread polls, not this.
class Foreign : public Program {
 public:
  explicit Foreign(const std::map<std::string, std::string>& options)
      : buffers_(static_cast<uint32_t>(
            option_number(options, "buffers", 0, 0, limits::kPoolBuffersMax))),
        buffer_bytes_(static_cast<uint32_t>(option_number(
            options, "buffer_bytes", 2048, limits::kBufferBytesMin, limits::kBufferBytesMax))) {}
  uint32_t poll(Shard&) noexcept override { return 0; }
  uint32_t pool_buffers() const override { return buffers_; }
  uint32_t pool_buffer_bytes() const override { return buffer_bytes_ / 64 * 64; }

 private:
  const uint32_t buffers_;
  const uint32_t buffer_bytes_;
};

}  // namespace

std::unique_ptr<Program> make_foreign(const std::map<std::string, std::string>& options) {
  return std::make_unique<Foreign>(options);
}

// JavaScript has moved the indices since; what it published is all there is to know.
void Shard::take_up_rings() noexcept {
  // Nothing rewires such a shard: each of its slots has an input.
  for (uint32_t i = 0; i < slot_count(); ++i) consumers_[i] = inputs_[i]->ring.consumer();
  ready_ = Inputs(consumers_.data(), slot_count(), plan_.strategy, &line_->doorbell, primary_slot(),
                  needs_bell(slot_count()));
}

void Shard::wait_for_work() noexcept {
  const uint64_t since = now_ticks();
  record_->progress.add(1);
  if (control() == Control::wait) {
    wait_to_be_let_go();
    return;
  }
  // Of its devices it hears in JavaScript; see lib/runtime/device.ts.
  take_all_returns();
  take_up_rings();
  // Takes the marks of the doorbell, too: what they stand for, the next turn finds by itself.
  if (ready_.next() == Inputs::kNoInput) idle();
  const uint64_t now = now_ticks();
  record_->wait_ticks.add(now - since);
  if (sampled()) note_idle(since, now);
}

uint32_t Shard::receive_ports(vanity_packet* packets, uint32_t n) noexcept {
  take_all_returns();
  return count_received(packets, take_from_ports(packets, n));
}

void Shard::script_left(FaultKind kind, const std::string& what) noexcept {
  guard_.evidence() = Evidence{};
  guard_.evidence().kind = kind;
  std::strncpy(guard_.evidence().what, what.c_str(), sizeof(Evidence::what) - 1);
  if (attendant_.current() != nullptr) conclude(Step::refused, Unkept::old_fault, 0);
  take_up_rings();
  put_right();
  leave_devices();
}

Shard::Next Shard::script_next() noexcept {
  const Verdict verdict = verdicts_.verdict();
  gave_up_ |= verdict == Verdict::give_up;
  if (control() != Control::run) return Next::end;
  if (Verdicts::may_start(verdict, asked_to_leave()) && devices_answered()) {
    gave_up_ = false;
    clear_devices();
    record_->command.store(static_cast<uint32_t>(Command::run), std::memory_order_relaxed);
    return Next::restart;
  }
  record_->progress.add(1);
  take_all_returns();
  if (wished()) script_attend(now_ticks());
  nap(kLookNs);
  return Next::wait;
}

void Shard::script_restarted() noexcept {
  begin_devices();
  note_restart();
}

void Shard::script_ended() noexcept {
  end_without_program();
}

void Shard::fail_and_drain(const std::string& code, const std::string& message,
                           const std::string& hint) noexcept {
  const bool ran = control() != Control::wait;
  if (ran) enter(ShardState::draining);
  note_failure(code, message, hint);
  drop_again();
  if (ran) drain_inputs();
  send_off();
  enter(ShardState::failed);
}

void Shard::stopped() noexcept {
  drop_again();
  send_off();
  publish_wait_counters();
  enter(ShardState::stopped);
}

void Shard::forsake(const std::string& code, const std::string& message,
                    const std::string& hint) noexcept {
  forsaken_ = true;  // published with the state
  if (!has_failed()) note_failure(code, message, hint);
  set_state(ShardState::failed);
}

}  // namespace vanity
