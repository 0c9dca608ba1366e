#include "kernel/mailbox.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernel/mail.hpp"
#include "kernel/mapped_segment.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

template <size_t kBytes>
void put(char (&into)[kBytes], const std::string& text) {
  std::memset(into, 0, kBytes);
  std::memcpy(into, text.data(), std::min(text.size(), kBytes - 1));
}

}  // namespace

uint64_t Certificate::unaccounted() const noexcept {
  const uint64_t in =
      begin.held + (end.received - begin.received) + (end.allocated - begin.allocated);
  const uint64_t out = (end.sent - begin.sent) + (end.consumed - begin.consumed) +
                       (end.filtered - begin.filtered) + (end.dropped - begin.dropped) +
                       (end.unsent - begin.unsent) + end.held;
  return in > out ? in - out : out - in;
}

uint64_t ask_reload(const std::string& path, const ReloadRequest& request) {
  MappedSegment segment(path);
  const Table& table = segment.table(TableKind::reload);
  auto& state = segment.word<std::atomic<uint32_t>>(table, 0, "state");
  uint32_t room;
  char* const file = segment.text(table, 0, "path", &room);
  if (request.path.size() >= room) {
    throw Error("VANITY_E_LIMIT", "the path of a program has " +
                                      std::to_string(request.path.size()) + " bytes, at most " +
                                      std::to_string(room - 1) + " are possible");
  }
  if (request.trial_bursts == 0 || request.trial_bursts > limits::kReloadBursts) {
    throw Error("VANITY_E_LIMIT", "a program is on trial for 1 to " +
                                      std::to_string(limits::kReloadBursts) + " bursts, not " +
                                      std::to_string(request.trial_bursts));
  }
  if (!Mail::begin(state)) {
    throw Error("VANITY_E_RELOAD_BUSY", "another reload of this system is under way",
                "wait until it is over");
  }
  segment.word<uint32_t>(table, 0, "shard") = request.shard;
  segment.word<uint32_t>(table, 0, "drain") = request.drain ? 1 : 0;
  segment.word<uint32_t>(table, 0, "dry_run") = request.dry_run ? 1 : 0;
  segment.word<uint32_t>(table, 0, "bursts_asked") = request.trial_bursts;
  std::fill(std::copy(request.path.begin(), request.path.end(), file), file + room, '\0');
  auto& asked = segment.word<Counter>(table, 0, "asked");
  asked.add(1);
  const uint64_t number = asked.get();
  Mail::post(state);
  return number;
}

bool take_request(ReloadRecord& record, ReloadRequest* request) {
  if (!Mail::take(record.state)) return false;
  request->shard = record.shard;
  request->drain = record.drain != 0;
  request->dry_run = record.dry_run != 0;
  request->trial_bursts = std::min(std::max(record.bursts_asked, 1u), limits::kReloadBursts);
  request->path.assign(record.path, strnlen(record.path, sizeof(record.path)));
  return true;
}

void answer(ReloadRecord& record, const Certificate& c) {
  record.outcome.store(static_cast<uint32_t>(c.outcome), std::memory_order_relaxed);
  record.handed.store(static_cast<uint32_t>(c.handed), std::memory_order_relaxed);
  record.balanced = c.balanced ? 1 : 0;
  put(record.code, c.code);
  put(record.message, c.message);
  put(record.hint, c.hint);
  put(record.difference, c.difference);
  put(record.old_name, c.old_name);
  put(record.old_version, c.old_version);
  put(record.new_name, c.new_name);
  put(record.new_version, c.new_version);
  record.generation.set(c.generation);
  record.prepare_ns.set(c.prepare_ns);
  record.pause_ns.set(c.pause_ns);
  record.first_turn_ns.set(c.first_turn_ns);
  record.back_ns.set(c.back_ns);
  record.trial_ns.set(c.trial_ns);
  record.warm_bursts.set(c.warm_bursts);
  record.trial_bursts.set(c.trial_bursts);
  record.state_bytes.set(c.state_bytes);
  record.old_hash.set(c.old_hash);
  record.new_hash.set(c.new_hash);
  record.again.set(c.again);
  record.began_received.set(c.begin.received);
  record.began_sent.set(c.begin.sent);
  record.switch_received.set(c.at_switch.received);
  record.switch_sent.set(c.at_switch.sent);
  record.end_received.set(c.end.received);
  record.end_sent.set(c.end.sent);
  record.held_before.set(c.begin.held);
  record.allocated.set(c.end.allocated - c.begin.allocated);
  record.consumed.set(c.end.consumed - c.begin.consumed);
  record.filtered.set(c.end.filtered - c.begin.filtered);
  const uint64_t fault = c.end.dropped_fault - c.begin.dropped_fault;
  record.dropped_full.set(c.end.dropped - c.begin.dropped - fault);
  record.dropped_fault.set(fault);
  record.dropped_port.set(c.end.unsent - c.begin.unsent);
  record.held.set(c.end.held);
  record.unaccounted.set(c.balanced ? c.unaccounted() : 0);
  record.answered.set(record.asked.get());
  Mail::settle(record.state);
}

}  // namespace vanity
