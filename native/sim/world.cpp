#include "sim/world.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "sim/random.hpp"

namespace vanity::sim {
namespace {

constexpr uint32_t kLine = 64;
// What a turn of a loop that looks again takes under a clock, and how much longer it may get.
constexpr uint64_t kPauseSteps = 8;
constexpr uint32_t kPauseDoublings = 8;

bool acquires(std::memory_order order) {
  return order != std::memory_order_relaxed && order != std::memory_order_release;
}
bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}
bool sequential(std::memory_order order) {
  return order == std::memory_order_seq_cst;
}
bool fences(Kind kind) {
  return kind == Kind::fence || kind == Kind::heavy_fence || kind == Kind::reach;
}
bool of_line(Kind kind) {
  return kind == Kind::monitor || kind == Kind::wait;
}

}  // namespace

const char* name_of(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::good:
      return "good";
    case Verdict::abandoned:
      return "abandoned";
    case Verdict::order:
      return "order";
    case Verdict::race:
      return "race";
    case Verdict::lost_wake:
      return "lost wake";
    case Verdict::stuck:
      return "stuck";
    case Verdict::endless:
      return "endless";
    case Verdict::broken:
      return "broken";
  }
  return "";
}

bool Operation::independent(const Operation& a, const Operation& b) noexcept {
  if (a.thread == b.thread) return false;  // a thread and its own store buffer, too
  if ((fences(a.kind) || a.sequential) && fences(b.kind)) return false;
  if (fences(a.kind) && b.sequential) return false;
  if (a.kind == Kind::reach) return a.key != b.thread;
  if (b.kind == Kind::reach) return b.key != a.thread;
  if (a.key == kNowhere || b.key == kNowhere || (!a.writes && !b.writes)) return true;
  if (of_line(a.kind) || of_line(b.kind)) return a.key / kLine != b.key / kLine;
  return a.key != b.key;
}

World::World() {
  events_.reserve(4096);
  decisions_.reserve(4096);
  for (Thread& thread : threads_) {
    if (thread.stack.begin() == nullptr) throw std::bad_alloc();
    thread.looked.reserve(kLocationsMax);
  }
}

// ---- one execution
// -------------------------------------------------------------------------------

Verdict World::run(const Scenario& scenario, const Setup& setup, void* object, Search& search) {
  scenario_ = &scenario;
  setup_ = setup;
  object_ = static_cast<std::byte*>(object);
  search_ = &search;
  current_world = this;
  running_ = false;
  verdict_ = Verdict::good;
  what_.clear();
  events_.clear();
  decisions_.clear();
  names_.clear();
  bodies_.clear();
  said_.clear();
  count_ = static_cast<uint32_t>(scenario.threads.size());
  watches_ = {};
  watched_ = 0;
  time_ = 0;
  fences_ = 0;
  last_actor_ = 0;
  self_ = 0;
  done_ = {};
  if (scenario.contained) std::memset(object, 0, scenario.bytes);
  memory_.begin(setup.model, object_, scenario.bytes, count_);
  scenario.create(object);
  for (uint32_t i = 0; i < count_; ++i) {
    prepare(i);
    if (!is_spare(i)) continue;
    threads_[i].status = Status::ended;
    threads_[i].begun = false;
  }
  running_ = true;
  // The first thread begins; each later decision is taken on the fiber of the step before.
  main_.switch_to(threads_[0].fiber);
  running_ = false;
  if (scenario.destroy != nullptr) scenario.destroy(object);
  return verdict_;
}

void World::prepare(uint32_t number) {
  Thread& thread = threads_[number];
  thread.fiber.start(thread.stack.begin(), kStackBytes, &World::enter, this);
  thread.pending = {.kind = Kind::start, .thread = number};
  thread.status = Status::ready;
  thread.begun = true;
  thread.woken = thread.armed = thread.fired = thread.early = false;
  thread.past = number + 1;
  thread.stale_left = setup_.stale_loads;
  thread.early_left = setup_.early_returns;
  thread.refusals_left = setup_.refusals;
  thread.idle_turns = 0;
  thread.looked.clear();
  thread.slept_at = 0;
}

