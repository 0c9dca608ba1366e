// The ports of Growth: they come with the shards that have their queues, and go with them.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernel/growth.hpp"
#include "kernel/places.hpp"
#include "kernel/validate.hpp"
#include "platform/error.hpp"

namespace vanity {

// What a device reaches was settled when it was opened, and so was who listens to a socket.
void Growth::refuse_settled(const PortPlan& port, const char* does) {
  if (!port.interrupted()) return;
  refuse("port " + port.name + ": one of a " + (port.device == kNone ? "socket" : "device") + " " +
             does + " with the system",
         kNewStart);
}

// ---- they come

void Growth::plan_ports() {
  Segment& segment = system_.segment_;
  const uint32_t room = system_.shape_.ports + system_.shape_.spare_ports;
  const uint32_t row_room = system_.shape_.queues + system_.shape_.spare_queues;
  uint32_t row = 0;
  for (const NewPort& fresh : request_.parts.ports) {
    PortPlan plan = fresh.plan;
    const std::string who = "port " + plan.name;
    if (named(next_.ports, plan.name) != kNone) refuse("there is a " + who + " already");
    refuse_settled(plan, "begins");
    const auto join = [&](const std::vector<std::string>& names, std::vector<uint32_t>& into) {
      into.clear();
      for (const std::string& name : names) {
        into.push_back(named(next_.shards, name));
        if (newcomer(into.back()) != nullptr) continue;
        std::string why = who;
        why.append(": shard ")
            .append(name)
            .append(" does not come along, and its ports are those it began with");
        refuse(why);
      }
    };
    join(fresh.rx, plan.rx);
    join(fresh.tx, plan.tx);
    const uint32_t at = free_place(next_.ports);
    NewcomerPort port{at, {}, nullptr};
    for (size_t q = plan.rx.size() + plan.tx.size(); q > 0 && row < row_room; ++row) {
      if (row < segment.queues() && segment.queue(row).port != kNoPort) continue;
      port.rows.push_back(row);
      --q;
    }
    if (at == room || port.rows.size() < plan.rx.size() + plan.tx.size()) {
      throw Error("VANITY_E_LIMIT",
                  who + ": a running system has room for " + std::to_string(limits::kSparePorts) +
                      " ports and " + std::to_string(limits::kSpareQueues) +
                      " queues more than it began with, and " + std::to_string(limits::kPorts) +
                      " ports in all",
                  kNewStart);
    }
    put(next_.ports, at, plan);
    validate_port(next_, at);
    ports_.push_back(std::move(port));
  }
}

// Files and interfaces are opened here, so what is not there is refused.
void Growth::make_ports() {
  Segment& segment = system_.segment_;
  for (NewcomerPort& fresh : ports_) {
    const PortPlan& plan = next_.ports[fresh.index];
    Segment::clear(segment.port(fresh.index));
    for (const uint32_t row : fresh.rows) Segment::clear(segment.queue(row));
    fresh.port = system_.make_port(fresh.index, plan, fresh.rows);
    for (uint32_t q = 0; q < plan.tx.size(); ++q)
      shard(plan.tx[q]).add_tx(&fresh.port->tx(q), plan.overflow);
  }
  for (const auto& [index, pool] : pools_) {
    const System::PoolPlan& plan = pool_plans_[index];
    for (NewcomerPort& fresh : ports_) {
      if (fresh.index == plan.port)
        shard(plan.owner).add_rx(&fresh.port->rx(plan.queue), pool.get());
    }
  }
}

// Packets may come from here on, and wait for the shards to be let go.
void Growth::start_ports() {
  for (NewcomerPort& fresh : ports_) fresh.port->start();
}

// ---- they go

// All queues of a port are at shards that go, or none.
void Growth::plan_gone_ports() {
  for (uint32_t p = 0; p < next_.ports.size(); ++p) {
    const PortPlan& port = next_.ports[p];
    std::vector<uint32_t> at = port.rx;
    at.insert(at.end(), port.tx.begin(), port.tx.end());
    const auto stays = std::partition(at.begin(), at.end(), [this](uint32_t s) {
      return std::find(gone_.begin(), gone_.end(), s) != gone_.end();
    });
    if (stays == at.begin()) continue;
    if (stays != at.end()) {
      refuse("port " + port.name + " would lose queues, and shard " + next_.shards[*stays].name +
                 " has others of it",
             kNewStart);
    }
    refuse_settled(port, "ends");
    gone_ports_.push_back(p);
  }
}

// The kernel's thread: from here on it does not serve them.
void Growth::take_ports() noexcept {
  if (request_.job != Job::free) return;
  if (std::any_of(gone_.begin(), gone_.end(),
                  [this](uint32_t s) { return !system_.shards_[s]->ended(); })) {
    return;
  }
  for (const uint32_t p : gone_ports_) taken_ports_.push_back(std::move(system_.ports_[p]));
}

void Growth::give_back_ports() noexcept {
  for (size_t i = 0; i < taken_ports_.size(); ++i)
    system_.ports_[gone_ports_[i]] = std::move(taken_ports_[i]);
}

void Growth::bury_ports() noexcept {
  Segment& segment = system_.segment_;
  for (const auto& port : taken_ports_) {
    if (port->state() != PortState::failed || port->error().empty()) continue;
    system_.fail("VANITY_E_PORT", port->error(), "");
  }
  taken_ports_.clear();
  for (const uint32_t p : gone_ports_) {
    std::vector<uint32_t> rows;
    for (uint32_t row = 0; row < segment.queues(); ++row) {
      const QueueRecord& queue = segment.queue(row);
      if (queue.port != p) continue;
      rows.push_back(row);
      segment.header().gone_dropped.add(queue.dropped.get() + queue.oversize.get());
      // See lostPackets(): what it could not read, nobody has sent.
      if (queue.direction == 1) segment.header().gone_dropped.add(queue.invalid.get());
    }
    clear_port(p, rows);
    system_.plan_.ports[p] = PortPlan{};
  }
}

// Readers find neither a name nor queues of it.
void Growth::clear_port(uint32_t port, const std::vector<uint32_t>& rows) noexcept {
  Segment& segment = system_.segment_;
  for (const uint32_t row : rows) {
    QueueRecord& queue = segment.queue(row);
    queue.port = kNoPort;
    Segment::clear(queue);
    queue.port = queue.shard = kNoPort;
  }
  Segment::clear(segment.port(port));
}

}  // namespace vanity
