#include "sim/system/hosted.hpp"

#include <signal.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "kernel/system.hpp"
#include "platform/error.hpp"
#include "sim/system/faults.hpp"
#include "sim/system/modules.hpp"
#include "sim/system/nic.hpp"
#include "sim/system/region.hpp"
#include "sim/system/reloads.hpp"
#include "sim/system/scarcity.hpp"
#include "sim/system/standins.hpp"

namespace vanity::sim {
namespace {

// Who operates it stops it early in one of so many executions.
constexpr uint32_t kStopsOneIn = 2;
constexpr uint64_t kBackoffNs =
    10'000;                          // before a program that faulted is started anew, at the least
constexpr uint64_t kSpinNs = 2'000;  // of a shard that does not spin as long as it may

// The others are the kernel, who operates it, devices, and a reload.
constexpr uint32_t kShardsMax = kThreadsMax - 4;

struct Hosted {
  Plan asked;
  Plan plan;  // as it was drawn for this execution
  std::vector<std::string> names;
  std::deque<std::string> words;  // names of them; they stay where they are
  System* system = nullptr;
  std::vector<Claim> claims;
  std::string counted;
  std::string refused;       // why it did not start at once
  std::string wrong;         // with that
  uint32_t devices = kNone;  // the thread of all that there are
  bool modules = false;
  bool immediate = false;  // it was stopped at once, so that packets may be dropped
};
Hosted hosted;

bool over() {
  const SystemState state = hosted.system->state();
  return state == SystemState::stopped || state == SystemState::failed;
}

// What there is room for, and how shards wait, within what was asked for.
Plan drawn(const Plan& asked) {
  World& world = World::current();
  Plan plan = asked;
  plan.oversubscribe = world.draw(4) == 0;
  for (ChannelPlan& channel : plan.channels) {
    const auto doublings = static_cast<uint32_t>(std::bit_width(channel.capacity)) - 1;
    const uint32_t capacity = 2u << world.draw(doublings);
    if (capacity < channel.capacity && channel.high_watermark != 0) {
      channel.high_watermark = capacity;
      channel.low_watermark = capacity / 2;
    }
    channel.capacity = capacity;
  }
  for (ShardPlan& shard : plan.shards) {
    shard.burst = 1 + world.draw(shard.burst);
    shard.watch.backoff_ns = kBackoffNs << world.draw(4);
    shard.watch.max_restarts = UINT32_MAX;
    const uint32_t spin = world.draw(3);
    if (spin != 2) shard.spin_ns_max = spin == 0 ? 0 : std::min(shard.spin_ns_max, kSpinNs);
  }
  draw_pages(plan);
  draw_nics(plan);
  draw_reloads(plan);
  return plan;
}

void label(const void* word, uint32_t bytes, std::string text) {
  World::current().name(word, bytes, hosted.words.emplace_back(std::move(text)).c_str());
}

template <class Word>
void label(const Word& word, std::string text) {
  label(&word, sizeof(word), std::move(text));
}

// A bad address is one of the code under the scheduler: its execution ends there.
void on_fault(int number) {
  if (World::running()) {
    World& world = World::current();
    const std::string what = number == SIGABRT ? " gives up (abort)"
                                               : std::string(" faults (") + strsignal(number) + ")";
    world.fail(Verdict::broken, (hosted.names[world.self()] + what).c_str());
  }
  ::signal(number, SIG_DFL);
  raise(number);
}

void hear_of_faults() {
  static std::byte stack[64 * 1024];
  const stack_t other{stack, 0, sizeof(stack)};
  sigaltstack(&other, nullptr);
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    struct sigaction action {};
    action.sa_handler = on_fault;
    // It does not come back, and the next one is to be heard of.
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    sigaction(number, &action, nullptr);
  }
}

// Starts it, perhaps replaces programs, perhaps stops it early, and closes it when it is over.
void operate() {
  World& world = World::current();
  if (!hosted.refused.empty()) world.say("a start was refused: " + hosted.refused);
  if (!hosted.wrong.empty()) world.fail(Verdict::order, hosted.wrong.c_str());
  hosted.system->start();
  reload_as_drawn(*hosted.system);
  if (world.draw(kStopsOneIn) == 0) {
    world.nap_for_a_while();
    hosted.immediate = world.draw(2) == 0;
    hosted.system->stop(hosted.immediate);
  }
  while (!over()) world.nap_for_a_while();
  hosted.system->close();
}

// Once more, with enough pages, where it was refused for want of them.
System* boot() {
  hosted.refused.clear();
  hosted.wrong.clear();
  try {
    return new System(hosted.plan, BootOptions{});
  } catch (const Error& error) {
    const std::string code = error.code();
    if (code != "VANITY_E_HUGE_PAGES" && code != "VANITY_E_MEMORY") throw;
    hosted.refused = code + ": " + error.what();
    hosted.wrong = wrong_refusal(hosted.plan, code);
  }
  end_scarcity();
  hosted.plan.pages = PageChoice::automatic;
  return new System(hosted.plan, BootOptions{});
}

void create(void*) {
  Region::reset();
  if (hosted.modules) watch_modules();
  hosted.counted.clear();
  hosted.immediate = false;
  hosted.words.clear();
  forget_standins();
  hosted.plan = drawn(hosted.asked);
  hosted.system = boot();
  if (!stood_in()) let_programs_fault(*hosted.system);
  World::current().begin(&operate);
  if (!hosted.plan.ports.empty()) World::current().begin(&run_nics);
  map_nics(*hosted.system);
  for (uint32_t c = 0; c < hosted.plan.channels.size(); ++c) {
    auto& ring = *hosted.system->channel(c).memory();
    label(ring.tail, hosted.plan.channels[c].name + ".tail");
    label(ring.head, hosted.plan.channels[c].name + ".head");
  }
  for (uint32_t s = 0; s < hosted.plan.shards.size(); ++s) {
    const ShardLine& line = hosted.system->shard(s).line();
    const std::string& name = hosted.plan.shards[s].name;
    label(line.sleeper.sleeping, name + ".sleeping");
    label(line.control, name + ".control");
    label(line.doorbell, name + ".bell");
    label(line.wishes, name + ".wish");
    label(hosted.system->segment().shard(s).state, name + ".state");
  }
}

// ---- what is held against it
// ---------------------------------------------------------------------

bool has_elements(uint32_t channel) {
  const auto& ring = *hosted.system->channel(channel).memory();
  return ring.tail.peek() != ring.head.peek();
}

// A monitor stands for one line: the doorbell's, or that of one channel. A futex for everything.
const char* missed(const void*, uint32_t thread, bool monitoring) {
  if (thread == hosted.devices) return missed_doorbell();
  if (thread >= hosted.plan.shards.size()) return nullptr;
  Shard& shard = hosted.system->shard(thread);
  if (shard.state() == ShardState::faulted) return nullptr;  // it looks by the clock
  const bool works = shard.state() == ShardState::running &&
                     shard.line().control.peek() == static_cast<uint32_t>(Control::run);
  if (works) {
    if (const char* const what = missed_packets(thread); what != nullptr) return what;
  }
  const ShardPlan& plan = hosted.plan.shards[thread];
  uint32_t inputs = 0;
  for (const ChannelPlan& channel : hosted.plan.channels) inputs += channel.to == thread;
  const bool by_bell = shard.needs_bell(inputs);
  const bool all = !monitoring || by_bell;
  uint32_t place = 0;
  for (uint32_t c = 0; c < hosted.plan.channels.size(); ++c) {
    if (hosted.plan.channels[c].to != thread) continue;
    const uint32_t at = place++;
    const bool watched = plan.strategy == Strategy::primary && plan.primary != kNone
                             ? c == plan.primary
                             : at + 1 == inputs;
    if ((all || watched) && has_elements(c)) return "has input";
  }
  if (!all && inputs != 0) return nullptr;
  for (const auto& byte : shard.line().doorbell.bytes)
    if (byte.peek() != 0) return "its doorbell rang";
  const auto wanted = static_cast<Control>(shard.line().control.peek());
  const ShardState state = shard.state();
  if (wanted != Control::wait && state == ShardState::ready) return "was let go";
  if (wanted == Control::drain && state == ShardState::running) return "was told to drain";
  if (wanted >= Control::finish) return "was told to leave";
  return nullptr;
}

void require(bool holds, const std::string& what) {
  if (!holds) World::current().fail(Verdict::order, what.c_str());
}

struct Balance {
  uint64_t received = 0;
  uint64_t gone = 0;
  uint64_t dropped = 0;
};

// Of a program that makes one of each packet that it is given.
Balance balance_of(const ShardRecord& record) {
  return {record.received.get(),
          record.sent.get() + record.consumed.get() + record.filtered.get() + record.dropped.get(),
          record.dropped.get()};
}

std::string counted_by(const ShardPlan& plan, const ShardRecord& record) {
  const Balance balance = balance_of(record);
  std::string line = plan.name + " received " + std::to_string(balance.received) + ", gone " +
                     std::to_string(balance.gone) + ", dropped " + std::to_string(balance.dropped);
  for (const DynamicCounter& counter : record.user) {
    if (counter.name[0] == '\0') break;
    line += std::string(", ") + counter.name + ' ' + std::to_string(counter.value.get());
  }
  return line + '\n';
}

uint64_t dropped_by_queues(System& system, uint32_t shard) {
  uint64_t dropped = 0;
  uint32_t queues = 0;
  for (const PortPlan& port : hosted.plan.ports)
    queues += static_cast<uint32_t>(port.rx.size() + port.tx.size());
  for (uint32_t q = 0; q < queues; ++q) {
    const QueueRecord& record = system.segment().queue(q);
    if (record.direction == 1 && record.shard == shard) dropped += record.dropped.get();
  }
  return dropped;
}

void hold(System& system) {
  for (uint32_t s = 0; s < hosted.plan.shards.size(); ++s)
    hosted.counted += counted_by(hosted.plan.shards[s], system.segment().shard(s));
  for (const Failure& failure : system.failures())
    require(false, failure.code + ": " + failure.message);
  require(system.state() == SystemState::stopped, "the system did not stop");
  for (uint32_t c = 0; c < hosted.plan.channels.size(); ++c) {
    const ChannelRecord& record = system.segment().channel(c);
    require(record.sent.get() == record.received.get(),
            "of channel " + hosted.plan.channels[c].name + ": " +
                std::to_string(record.sent.get()) + " sent, " +
                std::to_string(record.received.get()) + " received");
  }
  for (uint32_t s = 0; s < hosted.plan.shards.size(); ++s) {
    const ShardPlan& plan = hosted.asked.shards[s];
    if (hosted.immediate || plan.kind != ProgramKind::builtin || plan.program == "mirror") continue;
    const ShardRecord& record = system.segment().shard(s);
    Balance balance = balance_of(record);
    balance.dropped -= record.dropped_fault.get();
    // One that is down when it is to stop drops what waits for it, and has received none of that.
    const uint64_t waited = system.shard(s).is_down() ? std::exchange(balance.dropped, 0) : 0;
    // What a full transmit queue does not take is counted by the queue; what it took and could not
    // send, by both.
    const uint64_t unsent = dropped_by_queues(system, s);
    require(balance.received + waited >= balance.gone && balance.received <= balance.gone + unsent,
            "shard " + plan.name + " received " + std::to_string(balance.received) +
                " packets, and " + std::to_string(balance.gone) + " left it");
    const bool blocks = std::all_of(
        hosted.plan.channels.begin(), hosted.plan.channels.end(), [&](const ChannelPlan& channel) {
          return channel.from != s || channel.overflow == Overflow::block;
        });
    require(!blocks || balance.dropped == 0, "shard " + plan.name + " lost " +
                                                 std::to_string(balance.dropped) +
                                                 " packets, though its outputs block");
  }
  check_orders(system);
  // A program that faults loses what it held, whatever it is said to do with it; one that was
  // undone has counted what the old one counts again.
  bool apart = false;
  for (uint32_t s = 0; s < hosted.plan.shards.size(); ++s) {
    const ShardRecord& record = system.segment().shard(s);
    apart = apart || record.faults.get() != 0 || record.reloads_undone.get() != 0;
  }
  if (hosted.immediate || apart || nics_misbehaved()) return;
  for (const Claim& claim : hosted.claims) {
    // A stand-in has none of a stage's own counters.
    if (stood_in() && !is_known(claim, system.segment())) continue;
    const std::string what = broken(claim, hosted.plan, system.segment());
    require(what.empty(), what);
  }
}

void finish(void*) {
  const std::string pages = wrong_pages(*hosted.system);
  require(pages.empty(), pages);
  hold(*hosted.system);
  const std::string nics = wrong_nics();
  require(nics.empty(), nics);
  delete hosted.system;
  hosted.system = nullptr;
  const std::string left = left_behind();
  require(left.empty(), "a system that has ended leaves " + left + " behind");
}

void destroy(void*) {
  // What went wrong left its threads where they were, and what they use stays with them.
  hosted.system = nullptr;
}

}  // namespace

