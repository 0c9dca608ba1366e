// A shard: one thread, one program, no scheduler. The kernel builds it (wiring below), starts its
// thread and tells it to stop through one control word; all the rest is the shard's own.
//
// What crosses between cores for each burst of packets: the descriptors (four a line), one index
// line of the channel, the headers that the program reads, and four bytes a buffer on its way home.
#pragma once

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "memory/arena.hpp"
#include "memory/pool.hpp"
#include "platform/wait.hpp"
#include "port/port.hpp"
#include "shard/carrier.hpp"
#include "shard/event_log.hpp"
#include "shard/grant.hpp"
#include "shard/guard.hpp"
#include "shard/handover.hpp"
#include "shard/held.hpp"
#include "shard/ledger.hpp"
#include "shard/packet_trail.hpp"
#include "shard/plan.hpp"
#include "shard/program.hpp"
#include "shard/verdict.hpp"
#include "vanity/channel.hpp"
#include "vanity/doorbell.hpp"
#include "vanity/limits.hpp"
#include "vanity/program.h"
#include "vanity/segment.hpp"

namespace vanity {
class Shard;
}

// One end of a channel, as the shard at that end sees it. The two ends share only the ring.
struct vanity_channel {
  std::string name;
  uint32_t index = 0;  // in the plan
  uint32_t slot = 0;   // at the reading end: among the shard's inputs
  vanity::Shard* shard = nullptr;
  vanity::ChannelRecord* record = nullptr;
  bool packets = true;  // else messages
  vanity::Overflow overflow = vanity::Overflow::drop;
  uint32_t high = 0;
  uint32_t low = 0;
  bool above = false;                    // between high and low on the way down
  vanity::Producer producer;             // valid at the writing end
  vanity::Consumer* consumer = nullptr;  // valid at the reading end
  vanity::Channel ring;
  vanity::Bell bell;  // the consumer's
  vanity::Sleeper* sleeper = nullptr;
};