void World::enter(void* argument) {
  World& world = *static_cast<World*>(argument);
  const uint32_t self = world.self_;
  if (world.scenario_->thread != nullptr)
    world.scenario_->thread(world.object_, self);
  else
    world.bodies_[self]();
  world.threads_[self].status = Status::ended;
  world.note({.kind = Kind::finish}, 0);
  world.go_on();
  __builtin_unreachable();
}

uint32_t World::begin(std::function<void()> body) {
  if (!running_) {
    bodies_.push_back(std::move(body));
    return static_cast<uint32_t>(bodies_.size() - 1);
  }
  uint32_t spare = count_ - scenario_->spares;
  while (spare < count_ && threads_[spare].status != Status::ended) ++spare;
  if (spare == count_) fail(Verdict::broken, "more threads than the simulator has room for");
  bodies_.resize(count_);
  bodies_[spare] = std::move(body);
  prepare(spare);
  memory_.follow(spare, self_);
  return spare;
}

void World::leave() {
  Fiber& here = threads_[self_].fiber;
  here.switch_to(main_);
  __builtin_unreachable();
}

void World::fail(Verdict verdict, const char* what) {
  verdict_ = verdict;
  what_ = what;
  leave();
}

bool World::enabled(const Thread& thread, uint32_t index) const noexcept {
  switch (thread.status) {
    case Status::ready:
      switch (thread.pending.kind) {
        case Kind::exchange:
        case Kind::fence:
        case Kind::heavy_fence:
        case Kind::futex_wait:
        case Kind::futex_wake:
          return memory_.buffer_empty(index);
        case Kind::store:
        case Kind::write:
          return !memory_.buffer_full(index);
        case Kind::reach:  // its buffers are empty; `key` is the thread that is reached
          return memory_.buffer_empty(thread.pending.key);
        default:
          return true;
      }
    case Status::asleep:
    case Status::monitoring:
      return thread.woken || thread.early || (time_passes() && time_ >= thread.deadline);
    case Status::napping:
      return time_ >= thread.deadline;
    case Status::joining:
      return threads_[thread.joined].status == Status::ended && memory_.buffer_empty(thread.joined);
    case Status::paused:
      if (time_passes() && time_ >= thread.deadline) return true;
      return std::any_of(thread.looked.begin(), thread.looked.end(), [&](const Thread::Look& look) {
        return memory_.newest(look.location) != look.number;
      });
    case Status::ended:
      return false;
  }
  return false;
}

Mask World::enabled() const noexcept {
  Mask mask = 0;
  for (uint32_t i = 0; i < count_; ++i) {
    if (enabled(threads_[i], i)) mask |= Mask{1} << i;
    if (!memory_.buffer_empty(i)) mask |= Mask{1} << (count_ + i);
  }
  return mask;
}

// Steps that neither see nor touch what another thread may: they are taken as they come. A store
// into a buffer is one; its leaving is not.
bool World::local(const Operation& operation) const noexcept {
  switch (operation.kind) {
    case Kind::start:
    case Kind::resume:
      return true;
    case Kind::wake:
      return operation.writes;  // for good; see sleep()
    case Kind::store:
    case Kind::write:  // a membarrier waits for those that came before it
      return memory_.model() == Model::tso && !setup_.membarrier;
    default:
      return false;
  }
}

const Operation& World::pending(uint32_t actor) const noexcept {
  if (actor < count_) return threads_[actor].pending;
  draining_ = {Kind::drain, true, memory_.key(memory_.first(actor - count_).address),
               actor - count_};
  return draining_;
}

