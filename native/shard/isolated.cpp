// A shard that is a process of its own. Here, a thread starts the process, waits for its end, and
// then does what a shard does whose program was left: it puts right what others wait for, and
// starts another when the kernel says so. There, the calling thread is the shard.
#include <sys/wait.h>

#include <algorithm>
#include <cstring>

#include "platform/error.hpp"
#include "platform/topology.hpp"
#include "shard/isolated.hpp"
#include "shard/shard.hpp"

namespace vanity {
namespace {

constexpr uint64_t kLookNs = 1'000'000;
constexpr uint32_t kIdsPerElement = 2;
constexpr uint32_t kNoBuffer = 0xffffffffu;

using Memory = Channel::Memory;

// Indices that the dead, or the caller itself, published last.
uint32_t tail_of(const Channel& ring) noexcept {
  return Hardware::own<Edge::tail>(ring.memory()->tail);
}
uint32_t head_of(const Channel& ring) noexcept {
  return Hardware::own<Edge::head>(ring.memory()->head);
}

bool by_slot(const Channel& ring) noexcept {
  return ring.memory()->layout == static_cast<uint32_t>(Layout::latency);
}
// Elements are there by the words of their slots, and the index may be one behind.
void mend_tail(const Channel& ring) noexcept {
  if (!by_slot(ring)) return;
  Memory& memory = *ring.memory();
  uint32_t tail = tail_of(ring);
  while (Hardware::own<Edge::slot>(memory.sequence(tail)) == tail + 1) ++tail;
  Hardware::mirror<Edge::tail>(memory.tail, tail);
}

// What the index says and the counter does not yet: the process ended between the two.
void catch_up(Counter& counter, uint32_t index) noexcept {
  const auto behind = static_cast<int32_t>(index - static_cast<uint32_t>(counter.get()));
  if (behind > 0) counter.add(static_cast<uint64_t>(behind));
}

ProcessReport::Said said(const ProcessReport& report) noexcept {
  // After its end, before which all that it wrote was written.
  return static_cast<ProcessReport::Said>(report.said.load(std::memory_order_relaxed));
}

std::string end_text(int status) {
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    const char* const name = sigabbrev_np(number);
    return "its process was killed by " +
           (name == nullptr ? "signal " + std::to_string(number) : "SIG" + std::string(name));
  }
  return "its process ended by itself, with exit code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

// ---- the kernel's side

void Shard::isolate(std::unique_ptr<ShardProcess> process) {
  process_ = std::move(process);
  for (size_t i = 0; i < process_->pools.size(); ++i) {
    const OutfitPool& pool = process_->pools[i];
    process_->ledger.expect(pool.index, pool.buffers, process_->entries[i]);
    held_.expect(pool.index, pool.buffers, process_->entries[i]);
  }
}

void Shard::keep_process() noexcept {
  arena_mark_ = arena_->used();
  try {
    set_thread_name(plan_.name);
    make_waiter();  // for what is left to do once the process is gone
    if (!start_process()) {
      fail("VANITY_E_PROGRAM_INIT",
           "shard " + plan_.name + ": its process ended in init: " + guard_.evidence().what, "");
      return;
    }
  } catch (const Error& error) {
    fail(error.code(), "shard " + plan_.name + ": " + error.what(), error.hint());
    return;
  } catch (const std::exception& error) {
    fail("VANITY_E_PROCESS", "shard " + plan_.name + ": " + error.what(), "");
    return;
  }
  while (!outlive_process()) {
    if (!recover()) return;
  }
  enter(ShardState::stopped);
}

// False: it ended before it was ready, with evidence. Throws what its init threw.
bool Shard::start_process() {
  ProcessReport& report = *process_->report;
  report.began.store(0, std::memory_order_relaxed);
  report.said.store(0, std::memory_order_relaxed);
  {
    const std::lock_guard<std::mutex> lock(process_->open_mutex);
    process_->child.start(process_->program, plan_.name, process_->open);
  }
  process_->status = 0;
  for (;;) {
    const bool over = process_->child.wait(kLookNs, &process_->status);
    // One that was ready may have ended since: outlive_process() says how.
    if (report.began.load(std::memory_order_relaxed) != 0) return true;  // carries nothing
    if (!over) continue;
    leave_devices();
    take_up_process();
    if (said(report) == ProcessReport::Said::failed) {
      throw Error(report.code, report.text, report.hint);
    }
    note_end(process_->status);
    return false;
  }
}

// Waits for the end of the process. True: it ended in order.
bool Shard::outlive_process() noexcept {
  process_->child.wait(UINT64_MAX, &process_->status);
  take_up_process();
  if (said(*process_->report) == ProcessReport::Said::ended) return true;
  leave_devices();
  note_end(process_->status);
  return false;
}

void Shard::withdraw(int fd, bool end) noexcept {
  const std::lock_guard<std::mutex> lock(process_->open_mutex);
  std::replace(process_->open.begin(), process_->open.end(), fd, process_->nothing.get());
  if (end) process_->child.kill();
}

void Shard::note_end(int status) noexcept {
  const ProcessReport& report = *process_->report;
  Evidence& evidence = guard_.evidence();
  evidence = Evidence{};
  evidence.kind = FaultKind::process;
  std::string text = end_text(status);
  if (said(report) == ProcessReport::Said::left) {
    evidence = report.evidence;
    text.assign(report.text, strnlen(report.text, sizeof(report.text)));
  }
  if (asked_to_leave()) {
    evidence.kind = FaultKind::asked;
    text = "it was left when asked to";
  }
  evidence.told = true;
  std::memset(evidence.what, 0, sizeof(evidence.what));
  std::strncpy(evidence.what, text.c_str(), sizeof(evidence.what) - 1);
}

// All that it knew of rings went with it; what it published is there, and its ledger.
void Shard::take_up_process() noexcept {
  for (const vanity_channel* output : outputs_) mend_tail(output->ring);
  take_up_act();
  take_up_rings();
  for (uint32_t pool = 0; pool < homes_.size(); ++pool) {
    if (homes_[pool]) homes_[pool] = home_rings_[pool].producer();
  }
  take_up_counters();
}

// The act that it was at was done when its index was published, and is taken back otherwise.
void Shard::take_up_act() noexcept {
  Ledger& ledger = process_->ledger;
  const Journal& journal = ledger.journal();
  const uint32_t ring = journal.ring;
  bool done = true;
  switch (journal.act) {
    case Act::none:
      return;
    case Act::take:
      if (ring < inputs_.size()) done = head_of(inputs_[ring]->ring) != journal.at;
      break;
    case Act::give:
      if (ring < outputs_.size()) done = tail_of(outputs_[ring]->ring) != journal.at;
      break;
    case Act::home:
      if (may_hold(ring)) done = tail_of(home_rings_[ring]) != journal.at;
      break;
    case Act::let_go:
      // Whether it was cannot be seen: rather a buffer too few than one in two hands.
      break;
  }
  if (!done) ledger.take_back();
  ledger.end();
}

void Shard::take_up_counters() noexcept {
  uint64_t received = 0;
  uint64_t sent = 0;
  for (const vanity_channel* input : seen_) {
    catch_up(input->record->received, head_of(input->ring) - input->ring.memory()->first);
    received += input->record->received.get();
  }
  for (const vanity_channel* output : outputs_) {
    catch_up(output->record->sent, tail_of(output->ring) - output->ring.memory()->first);
    sent += output->record->sent.get();
  }
  record_->received.set(received);
  record_->sent.set(sent);
}

// What it held it had received, and had done nothing else with. What it did and had not counted yet
// is lost with it: at most two bursts.
uint64_t Shard::process_lost(uint32_t cleared) const noexcept {
  if (carries_messages()) return cleared;
  const uint64_t in = record_->received.get() + process_->ledger.journal().multiplied;
  const uint64_t out = record_->sent.get() + record_->consumed.get() + record_->filtered.get() +
                       record_->dropped.get();
  const uint64_t lost = in - out;
  return in >= out && lost <= cleared + uint64_t{2} * limits::kBurstMax ? lost : cleared;
}

// ---- the process's side

void Shard::attach(std::unique_ptr<Arena> arena, ShardLine* line) {
  arena_ = std::move(arena);
  line_ = line;
}

bool Shard::serve(ProcessReport& report) {
  const Guard::Thread guarded(guard_);
  uintptr_t begin;
  uintptr_t end;
  program_->text(&begin, &end);
  guard_.arm(begin, end);
  return serve_guarded(report);
}

// Apart, for what sigsetjmp does to the variables of its function.
bool Shard::serve_guarded(ProcessReport& report) {
  if (sigsetjmp(guard_.exit(), 1) != 0) return false;
  // Whatever faults, here only this process is harmed: the runtime is left like a program.
  const Guard::Program in(guard_);
  set_up_thread();
  program_->init(*this);
  report.began.store(1, std::memory_order_relaxed);  // carries nothing with it
  enter(ShardState::ready);
  while (control() == Control::wait) {
    record_->progress.add(1);
    wait_to_be_let_go();
  }
  begin_devices();
  set_phase(Phase::polling);
  poll_loop();
  program_->fini(*this);
  publish_wait_counters();
  return true;
}

// ---- packets change hands, noted down

uint32_t Shard::take_noted(uint32_t input, vanity_packet* packets, uint32_t n) noexcept {
  Consumer& consumer = consumers_[input];
  const Channel& ring = inputs_[input]->ring;
  uint32_t done = 0;
  while (done < n) {
    const ReadableSlots from = consumer.peek(std::min(n - done, limits::kBurstMax));
    if (!from) break;
    Hardware::read_elements(reinterpret_cast<std::byte*>(packets + done), sizeof(vanity_packet),
                            from.data, from.stride, sizeof(vanity_packet), from.count);
    ledger_->begin(Act::take, input, head_of(ring));
    for (uint32_t i = 0; i < from.count; ++i) ledger_->add(packets[done + i]);
    consumer.release(from.count);
    consumer.flush();
    ledger_->end();
    done += from.count;
  }
  return done;
}

uint32_t Shard::give_noted(vanity_channel& channel, const vanity_packet* packets,
                           uint32_t n) noexcept {
  // Of a slot each, for then each is published by a word of its own.
  const uint32_t most = by_slot(channel.ring) ? 1 : limits::kBurstMax;
  const auto output = static_cast<uint32_t>(std::find(outputs_.begin(), outputs_.end(), &channel) -
                                            outputs_.begin());
  uint32_t done = 0;
  while (done < n) {
    const WritableSlots to = channel.producer.claim(std::min(n - done, most));
    if (!to) break;
    Hardware::write_elements(to.data, to.stride, reinterpret_cast<const std::byte*>(packets + done),
                             sizeof(vanity_packet), sizeof(vanity_packet), to.count);
    ledger_->begin(Act::give, output, tail_of(channel.ring));
    for (uint32_t i = 0; i < to.count; ++i) {
      if (!ledger_->remove(packets[done + i].buffer)) {
        guard_.leave(FaultKind::descriptor, "it gave away a packet that it does not hold");
      }
    }
    channel.producer.commit(to.count);
    ledger_->end();
    done += to.count;
  }
  return done;
}

void Shard::give_home_noted(const vanity_packet* packets, uint32_t n) noexcept {
  for (uint32_t i = 0; i < n;) {
    const uint32_t pool = packets[i].buffer >> kPoolShift;
    uint32_t ids[limits::kBurstMax];
    uint32_t count = 0;
    for (; i < n && count < limits::kBurstMax && packets[i].buffer >> kPoolShift == pool; ++i) {
      const uint32_t buffer = packets[i].buffer;
      if ((packets[i].flags & VANITY_PACKET_SHARED) == 0) {
        ids[count++] = buffer;
        continue;
      }
      ledger_->begin(Act::let_go, 0, 0);
      const bool last = pools_->release(packets[i]);
      if (last) {
        ledger_->own_alone(buffer);
      } else {
        static_cast<void>(ledger_->remove(buffer));
      }
      ledger_->end();
      if (last) ids[count++] = buffer;
    }
    send_home_noted(pool, ids, count);
  }
}

void Shard::send_home_noted(uint32_t pool, const uint32_t* ids, uint32_t n) noexcept {
  for (uint32_t done = 0; done < n;) {
    if (pool >= homes_.size() || !homes_[pool]) {
      guard_.leave(FaultKind::descriptor, "it gave away a packet that it does not hold");
    }
    // As many slots as the pool has buffers: it never fills.
    const WritableSlots to = homes_[pool].claim((n - done + kIdsPerElement - 1) / kIdsPerElement);
    if (!to) return;
    const uint32_t count = std::min(n - done, to.count * kIdsPerElement);
    ledger_->begin(Act::home, pool, tail_of(home_rings_[pool]));
    for (uint32_t i = 0; i < to.count * kIdsPerElement; ++i) {
      const uint32_t id = i < count ? ids[done + i] : kNoBuffer;
      std::memcpy(to.data + i * sizeof(id), &id, sizeof(id));
      if (i < count && !ledger_->remove(id)) {
        guard_.leave(FaultKind::descriptor, "it gave away a packet that it does not hold");
      }
    }
    homes_[pool].commit(to.count);
    ledger_->end();
    done += count;
  }
}

}  // namespace vanity