namespace vanity {

// What the kernel wants of a shard. Written by the kernel, read by the shard once a turn.
enum class Control : uint32_t {
  wait,  // not yet let go
  run,
  drain,    // take nothing new from ports, make nothing new, go on with what is in the channels
  finish,   // nothing more will come: leave when the inputs are empty
  stop_now  // leave at once
};

// The line of a shard that others write or read: the kernel and its producers.
struct alignas(128) ShardLine {
  Doorbell doorbell;
  Sleeper sleeper;
  alignas(64) Hardware::Atomic<uint32_t> control{static_cast<uint32_t>(Control::wait)};
  // Who sleeps for this shard: itself, or the thread that carries it. Set before any thread starts.
  Sleeper* asleep = &sleeper;
  Wishes wishes;
};

struct ProcessReport;
struct ShardProcess;

class Shard {
 public:
  Shard(const ShardPlan& plan, uint32_t index, ShardRecord* record, bool oversubscribed);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // ---- wiring, by the kernel, before the thread starts ----------------------------------------
  void set_program(std::unique_ptr<Program> program) {
    program_ = std::move(program);
    source_ = program_->is_source();
  }
  // Its program may fault without harm to others, and be started anew. Before wire().
  void contain() noexcept;
  bool contained() const noexcept { return guard_.armed(); }
  // Its program writes to `desk`, its own static memory, its stack, and the memory of these keys (a
  // bit each), and to nothing else. After set_program(), before contain(). Throws Error.
  void confine(ProtectionKey& key, uint32_t keys, std::unique_ptr<Arena> desk);
  bool confined() const noexcept { return key_ != nullptr; }
  ProtectionKey& key() const noexcept { return *key_; }
  // What its program allocates from, and its outgoing rings lie in; only where it is confined.
  Arena& desk() { return *desk_; }
  bool counts_in(const vanity_counter* counter) const noexcept;
  Program* program() { return program_.get(); }
  // Fixed: only stages that make no packets are exchanged while others ask.
  bool is_source() const noexcept { return source_; }
  std::unique_ptr<Program> give_program() { return std::move(program_); }
  // `line` null: it lies in the arena; else there, where other processes reach it too.
  void set_arena(std::unique_ptr<Arena> arena, uint64_t started_realtime_ns = 0,
                 void* line = nullptr);
  Arena& arena() { return *arena_; }
  ShardLine& line() { return *line_; }
  void add_input(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                 const Channel& ring);
  void add_output(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                  const Channel& ring, Bell bell, Sleeper* sleeper);
  // The same of a shard that runs, which has neither before a rewiring brings it.
  vanity_channel* make_input(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                             const Channel& ring, uint32_t slot);
  vanity_channel* make_output(const ChannelPlan& plan, uint32_t index, ChannelRecord* record,
                              const Channel& ring, Bell bell, Sleeper* sleeper);
  // The end that it has of this channel, in use or not; null: none.
  vanity_channel* end_of(uint32_t index) noexcept;
  // An end that is not in use any more.
  void forget_end(uint32_t index) noexcept;
  // A place for one more input, such that its producers' bells ring as they do; kNone: there is
  // none.
  uint32_t free_slot() const noexcept;
  // Of that place, once it has an input.
  Bell bell_of(uint32_t slot) noexcept;
  const std::vector<vanity_channel*>& inputs() const noexcept { return seen_; }
  const std::vector<vanity_channel*>& outputs() const noexcept { return outputs_; }
  size_t returns_room() const noexcept { return returns_.capacity() - returns_.size(); }
  void add_rx(RxQueue* queue, Pool* pool) { rx_.push_back({queue, pool}); }
  void add_tx(TxQueue* queue, Overflow overflow = Overflow::drop) {
    tx_.push_back({queue, overflow, queue->keeps()});
  }
  uint32_t rx_count() const noexcept { return static_cast<uint32_t>(rx_.size()); }
  uint32_t tx_count() const noexcept { return static_cast<uint32_t>(tx_.size()); }
  void log_to(EventsRecord& record) noexcept {
    events_.write_to(record);
    trail_.write_to(record, index_);
  }
  // The kernel core rings the doorbell of this shard for interrupts.
  void expect_interrupts() noexcept { interrupts_ = true; }
  // Must producers of its `inputs` channels ring? One channel is watched directly, unless
  // interrupts come too: what sleeps watches one line.
  bool needs_bell(uint32_t inputs) const noexcept {
    return Inputs::needs_bell(inputs, plan_.strategy) ||
           (interrupts_ && inputs != 0 && plan_.strategy == Strategy::doorbell);
  }
  // It has no thread of its own but is a fiber of that one. After set_arena(), before its channels.
  void ride(Carrier& carrier);
  bool carried() const noexcept { return carrier_ != nullptr; }
  // Who has the thread that carries it and is another, as a guess; kNone: nobody.
  uint32_t displaced_by() const noexcept;
  // What it may use of that device, from here on found by find_device().
  // `words`: see vanity_device.
  vanity_device& add_device(const std::string& name, DeviceRecord* record,
                            GrantWords* words = nullptr);
  void set_own_pool(Pool* pool) { own_pool_ = pool; }
  void add_home(uint32_t pool, const Channel& ring);  // buffers this shard sends home
  // The ring by which buffers of that pool go home from here; null: none.
  const Channel* home(uint32_t pool) const noexcept {
    return pool < home_rings_.size() && home_rings_[pool] ? &home_rings_[pool] : nullptr;
  }
  void add_returns(Pool* pool, const Channel& ring);  // buffers that come home to it
  void owns_pool(Pool* pool);
  static Producer way_home(const Channel& ring) noexcept;
  // After the last add_*: sets up the inputs by strategy.
  void wire(const PoolTable* pools);
  // After it was joined: what it had is gone, but for its state. Whatever is asked of it does
  // nothing.
  void vacate();
  bool vacant() const noexcept { return record_left_ != nullptr; }

  // ---- a process of its own (isolated.cpp). The kernel's side, after wire(): what it starts from.
  // Its thread here starts the process, waits for its end, and puts right what that leaves behind.
  void isolate(std::unique_ptr<ShardProcess> process);
  // The kernel's thread: no process is given this descriptor any more, which may be closed; with
  // `end` the one that may have it ends.
  void withdraw(int fd, bool end) noexcept;
  // The process's side, instead of set_arena(): the arena is for its program alone.
  void attach(std::unique_ptr<Arena> arena, ShardLine* line);
  void keep(std::unique_ptr<Ledger> ledger) { ledger_ = std::move(ledger); }
  // Init, poll, fini, on the calling thread. False: the program was left, with evidence. Throws.
  bool serve(ProcessReport& report);