void World::go_on() {
  Fiber* here = &threads_[self_].fiber;
  for (;;) {
    if (watched_ != 0) check_sleepers();
    Mask mask = enabled();
    if (mask == 0 && time_passes()) {
      check_missed();
      const uint64_t next = next_deadline();
      if (next != UINT64_MAX) {
        time_ = next;
        mask = enabled();
      }
    }
    if (mask == 0) end_of_run();
    if (events_.size() >= setup_.steps_max)
      fail(Verdict::endless, "more steps than the threads should take");
    time_ += setup_.ticks_per_step;

    uint32_t actor = Search::kAbandon;
    for (Mask rest = mask & ((Mask{1} << count_) - 1); rest != 0; rest &= rest - 1) {
      const auto each = static_cast<uint32_t>(std::countr_zero(rest));
      if (!local(threads_[each].pending)) continue;
      actor = each;
      break;
    }
    if (actor == Search::kAbandon) {
      actor = search_->actor(*this, mask);
      if (actor == Search::kAbandon) {
        verdict_ = Verdict::abandoned;
        leave();
      }
      if ((mask & (mask - 1)) != 0) decisions_.push_back(static_cast<uint8_t>(actor));
    }
    last_actor_ = actor;
    done_ = pending(actor);
    if (actor >= count_) {
      drain(actor - count_);
      continue;
    }
    if (actor == self_) return;
    self_ = actor;
    here->switch_to(threads_[actor].fiber);
    return;
  }
}

uint64_t World::next_deadline() const noexcept {
  uint64_t next = UINT64_MAX;
  for (uint32_t i = 0; i < count_; ++i) {
    switch (threads_[i].status) {
      case Status::asleep:
      case Status::monitoring:
      case Status::paused:
      case Status::napping:
        next = std::min(next, threads_[i].deadline);
        break;
      default:
        break;
    }
  }
  return next;
}

void World::announce(Operation operation) {
  operation.thread = self_;
  threads_[self_].pending = operation;
  go_on();
}

// Into a buffer it goes unseen.
void World::announce_store(Kind kind, uint32_t key, bool sequential) {
  const bool seen = memory_.model() != Model::tso;
  announce({.kind = kind,
            .writes = seen,
            .key = seen ? key : Operation::kNowhere,
            .sequential = sequential});
}

void World::end_of_run() {
  std::string who;
  for (uint32_t i = 0; i < count_; ++i) {
    if (threads_[i].status == Status::ended) continue;
    if (!who.empty()) who += ", ";
    who += scenario_->threads[i];
    switch (threads_[i].status) {
      case Status::asleep:
        who += " sleeps in the kernel";
        break;
      case Status::monitoring:
        who += " sleeps on a line";
        break;
      case Status::paused:
        who += " looks for something new in vain";
        break;
      default:
        who += " cannot go on";
    }
    who += " since step " + std::to_string(threads_[i].slept_at);
  }
  if (!who.empty()) fail(Verdict::stuck, who.c_str());
  running_ = false;
  if (scenario_->finish != nullptr) scenario_->finish(object_);
  leave();
}

uint32_t World::choose(Question question, uint32_t options) {
  if (options < 2) return 0;
  const uint32_t chosen = search_->choose(*this, question, options);
  if (chosen == Search::kAbandon) {
    verdict_ = Verdict::abandoned;
    leave();
  }
  decisions_.push_back(static_cast<uint8_t>(chosen));
  return chosen;
}

void World::note(const Event& event, uint64_t found) {
  Event& noted = events_.emplace_back(event);
  noted.thread = static_cast<uint8_t>(self_);
  noted.time = time_;
  uint64_t& past = threads_[self_].past;
  past = Random::mix(past + (uint64_t{static_cast<uint8_t>(event.kind)} << 56) +
                     (uint64_t{event.key} << 24) + Random::mix(found + 1));
}

uint64_t World::state() const noexcept {
  uint64_t sum = memory_.model() == Model::weak ? 0 : memory_.hash();
  for (uint32_t i = 0; i < count_; ++i) {
    const Thread& thread = threads_[i];
    const uint64_t flags = uint64_t{static_cast<uint8_t>(thread.status)} | thread.woken << 8 |
                           thread.armed << 9 | thread.fired << 10 | thread.early << 11;
    sum += Random::mix(thread.past + Random::mix((flags << 4) + i + 1) + memory_.buffered(i));
  }
  return sum;
}