const std::string& counted() {
  return hosted.counted;
}

Scenario host(const SystemText& system, bool modules) {
  const Plan& plan = system.plan;
  if (plan.shards.size() > kShardsMax) {
    throw Error(
        "VANITY_E_LIMIT",
        "a system of " + std::to_string(plan.shards.size()) +
            " shards: the simulator has room for " + std::to_string(kShardsMax),
        "simulate a part of it, by a manifest with fewer [shards], or run all of it hosted: "
        "vanity run --sim pool");
  }
  hear_of_faults();
  hosted.modules = modules;
  hosted.asked = plan;
  hosted.claims = system.claims;
  hosted.names.clear();
  for (const ShardPlan& shard : plan.shards) hosted.names.push_back(shard.name);
  hosted.names.emplace_back("kernel");
  hosted.names.emplace_back("operator");
  hosted.devices = plan.ports.empty() ? kNone : static_cast<uint32_t>(hosted.names.size());
  if (!plan.ports.empty()) hosted.names.emplace_back("devices");
  hosted.names.emplace_back("reload");
  Scenario scenario;
  scenario.name = hosted.asked.name.c_str();
  for (const std::string& name : hosted.names) scenario.threads.push_back(name.c_str());
  scenario.bytes = Region::kBytes;
  scenario.create = create;
  scenario.finish = finish;
  scenario.destroy = destroy;
  scenario.contained = false;
  scenario.spares = 1;
  scenario.missed = missed;
  return scenario;
}

}  // namespace vanity::sim