  // ---- life
  // --------------------------------------------------------------------------------------- Starts
  // the thread: pins, names, runs init, reports ready, waits to be let go, polls.
  void start();
  bool started() const noexcept { return thread_.joinable(); }
  void join();
  // For a TypeScript shard, whose poll loop is JavaScript: the thread that calls becomes its
  // thread.
  void adopt_thread();
  // Does an environment of JavaScript see its memory? From before the thread is adopted until
  // nothing runs there any more: conceal() pairs with exposed().
  void expose() noexcept { exposed_.store(true, std::memory_order_relaxed); }  // under a lock
  void conceal() noexcept { exposed_.store(false, std::memory_order_release); }
  bool exposed() const noexcept {
    return exposed_.load(std::memory_order_acquire);  // pairs with conceal()
  }
  void control(Control wanted) noexcept;
  Control control() const noexcept {
    // Pairs with control(Control): what the kernel prepared is visible to the shard it lets go.
    return static_cast<Control>(line_->control.load(std::memory_order_acquire));
  }
  void set_state(ShardState state) noexcept {
    record_->state.store(static_cast<uint32_t>(state), std::memory_order_release);
  }
  // The same on its own thread, and noted down.
  void enter(ShardState state) noexcept {
    set_state(state);
    events_.note({.kind = EventKind::state, .what = static_cast<uint8_t>(state)});
  }
  ShardState state() const noexcept {
    return static_cast<ShardState>(record_->state.load(std::memory_order_acquire));
  }
  // Why it failed; read after has_failed().
  const std::string& failure_code() const { return failure_code_; }
  const std::string& failure() const { return failure_; }
  const std::string& failure_hint() const { return failure_hint_; }
  void fail(const std::string& code, const std::string& message, const std::string& hint) noexcept;
  // From the failure on, before the state says so: a TypeScript shard empties its inputs first.
  bool has_failed() const noexcept {
    return failed_.load(std::memory_order_acquire);  // pairs with note_failure
  }

  // ---- what programs call, on the shard's thread
  // -------------------------------------------------
  uint32_t receive(vanity_packet* packets, uint32_t n) noexcept;
  // Hands over all n; what the output refuses is freed and counted. Returns how many went.
  uint32_t send(uint32_t output, const vanity_packet* packets, uint32_t n) noexcept;
  // The same, but with overflow = "program" the refused last ones stay the caller's.
  uint32_t offer(uint32_t output, const vanity_packet* packets, uint32_t n) noexcept;
  void consume(const vanity_packet* packets, uint32_t n) noexcept;  // journey's end, by design
  void discard(const vanity_packet* packets, uint32_t n) noexcept;  // by decision
  uint32_t allocate(vanity_packet* packets, uint32_t n) noexcept;
  // A source says what it made, so that nothing in the balance is missing.
  void originated(uint32_t packets, uint64_t bytes) noexcept;
  void share(vanity_packet& packet, uint32_t owners) noexcept {
    pools_->share(packet, owners);
    if (ledger_ != nullptr) [[unlikely]]
      ledger_->multiply(packet.buffer, owners);
  }
  uint8_t* data(const vanity_packet& packet) const noexcept { return pools_->data(packet); }
  uint32_t room(const vanity_packet& packet) const noexcept { return pools_->room(packet); }
  uint32_t wire_length(const vanity_packet& packet) const noexcept {
    return std::max<uint32_t>(pools_->meta(packet).wire_length, packet.length);
  }