void World::Thread::look(uint32_t location, uint32_t number) {
  for (const Look& each : looked)
    if (each.location == location) return;
  looked.push_back({location, number});
}

// ---- memory
// --------------------------------------------------------------------------------------

uint32_t World::touch(const void* word, uint32_t bytes) {
  const auto* at = static_cast<const std::byte*>(word);
  if (scenario_->contained && (at < object_ || at + bytes > object_ + scenario_->bytes))
    fail(Verdict::broken, "an access outside of all memory");
  const uint32_t location = memory_.touch(word, bytes);
  if (location == Memory::kNone)
    fail(Verdict::broken, "more atomic words than the simulator has room for");
  return location;
}

uint64_t World::load(const void* word, uint32_t bytes, std::memory_order order) {
  const uint32_t location = touch(word, bytes);
  const uint32_t key = memory_.key(word);
  announce({.kind = Kind::load, .key = key, .sequential = sequential(order)});
  Thread& self = threads_[self_];
  Event event{.key = key, .kind = Kind::load, .order = order};
  uint64_t found;
  if (memory_.model() == Model::weak) {
    const uint32_t options =
        self.stale_left == 0 ? 1 : memory_.readable(self_, location, sequential(order));
    const uint32_t age = choose(Question::age, options);
    if (age != 0) --self.stale_left;
    event.value = memory_.load(self_, location, age, acquires(order), event.from_step);
    event.age = static_cast<uint8_t>(age);
    found = (uint64_t{event.from_step} << 8) | self.stale_left;
    if (sequential(order)) found = sequenced(location, event.from_step, found);
    self.look(location, event.from_step);
    const Origin& origin = memory_.location(location).store(event.from_step).origin;
    event.from_step = origin.step;
    event.from_thread = origin.thread;
  } else {
    Origin origin;
    event.value = memory_.forward(self_, static_cast<const std::byte*>(word), bytes, origin);
    found = Random::mix(event.value + 1) + memory_.location(location).newest;
    event.from_step = origin.step;
    event.from_thread = origin.thread;
    self.look(location, memory_.newest(location));
  }
  note(event, found);
  return event.value;
}

// After a seq_cst access of a location, which found or left its store of this number. What it did
// to its thread depends on the fences before it.
uint64_t World::sequenced(uint32_t location, uint32_t number, uint64_t found) {
  memory_.sequence(location, number);
  return Random::mix(found + (uint64_t{fences_} << 40));
}

void World::stored(uint32_t key) {
  for (uint32_t i = 0; i < count_; ++i) {
    Thread& thread = threads_[i];
    if (!thread.armed || thread.line != key / kLine) continue;
    thread.armed = false;
    thread.fired = true;
    if (thread.status != Status::monitoring) continue;
    thread.woken = true;
    thread.pending.writes = !thread.early;
  }
}

void World::store(void* word, uint32_t bytes, uint64_t value, std::memory_order order) {
  if (memory_.model() == Model::tso && sequential(order)) {  // an exchange there
    exchange(
        word, bytes, [](uint64_t, uint64_t operand) { return operand; }, value, order);
    return;
  }
  const uint32_t location = touch(word, bytes);
  const uint32_t key = memory_.key(word);
  announce_store(Kind::store, key, sequential(order));
  threads_[self_].idle_turns = 0;
  const auto step = static_cast<uint32_t>(events_.size()) + 1;
  uint64_t number = value;
  if (memory_.model() == Model::weak) {
    memory_.store(self_, location, value, releases(order), step);
    number = memory_.location(location).newest;
    if (sequential(order)) number = sequenced(location, memory_.newest(location), number);
    stored(key);
  } else {
    const Memory::Buffered store{static_cast<std::byte*>(word),
                                 value,
                                 bytes,
                                 {step, static_cast<uint8_t>(self_), releases(order)}};
    if (memory_.model() == Model::tso) {
      memory_.buffer(self_, store);
    } else {
      memory_.settle(store);
      stored(key);
    }
  }
  note({.value = value, .key = key, .kind = Kind::store, .order = order}, number);
}