  uint32_t burst() const noexcept { return plan_.burst; }
  uint32_t input_count() const noexcept { return static_cast<uint32_t>(seen_.size()); }
  uint32_t output_count() const noexcept {
    return static_cast<uint32_t>(outputs_.size() + tx_.size());
  }
  vanity_channel* input(uint32_t i) noexcept { return i < seen_.size() ? seen_[i] : nullptr; }
  vanity_channel* output(uint32_t i) noexcept {
    return i < outputs_.size() ? outputs_[i] : nullptr;
  }
  vanity_channel* find_channel(const std::string& name) noexcept;
  bool stopping() const noexcept { return control() != Control::run; }
  vanity_device* find_device(const std::string& name) noexcept;
  // Once a turn: does an operator want something of it? A line that it writes in the same turn.
  bool commanded() const noexcept {
    return record_->command.load(std::memory_order_relaxed) != 0;  // carries nothing with it
  }
  // Is anything that it does to be noted down? Looked at for each burst, in the same line.
  bool watched() const noexcept {
    return record_->tracing.load(std::memory_order_relaxed) != 0;  // carries nothing with it
  }
  bool watched_for(Tracing what) const noexcept {
    return (record_->tracing.load(std::memory_order_relaxed) & what) != 0;  // nor here
  }
  bool traced() const noexcept { return watched_for(kTraceEvents); }
  bool sampled() const noexcept { return watched_for(kTracePackets); }
  // Stays until it is released, may take a step, or the system stops; or leaves its program.
  void obey() noexcept;
  // An order to leave the program and start it anew, which every wait of the runtime ends for.
  bool asked_to_leave() const noexcept {
    return record_->command.load(std::memory_order_relaxed) ==
           static_cast<uint32_t>(Command::restart);
  }
  // Once a turn: tells the program what became of its devices, and lets go of those it must.
  void hear_of_devices() noexcept;
  Counter* user_counter(const std::string& name);  // in init only; throws past the limit
  void* arena_allocate(size_t bytes, size_t align);
  void* program_allocate(size_t bytes, size_t align);  // of a program's own

  // The program found this output full and has not got rid of what it holds.
  void found_full(vanity_channel& channel) noexcept { full_ = &channel; }
  // Messages: publish and tell the consumer; count on both ends.
  void commit(vanity_channel& channel, uint32_t n) noexcept;
  void release(vanity_channel& channel, uint32_t n) noexcept;
  uint32_t send_copy(vanity_channel& channel, const void* elements, uint32_t n) noexcept;
  uint32_t receive_copy(vanity_channel& channel, void* elements, uint32_t n) noexcept;

  // ---- what the worker of a TypeScript shard calls, on its thread -------------------------------
  // JavaScript moves the elements of channels itself; before any of these it has published its
  // indices, so that the native halves can be taken up from the rings.
  void wait_for_work() noexcept;  // counts the time slept; takes buffers home
  uint32_t receive_ports(vanity_packet* packets, uint32_t n) noexcept;
  void refuse(const vanity_packet* packets, uint32_t n) noexcept { drop(packets, n); }
  // What became of sampled packets, while sampled() says so.
  void script_took(const vanity_packet* packets, uint32_t n, uint32_t input) noexcept {
    trail_.took(packets, n, inputs_[input]->index);
  }
  void script_gives(const vanity_packet* packets, uint32_t n) noexcept {
    trail_.about_to_give(packets, n);
    gives_at_ = now_ticks();
  }
  void script_gave(const vanity_packet* packets, uint32_t n, uint32_t output) noexcept {
    trail_.gave(packets, n, Event::Target::channel, outputs_[output]->index, gives_at_);
  }
  // Waits for room since it last said so, or no more.
  void script_blocked(uint32_t output, bool begins) noexcept {
    if (begins)
      blocked_at_ = now_ticks();
    else
      note_wait(Event::Wait::blocked, outputs_[output]->index, blocked_at_, now_ticks());
  }
  void wake(uint32_t output) noexcept { signal(*outputs_[output]->sleeper); }
  void pause() noexcept;  // while a full channel blocks
  bool may_hold(uint32_t pool) const noexcept;
  // The program threw, or is to be started anew: as a native one that was left. The kernel judges;
  // script_next() waits a moment for it, and JavaScript asks again until it is told something else.
  void script_left(FaultKind kind, const std::string& what) noexcept;
  enum class Next : uint32_t { wait, restart, end };
  Next script_next() noexcept;
  void script_restarted() noexcept;
  // One program in another's place, which JavaScript does itself (script.cpp). Once a turn while
  // anything is wished; the answer is what it is to do now.
  enum class Order : uint32_t { none, prepare, change, judge, undo, forget };
  bool script_wished() const noexcept { return wished(); }
  Order script_attend(uint64_t since) noexcept;
  // Null: nothing is under way. What is said in its `script` is for the control path.
  Handover* script_handover() noexcept { return attendant_.current(); }
  bool script_prepares() const noexcept { return attendant_.is(Step::copying); }
  void script_prepared() noexcept;
  void script_refused(Unkept why) noexcept { conclude(Step::refused, why, 0); }
  void script_switched(uint64_t since) noexcept;
  // The new one is well. True: it is kept; `full` when no more can be noted down.
  bool script_well(bool full) noexcept;
  // What the new one had received and still holds comes again; returns how many.
  uint32_t script_undone(Unkept why, const vanity_packet* received, uint32_t n) noexcept;
  uint32_t script_again(vanity_packet* packets, uint32_t n) noexcept;
  void script_ended() noexcept;
  // The program is over, but its inputs still have to run empty: drops what comes until it may end.
  void fail_and_drain(const std::string& code, const std::string& message,
                      const std::string& hint) noexcept;
  void stopped() noexcept;
  // The thread has gone without a word, and with it what its side of the rings knew.
  void forsake(const std::string& code, const std::string& message,
               const std::string& hint) noexcept;

  // After every thread is joined, by the kernel: frees what an immediate stop left in the channels,
  // and takes home what is still on its way, so that what remains missing is a leak.
  void settle() noexcept;
  void take_all_returns() noexcept;

  // ---- faults of its program. What the kernel calls:
  Guard& guard() noexcept { return guard_; }
  HeldBook& held() noexcept { return held_; }
  Verdicts& verdicts() noexcept { return verdicts_; }
  // Asks it to leave its program, wherever that is; to be repeated until it has.
  void leave_program() noexcept;
  uint32_t lost_last() const noexcept { return lost_last_; }

  // ---- one program in another's place (handover.hpp). What the control path calls:
  void post(Handover& handover) noexcept;  // before the first wish; not before the last is settled
  void wish(Wish wanted) noexcept;
  void withdraw() noexcept { line_->wishes.withdraw(); }
  bool ended() const noexcept {
    const ShardState now = state();
    return now == ShardState::stopped || now == ShardState::failed;
  }
  // Of the program that polls. Nothing else may be posted meanwhile.
  const std::map<std::string, std::string>& options() const noexcept {
    return place_ == nullptr ? plan_.options : place_->options;
  }
  // May anything be posted to it? And what its counters say; between two turns, or of a shard that
  // has ended.
  bool has_devices() const noexcept { return !devices_.empty(); }
  Cut cut() const noexcept;
  // Between two rewirings: are there channels of messages?
  bool carries_messages() const noexcept;
  // Its program was left, and none has begun since.
  bool is_down() const noexcept { return down_; }
  // Of a shard whose program was left: who is started next, unless the last one still begins; how
  // far that is; and who is not to, after all, or has made room for it: not while it begins.
  bool engage(std::unique_ptr<Module>& program, std::unique_ptr<Place>& place) noexcept;
  Understudy::Turn understudy() noexcept;
  Understudy dismiss() noexcept;
  // What readers see as its program.
  void name_program(const std::string& path) noexcept;
  // Leaves a program that is on trial, wherever it is, and no other; to be repeated until it has.
  void leave_trial(uintptr_t text_begin) noexcept;
  bool asked_to_leave_trial() const noexcept;
  // What is asked in each call that receives: are bursts copied, or noted down, or come again?
  bool attentive() const noexcept { return attentive_; }
  uint32_t receive_attentively(vanity_packet* packets, uint32_t n) noexcept;

  // Spin, then sleep until there may be work.
  void idle() noexcept;
  void give_home(const vanity_packet* packets, uint32_t n) noexcept;

  const ShardPlan& plan() const { return plan_; }
  uint32_t index() const { return index_; }
  ShardRecord& record() { return *record_; }
  vanity_shard* handle() {
    return reinterpret_cast<vanity_shard*>(place_ == nullptr ? &handle_ : &place_->handle);
  }
  static Shard* of(vanity_shard* handle);