void World::drain(uint32_t thread) {
  const Memory::Buffered store = memory_.drain(thread);
  const uint32_t key = memory_.key(store.address);
  stored(key);
  Event& event = events_.emplace_back(Event{.value = store.value,
                                            .key = key,
                                            .from_step = store.origin.step,
                                            .kind = Kind::drain,
                                            .from_thread = store.origin.thread});
  event.thread = static_cast<uint8_t>(thread);
  event.time = time_;
}

uint64_t World::exchange(void* word, uint32_t bytes, uint64_t (*change)(uint64_t, uint64_t),
                         uint64_t operand, std::memory_order order) {
  const uint32_t location = touch(word, bytes);
  const uint32_t key = memory_.key(word);
  announce({.kind = Kind::exchange, .writes = true, .key = key, .sequential = sequential(order)});
  threads_[self_].idle_turns = 0;
  const auto step = static_cast<uint32_t>(events_.size()) + 1;
  Event event{.key = key, .kind = Kind::exchange, .order = order};
  uint64_t found;
  if (memory_.model() == Model::weak) {
    const Origin origin =
        memory_.location(location).store(memory_.location(location).newest).origin;
    event.from_step = origin.step;
    event.from_thread = origin.thread;
    event.value =
        memory_.exchange(self_, location, change, operand, acquires(order), releases(order), step);
    found = memory_.location(location).newest;
    if (sequential(order)) found = sequenced(location, memory_.newest(location), found);
  } else {
    Origin origin;
    event.value = found = memory_.forward(self_, static_cast<std::byte*>(word), bytes, origin);
    event.from_step = origin.step;
    event.from_thread = origin.thread;
    memory_.settle({static_cast<std::byte*>(word),
                    change(event.value, operand),
                    bytes,
                    {step, static_cast<uint8_t>(self_), true}});
  }
  stored(key);
  note(event, found);
  return event.value;
}

void World::clear(const std::byte* at, uint32_t bytes) {
  const uint32_t known = memory_.locations();
  for (uint32_t i = 0; i < known; ++i) {
    const Location& location = memory_.location(i);
    if (location.address < at || location.address >= at + bytes) continue;
    store(location.address, location.bytes, 0, std::memory_order_relaxed);
  }
}

void World::fence() {
  if (!running_) return;
  announce({Kind::fence, false, Operation::kNowhere});
  threads_[self_].idle_turns = 0;
  if (memory_.model() == Model::weak) memory_.fence(self_);
  note({.kind = Kind::fence}, ++fences_);
}

void World::acquire_fence() {
  if (running_ && memory_.model() == Model::weak) memory_.acquire_fence(self_);
}

void World::release_fence() {
  if (running_ && memory_.model() == Model::weak) memory_.release_fence(self_);
}

void World::light_fence() {
  if (!setup_.membarrier) fence();
}

// membarrier makes each thread run a full fence, one after the other, between two of the caller's.
bool World::try_heavy_fence() {
  if (!setup_.membarrier) {
    fence();
    return true;
  }
  announce({Kind::heavy_fence, false, Operation::kNowhere});
  Thread& self = threads_[self_];
  self.idle_turns = 0;
  if (self.refusals_left != 0 && choose(Question::refuse, 2) != 0) {
    --self.refusals_left;
    note({.value = 1, .kind = Kind::heavy_fence}, ~uint64_t{0});
    return false;
  }
  if (memory_.model() == Model::weak) memory_.fence(self_);
  note({.kind = Kind::heavy_fence}, ++fences_);
  for (uint32_t other = 0; other < count_; ++other) {
    // One that has ended has run such a fence at its end.
    if (other == self_ || !threads_[other].begun) continue;
    announce({Kind::reach, false, other});
    ++fences_;
    if (memory_.model() == Model::weak) memory_.fence(other);
    note({.value = other, .kind = Kind::reach}, fences_);
    uint64_t& past = threads_[other].past;
    past = Random::mix(past + fences_ + (uint64_t{0xfe} << 56));
  }
  if (memory_.model() == Model::weak) {
    memory_.fence(self_);
    ++fences_;
  }
  return true;
}

uint64_t World::read(const void* word) {
  const uint32_t key = memory_.key(word);
  if (key >= scenario_->bytes) fail(Verdict::broken, "an element outside of its channel");
  if (memory_.model() != Model::weak) {
    announce({Kind::read, false, key});
    Origin origin;
    const uint64_t value = memory_.forward(self_, static_cast<const std::byte*>(word), 8, origin);
    note({.value = value, .key = key, .from_step = origin.step, .kind = Kind::read}, value);
    return value;
  }
  const Origin* other = memory_.race(self_, word, false);
  const uint64_t value = Memory::raw(word, 8);
  note({.value = value, .key = key, .kind = Kind::read}, value);
  if (other != nullptr) {
    const std::string what = std::string(scenario_->threads[self_]) + " reads " + name_of(key) +
                             " while " + scenario_->threads[other->thread] + " writes it (step " +
                             std::to_string(other->step) + "): nothing orders the two";
    fail(Verdict::race, what.c_str());
  }
  memory_.note_plain(self_, word, false, steps());
  return value;
}

void World::write(void* word, uint64_t value) {
  const uint32_t key = memory_.key(word);
  if (key >= scenario_->bytes) fail(Verdict::broken, "an element outside of its channel");
  if (memory_.model() != Model::weak) {
    announce_store(Kind::write, key);
    const Memory::Buffered store{
        static_cast<std::byte*>(word), value, 8, {steps() + 1, static_cast<uint8_t>(self_), false}};
    if (memory_.model() == Model::tso)
      memory_.buffer(self_, store);
    else
      memory_.settle(store);
    note({.value = value, .key = key, .kind = Kind::write}, value);
    return;
  }
  const Origin* other = memory_.race(self_, word, true);
  note({.value = value, .key = key, .kind = Kind::write}, value);
  if (other != nullptr) {
    const std::string what = std::string(scenario_->threads[self_]) + " writes " + name_of(key) +
                             " while " + scenario_->threads[other->thread] + " uses it (step " +
                             std::to_string(other->step) + "): nothing orders the two";
    fail(Verdict::race, what.c_str());
  }
  memory_.note_plain(self_, word, true, steps());
  Memory::put(word, 8, value);
}

uint64_t World::marks(const void* line) {
  // Byte by byte, so that it may find one as it was and the next as it is. Those that nobody stores
  // to have no name and are read as they are.
  const auto* bytes = static_cast<const std::byte*>(line);
  uint64_t mask = 0;
  for (uint32_t word = 0; word < 8; ++word) {
    if (Memory::raw(bytes + 8 * word, 8) == 0) continue;
    for (uint32_t i = 8 * word; i < 8 * word + 8; ++i)
      mask |= uint64_t{bytes[i] != std::byte{0}} << i;
  }
  const uint32_t known = running_ ? memory_.locations() : 0;
  for (uint32_t i = 0; i < known; ++i) {
    const std::byte* at = memory_.location(i).address;
    if (at < bytes || at >= bytes + kLine) continue;
    const auto byte = static_cast<uint32_t>(at - bytes);
    mask &= ~(uint64_t{1} << byte);
    if (load(at, 1, std::memory_order_relaxed) != 0) mask |= uint64_t{1} << byte;
  }
  return mask;
}

// ---- waiting
// -------------------------------------------------------------------------------------

void World::monitor(const void* address) {
  const uint32_t key = memory_.key(address);
  announce({Kind::monitor, false, key});
  Thread& self = threads_[self_];
  self.idle_turns = 0;
  self.line = key / kLine;
  self.armed = true;
  self.fired = false;
  memory_.see_line(self_, self.line);
  uint64_t line = 0;
  for (uint32_t i = 0; i < memory_.locations(); ++i)
    if (memory_.location(i).key / kLine == self.line)
      line += Random::mix(memory_.location(i).key + memory_.location(i).newest);
  note({.key = key, .kind = Kind::monitor}, memory_.model() == Model::weak ? line : 0);
}