 private:
  struct Rx {
    RxQueue* queue;
    Pool* pool;
  };
  struct Tx {
    TxQueue* queue;
    Overflow overflow;
    bool keeps;
  };
  void thread_main() noexcept;
  void live() noexcept;
  void live_confined() noexcept;
  Arena& program_arena() noexcept { return desk_ == nullptr ? *arena_ : *desk_; }
  void set_up_thread();
  Backend make_waiter();
  void keep_process() noexcept;
  bool start_process();
  bool outlive_process() noexcept;
  void note_end(int status) noexcept;
  void take_up_process() noexcept;
  // Devices that it works. They are to stand still, for it has ended; they do, and nothing is in
  // their memory that was; they are to go on.
  void leave_devices() noexcept;
  bool devices_answered() const noexcept;
  void clear_devices() noexcept;
  void begin_devices() noexcept;
  void take_up_act() noexcept;
  void take_up_counters() noexcept;
  uint64_t process_lost(uint32_t cleared) const noexcept;
  bool serve_guarded(ProcessReport& report);
  // The same as the rings' own calls, noted down.
  uint32_t take_noted(uint32_t input, vanity_packet* packets, uint32_t n) noexcept;
  uint32_t give_noted(vanity_channel& channel, const vanity_packet* packets, uint32_t n) noexcept;
  void give_home_noted(const vanity_packet* packets, uint32_t n) noexcept;
  void send_home_noted(uint32_t pool, const uint32_t* ids, uint32_t n) noexcept;
  uint32_t take_from(uint32_t input, vanity_packet* packets, uint32_t n) noexcept {
    if (ledger_ != nullptr) [[unlikely]]
      return take_noted(input, packets, n);
    return consumers_[input].receive(packets, n);
  }
  uint32_t give_to(vanity_channel& channel, const vanity_packet* packets, uint32_t n) noexcept {
    if (ledger_ != nullptr) [[unlikely]]
      return give_noted(channel, packets, n);
    return channel.producer.send(packets, n);
  }
  void poll_loop() noexcept;
  bool init_program();
  bool run_program() noexcept;
  // After the program was left: false when the shard has ended.
  bool recover() noexcept;
  void put_right() noexcept;
  void note_restart() noexcept;
  bool start_again() noexcept;
  bool start_program() noexcept;
  bool step_in() noexcept;
  void settle_understudy(bool started) noexcept;
  void change_with_understudy() noexcept;
  void end_without_program() noexcept;
  bool wished() const noexcept { return line_->wishes.any(); }
  // Once a turn while something is wished of it; its last turn ended at `since`.
  void attend(uint64_t since) noexcept { attendant_.attend(line_->wishes, *this, since); }
  // What that leads to.
  template <class, class>
  friend class BasicAttendant;
  friend class ScriptAttendance;
  void begin_handover() noexcept { attendant_.current()->begin = cut(); }
  void refuse(Unkept why) noexcept;
  void attend_bursts() noexcept;
  bool may_switch() noexcept;
  void switch_programs(uint64_t since) noexcept;
  void change_places() noexcept;
  void rewire(uint64_t since) noexcept;
  void exchange(Rewiring& rewiring) noexcept;
  void make_room();
  bool lets_go_of_inputs() noexcept;
  uint32_t slot_count() const noexcept { return static_cast<uint32_t>(inputs_.size()); }
  uint32_t primary_slot() const noexcept;
  void try_out(bool keep, uint64_t since) noexcept;
  void undo(Unkept why, uint64_t number) noexcept;
  void conclude(Step step, Unkept why, uint64_t number) noexcept;
  void tell_watermarks() noexcept;
  void copy_burst(const vanity_packet* packets, uint32_t n) noexcept;
  void note_received(const vanity_packet* packets, uint32_t n) noexcept;
  void hold_again() noexcept;
  void drop_again() noexcept;
  // Between two turns.
  uint64_t holds() const noexcept {
    return plan_.kind == ProgramKind::typescript ? held_.sum() : held_.count();
  }
  void drain_inputs() noexcept;
  void sleep_idle() noexcept;
  void set_phase(Phase phase, uint32_t waiting_for = 0) noexcept {
    if (phase == Phase::blocked || phase == Phase::transmitting) {
      record_->waiting_for.store(waiting_for, std::memory_order_relaxed);
    }
    // The kernel guesses by it and looks twice: it carries nothing with it.
    record_->phase.store(static_cast<uint32_t>(phase), std::memory_order_relaxed);
  }
  // Or about to be. The line that is monitored is looked at, too: of the control word, which lies
  // on another, the monitor says nothing.
  bool let_go() const noexcept { return line_->doorbell.any() || control() != Control::wait; }
  uint32_t take_from_ports(vanity_packet* packets, uint32_t n) noexcept;
  uint32_t count_received(const vanity_packet* packets, uint32_t n) noexcept;
  bool inputs_empty() noexcept;
  bool anything() noexcept;
  uint64_t port_sleep_ns() const noexcept;
  // A shard without channels sleeps on the descriptors of its ports. False: there are none.
  bool sleep_on_ports() noexcept;
  bool yield_for_work() noexcept;
  void sleep_on_carrier(uint64_t deadline) noexcept;
  void wait_to_be_let_go() noexcept;
  void nap(uint64_t ns) noexcept;  // for something that nobody signals
  bool wait_for_room() noexcept;
  void notify(vanity_channel& channel) noexcept {
    channel.bell.ring();
    signal(*channel.sleeper);
  }
  void note_received(const vanity_channel& channel, uint32_t n) noexcept {
    events_.note({.kind = EventKind::receive,
                  .what = static_cast<uint8_t>(Event::Source::channel),
                  .place = static_cast<uint16_t>(channel.index),
                  .count = n,
                  .a = channel.record->received.get()});
  }
  // Before anything is sent, so that it is never later than what the receiver notes; 0: not traced.
  uint64_t trace_send() const noexcept { return traced() ? now_ticks() : 0; }
  uint64_t trace_send(const vanity_packet* packets, uint32_t n) noexcept {
    if (!watched()) [[likely]]
      return 0;
    trail_.about_to_give(packets, sampled() ? n : 0);
    return now_ticks();
  }
  void note_sent(const vanity_channel& channel, const vanity_packet* packets, uint32_t n,
                 uint64_t ticks) noexcept {
    if (traced()) note_sent(channel, n, ticks);
    trail_.gave(packets, n, Event::Target::channel, channel.index, ticks);
  }
  void note_taken(const vanity_channel& channel, const vanity_packet* packets,
                  uint32_t n) noexcept {
    if (traced()) note_received(channel, n);
    if (sampled()) trail_.took(packets, n, channel.index);
  }
  void note_arrived(vanity_packet* packets, uint32_t n) noexcept;
  void note_ended(const vanity_packet* packets, uint32_t n, Event::Ending ending) noexcept {
    if (sampled()) [[unlikely]]
      trail_.ended(packets, n, ending);
  }
  void note_wait(Event::Wait why, uint32_t place, uint64_t from, uint64_t to) noexcept {
    trail_.waited(why, place, from, to, from);
  }
  // It is idle no more, since `until`.
  void note_idle(uint64_t since, uint64_t until) noexcept;
  void note_sent(const vanity_channel& channel, uint32_t n, uint64_t ticks) noexcept {
    events_.note({.ticks = ticks,
                  .kind = EventKind::send,
                  .what = static_cast<uint8_t>(Event::Target::channel),
                  .place = static_cast<uint16_t>(channel.index),
                  .count = n,
                  .a = channel.record->sent.get()});
  }
  // From when it waits for room, to when it does no more.
  void note_blocked(EventKind kind, Event::Target target, uint32_t place, uint32_t n) noexcept {
    events_.note({.kind = kind,
                  .what = static_cast<uint8_t>(target),
                  .place = static_cast<uint16_t>(place),
                  .count = n});
  }
  void note_reload(Event::Change change) noexcept {
    events_.note({.kind = EventKind::reload,
                  .what = static_cast<uint8_t>(change),
                  .count = static_cast<uint32_t>(record_->generation.get())});
  }
  void wait_for_release() noexcept;
  void take_step() noexcept;
  void note_fault() noexcept;
  void note_watermark(const vanity_channel& channel, uint32_t depth) noexcept;
  void note_wake(Wake wake, uint64_t waits) noexcept;
  uint64_t marks() noexcept;
  uint32_t overflow(vanity_channel& channel, const vanity_packet* packets, uint32_t n) noexcept;
  uint32_t transmit(const Tx& tx, const vanity_packet* packets, uint32_t n) noexcept;
  void take_completed(TxQueue& queue) noexcept;
  void flush_ports() noexcept;
  void send_off() noexcept;
  void watch_depth(vanity_channel& channel) noexcept;
  void drop(const vanity_packet* packets, uint32_t n) noexcept;
  void drop_input(uint32_t input) noexcept;
  void take_returns() noexcept;
  void take_returns(Returns& returns) noexcept;
  void take_up_rings() noexcept;
  void note_failure(const std::string& code, const std::string& message,
                    const std::string& hint) noexcept;
  void publish_wait_counters() noexcept;