Wake World::sleep(Status status, uint64_t deadline) {
  Thread& self = threads_[self_];
  self.status = status;
  self.woken = false;
  self.deadline = deadline;
  self.early = false;
  self.slept_at = steps();
  self.idle_turns = 0;
  if (self.early_left != 0) {
    const uint32_t how = choose(Question::early_return, 3);
    if (how != 0) --self.early_left;
    self.early = how != 0;
    self.early_as = how == 2 ? Wake::deadline : Wake::spurious;
  }
  self.pending = {Kind::wake, false, Operation::kNowhere, self_};
  go_on();
  self.status = Status::ready;
  self.armed = false;
  Wake why = Wake::signalled;
  if (self.early) {
    why = self.early_as;
  } else if (!self.woken) {
    why = Wake::deadline;
  }
  self.woken = self.early = false;
  note({.value = static_cast<uint64_t>(why), .kind = Kind::wake}, static_cast<uint64_t>(why));
  return why;
}

Wake World::wait(uint64_t deadline) {
  Thread& self = threads_[self_];
  announce({Kind::wait, false, self.line * kLine});
  note({.value = self.fired, .key = self.line * kLine, .kind = Kind::wait}, self.fired);
  if (self.fired) return Wake::spurious;
  sleep(Status::monitoring, deadline);
  return Wake::spurious;
}

Wake World::futex_wait(const void* word, uint32_t expected, uint64_t deadline) {
  const uint32_t key = memory_.key(word);
  const uint32_t location = touch(word, 4);
  announce({Kind::futex_wait, false, key});
  const uint64_t found = Memory::raw(word, 4);
  note({.value = found, .key = key, .kind = Kind::futex_wait}, found);
  // The kernel reads the word for the thread, and who wakes it has changed it: the thread finds
  // nothing older there. Of all else the kernel's own order is not relied on.
  memory_.see(self_, location);
  if (found != expected) return Wake::spurious;
  threads_[self_].futex = key;
  const Wake wake = sleep(Status::asleep, deadline);
  if (wake == Wake::signalled) memory_.see(self_, location);
  return wake;
}

void World::futex_wake(void* word) {
  const uint32_t key = memory_.key(word);
  announce({Kind::futex_wake, true, key});
  uint64_t woken = 0;
  for (uint32_t i = 0; i < count_; ++i) {
    Thread& thread = threads_[i];
    if (thread.status != Status::asleep || thread.futex != key || thread.woken) continue;
    thread.woken = true;
    thread.pending.writes = !thread.early;
    woken = i + 1;
    break;
  }
  note({.value = woken, .key = key, .kind = Kind::futex_wake}, woken);
}

// It passes with steps: a look at it is none.
uint64_t World::now() const noexcept {
  return time_;
}

void World::relax() {
  Thread& self = threads_[self_];
  if (++self.idle_turns >= 2 || time_passes()) pause();
}

// Under a clock it looks again after a while, longer each time: as one that is given the processor
// seldom.
void World::pause() {
  Thread& self = threads_[self_];
  self.deadline = UINT64_MAX;
  if (time_passes())
    self.deadline =
        time_ + (setup_.ticks_per_step * kPauseSteps << std::min(self.idle_turns, kPauseDoublings));
  self.status = Status::paused;
  self.slept_at = steps();
  self.pending = {Kind::resume, false, Operation::kNowhere, self_};
  go_on();
  self.status = Status::ready;
  self.looked.clear();
  note({.kind = Kind::resume}, 0);
}

void World::nap(uint64_t deadline) {
  Thread& self = threads_[self_];
  self.status = Status::napping;
  self.deadline = deadline;
  self.slept_at = steps();
  self.pending = {.kind = Kind::resume, .thread = self_};
  go_on();
  self.status = Status::ready;
  note({.kind = Kind::resume}, 0);
}