  const ShardPlan plan_;
  const uint32_t index_;
  ShardRecord* record_;
  const bool oversubscribed_;
  ShardHandle handle_;
  std::unique_ptr<Arena> arena_;
  ShardLine* line_ = nullptr;  // in the arena
  std::unique_ptr<Program> program_;
  bool source_ = false;
  std::unique_ptr<Place> place_;  // its program's own; null: the first one's, which is the shard's
  std::unique_ptr<ShardLine> line_left_;               // once it has no arena
  std::unique_ptr<ShardRecord> record_left_;           // and its place is another's
  std::vector<std::unique_ptr<vanity_channel>> ends_;  // in use or not; the control path's
  // By their slots, which never change while the input is there, for the sake of their producers'
  // bells; null: free.
  std::vector<vanity_channel*> inputs_;
  std::vector<vanity_channel*> seen_;  // of them, as programs see them
  std::vector<vanity_channel*> outputs_;
  std::vector<Consumer> consumers_;  // of inputs_, side by side for the search
  uint32_t message_inputs_ = 0;      // of them
  Inputs ready_;
  std::vector<Rx> rx_;
  std::vector<Tx> tx_;
  bool interrupts_ = false;
  std::vector<std::unique_ptr<vanity_device>> devices_;
  Pool* own_pool_ = nullptr;
  std::vector<Pool*> owned_pools_;
  // Buffers go home by rings of their ids, two to an 8-byte element.
  std::vector<Producer> homes_;  // by pool index; empty where this shard never holds such buffers
  std::vector<Channel> home_rings_;  // of these
  std::vector<Returns> returns_;
  const PoolTable* pools_ = nullptr;
  Carrier* carrier_ = nullptr;  // null: its thread is its own
  uint32_t busy_turns_most_;    // in a row
  std::unique_ptr<Waiter> waiter_;
  uint32_t rx_turn_ = 0;
  bool ports_first_ = false;  // of a burst of one, which ports and channels take in turn
  uint32_t returns_turn_ = 0;
  uint64_t slept_through_ = UINT64_MAX;  // busy turns by then, if the last sleep brought nothing
  vanity_channel* full_ = nullptr;  // an output that refused something since the last idle turn
  uint64_t unsent_ = 0;             // packets that ports had no room for
  uint32_t watched_above_ = 0;      // outputs above their high watermark
  uint32_t returns_wait_ = 1;
  uint32_t user_counters_ = 0;
  std::vector<pollfd> polled_;    // room for its ports' descriptors, when it has no channels
  WaitCounters other_waits_;      // on descriptors, or by the thread that carries it
  ProtectionKey* key_ = nullptr;  // null: its program may write anywhere
  std::unique_ptr<Arena> desk_;
  Guard guard_;
  HeldBook held_;
  std::unique_ptr<Ledger> ledger_;         // of a process of its own: what it holds
  std::unique_ptr<ShardProcess> process_;  // that it is; on the kernel's side
  EventLog events_;
  PacketTrail trail_;
  uint64_t waits_seen_ = 0;  // by then, of record_->waits
  uint64_t gives_at_ = 0;    // JavaScript's last burst
  uint64_t blocked_at_ = 0;
  size_t arena_mark_ = 0;  // what the program allocates lies above
  Verdicts verdicts_;
  uint32_t lost_last_ = 0;  // packets that its program held when it was left
  Attendant attendant_;
  bool attentive_ = false;
  bool script_keeps_ = false;  // the time of trial is over
  std::mutex understudy_mutex_;
  Understudy understudy_;
  std::vector<vanity_packet> again_;  // a program that was left had received them
  size_t again_at_ = 0;
  std::mutex counters_mutex_;  // of user_counters_: two programs may be in init
  bool vacant_ = false;        // the kernel's thread, and tasks that it starts
  bool gave_up_ = false;
  bool down_ = false;  // its program was left, and hears of nothing
  Hardware::Atomic<bool> failed_{false};
  Hardware::Atomic<bool> exposed_{false};
  bool forsaken_ = false;
  std::string failure_code_;
  std::string failure_;
  std::string failure_hint_;
  Hardware::Thread thread_;
};

extern const vanity_api kApi;
extern const vanity_api kContainedApi;

}  // namespace vanity