void World::nap_for_a_while() {
  uint64_t ns = 10'000;
  for (uint32_t tenfold = draw(4); tenfold != 0; --tenfold) ns *= 10;
  nap(time_ + ns);
}

void World::join(uint32_t thread) {
  Thread& self = threads_[self_];
  self.status = Status::joining;
  self.joined = thread;
  self.slept_at = steps();
  self.pending = {.kind = Kind::resume, .thread = self_};
  go_on();
  self.status = Status::ready;
  memory_.follow(self_, thread);
  note({.kind = Kind::resume}, 0);
}

// ---- what scenarios say
// --------------------------------------------------------------------------

void World::say(std::string text) {
  if (!running_) return;
  said_.push_back(std::move(text));
  note({.value = said_.size() - 1, .kind = Kind::says}, said_.size());
}

void World::name(const void* address, uint32_t bytes, const char* name) {
  names_.push_back({memory_.key(address), bytes, name});
}

void World::name_atomic(const void* address, uint32_t bytes, const char* name) {
  this->name(address, bytes, name);
  (void)memory_.touch(address, bytes);
}

void World::watch(uint32_t sleeper, bool (*waiting)(const void*)) {
  watches_[sleeper].waiting = waiting;
  watched_ |= 1u << sleeper;
}

void World::promise(uint32_t sleeper) noexcept {
  watches_[sleeper].promised |= 1u << self_;
  watches_[sleeper].wakers |= 1u << self_;
}

void World::fulfil(uint32_t sleeper) noexcept {
  Watch& watch = watches_[sleeper];
  watch.promised &= ~(1u << self_);
  watch.last_thread = self_;
  watch.last_step = steps();
}

// Asleep, nobody who gave it input is still on the way to signal, and there is input.
void World::check_sleepers() {
  for (uint32_t i = 0; i < count_; ++i) {
    const Thread& thread = threads_[i];
    const Watch& watch = watches_[i];
    if (watch.waiting == nullptr || watch.promised != 0) continue;
    if (thread.status != Status::asleep && thread.status != Status::monitoring) continue;
    if (thread.woken || thread.early || !watch.waiting(object_)) continue;
    bool coming = false;  // what it monitors is still in a buffer
    for (uint32_t other = 0; other < count_; ++other)
      coming = coming || ((watch.wakers >> other & 1) != 0 && !memory_.buffer_empty(other));
    if (coming) continue;
    const std::string what =
        std::string(scenario_->threads[i]) + " sleeps since step " +
        std::to_string(thread.slept_at) + " and has input; " +
        (watch.last_step == 0 ? "nobody was to wake it"
                              : std::string(scenario_->threads[watch.last_thread]) +
                                    " should have woken it and was done with its signal at step " +
                                    std::to_string(watch.last_step));
    fail(Verdict::lost_wake, what.c_str());
  }
}

// Nobody goes on but by a deadline, so no signal is on its way.
void World::check_missed() {
  if (scenario_->missed == nullptr) return;
  for (uint32_t i = 0; i < count_; ++i) {
    const Thread& thread = threads_[i];
    if (thread.status != Status::asleep && thread.status != Status::monitoring) continue;
    running_ = false;  // looks from outside are no steps
    const char* what = scenario_->missed(object_, i, thread.status == Status::monitoring);
    running_ = true;
    if (what == nullptr) continue;
    fail(Verdict::lost_wake,
         (std::string(scenario_->threads[i]) + " sleeps since step " +
          std::to_string(thread.slept_at) + " and " + what + ", and nobody is about to wake it")
             .c_str());
  }
}

std::string World::name_of(uint32_t key) const {
  std::string text;
  for (const Name& name : names_) {
    if (key < name.key || key >= name.key + name.bytes) continue;
    text = name.name;
    key -= name.key;
    break;
  }
  if (key == 0 && !text.empty()) return text;
  text += '+';
  text += std::to_string(key);
  return text;
}

}  // namespace vanity::sim
