// From a plan to parts: cores, programs, arenas, pools, channels, ways home, ports. All of it
// before a thread runs, so that whatever fails, fails with nothing started.
#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "kernel/building.hpp"
#include "kernel/system.hpp"
#include "platform/clock.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"

namespace vanity {
namespace {

constexpr uint64_t kUnreached = UINT64_MAX;  // pages of a pool that no device reaches
constexpr size_t kDeskSlack = 4096;

// A pool that a device reaches has its pages for itself.
size_t pool_memory(uint32_t buffers, uint32_t buffer_bytes, uint64_t page_bytes) {
  if (page_bytes == kUnreached) return padded(Pool::memory_bytes(buffers, buffer_bytes));
  const uint64_t bytes = Pool::memory_bytes(buffers, buffer_bytes, page_bytes);
  return (bytes + Devices::kPoolAlign - 1) / Devices::kPoolAlign * Devices::kPoolAlign;
}
size_t pool_book(uint32_t buffers, uint32_t buffer_bytes, uint64_t page_bytes) {
  return padded(Pool::book_bytes(buffers, buffer_bytes, page_bytes == kUnreached ? 0 : page_bytes));
}

// Messages are written where they lie, by the program itself; descriptors by the runtime.
bool on_desk(const Plan& plan, const ChannelPlan& channel) {
  return plan.shards[channel.from].keyed && !channel.packets;
}

}  // namespace

System::PoolPlan System::pool_of(const Plan& plan, uint32_t port, uint32_t queue) {
  const PortPlan& of = plan.ports[port];
  const std::string name = of.rx.size() == 1 ? of.name : of.name + "." + std::to_string(queue);
  return {name, of.rx[queue], of.buffers, of.buffer_bytes, port, queue};
}

std::vector<System::PoolPlan> System::plan_pools(
    const Plan& plan, const std::vector<std::unique_ptr<Program>>& programs) {
  std::vector<PoolPlan> pools;
  for (uint32_t p = 0; p < plan.ports.size(); ++p) {
    for (uint32_t q = 0; q < plan.ports[p].rx.size(); ++q) pools.push_back(pool_of(plan, p, q));
  }
  for (uint32_t s = 0; s < plan.shards.size(); ++s) {
    const uint32_t buffers = programs[s]->pool_buffers();
    if (buffers == 0) continue;
    pools.push_back({plan.shards[s].name, s, buffers, programs[s]->pool_buffer_bytes()});
  }
  if (pools.size() > kPoolsMax) {
    throw Error("VANITY_E_LIMIT", std::to_string(pools.size()) + " buffer pools: at most " +
                                      std::to_string(kPoolsMax) + " (one a receive queue)");
  }
  return pools;
}

SegmentShape System::shape() const {
  uint32_t queues = 0;
  for (const PortPlan& port : plan_.ports) {
    queues += static_cast<uint32_t>(port.rx.size() + port.tx.size());
  }
  const auto shards = static_cast<uint32_t>(plan_.shards.size());
  const auto channels = static_cast<uint32_t>(plan_.channels.size());
  const auto pools = static_cast<uint32_t>(pool_plans_.size());
  const auto ports = static_cast<uint32_t>(plan_.ports.size());
  return {shards,
          channels,
          ports,
          queues,
          pools,
          static_cast<uint32_t>(plan_.devices.size()),
          Devices::vectors_of(plan_),
          std::min(limits::kSpareShards, limits::kShards - shards),
          std::min(limits::kSpareChannels, limits::kChannels - channels),
          std::min(limits::kSpareShards + limits::kSpareQueues, kPoolsMax - pools),
          std::min(limits::kSparePorts, limits::kPorts - ports),
          limits::kSpareQueues,
          manifest_room(plan_.manifest.size())};
}

void System::lock_cores() {
  const Topology topology = read_topology();
  std::vector<uint32_t> claimed;
  const auto claim = [&](uint32_t core, const std::string& who) {
    const Cpu* cpu = topology.find(core);
    if (cpu == nullptr || !cpu->usable) {
      std::string usable;
      for (const Cpu& each : topology.cpus) {
        if (each.usable) usable += (usable.empty() ? "" : ", ") + std::to_string(each.id);
      }
      throw Error("VANITY_E_CORE_MISSING",
                  who + ": core " + std::to_string(core) + " is not there for this process",
                  "use one of: " + usable);
    }
    if (std::find(claimed.begin(), claimed.end(), core) != claimed.end()) {
      if (!plan_.oversubscribe) {
        throw Error("VANITY_E_CORE_TWICE",
                    who + ": core " + std::to_string(core) + " has another shard already",
                    "give each its own core, or set [system] oversubscribe = true");
      }
      return;
    }
    claimed.push_back(core);
    locks_.emplace_back(core);
    if (!cpu->isolated) {
      warnings_.push_back({"VANITY_W_CORE_NOT_ISOLATED",
                           who + ": core " + std::to_string(core) +
                               " is not isolated, so other threads may take it away",
                           "boot Linux with isolcpus=" + std::to_string(core) +
                               " nohz_full=" + std::to_string(core)});
    }
  };
  for (const ShardPlan& shard : plan_.shards) {
    if (shard.core != kNone) claim(shard.core, "shard " + shard.name);
  }
  if (plan_.kernel_core != kNone) claim(plan_.kernel_core, "the kernel");
}

// Its arena stays where it is, and so do those who send to it.
void System::move_shard(uint32_t shard, uint32_t core) {
  const uint32_t before = plan_.shards[shard].core;
  if (core == before) return;
  if (shards_[shard]->carried()) {
    throw Error("VANITY_E_CORE_PIN",
                "shard " + plan_.shards[shard].name +
                    ": other shards have the same thread and would move with it",
                "run the system without --sim pool to place its shards");
  }
  const auto taken = [&](uint32_t which) {
    bool by = which == plan_.kernel_core;
    for (uint32_t s = 0; s < plan_.shards.size(); ++s) {
      by |= s != shard && plan_.shards[s].core == which;
    }
    return by;
  };
  std::optional<CoreLock> lock;
  if (core != kNone) {
    if (!taken(core)) {
      lock.emplace(core);
    } else if (!plan_.oversubscribe) {
      throw Error("VANITY_E_CORE_TWICE",
                  "shard " + plan_.shards[shard].name + ": core " + std::to_string(core) +
                      " has another shard already",
                  "give each its own core, or set [system] oversubscribe = true");
    }
  }
  const auto thread = segment_.shard(shard).thread();
  if (core == kNone) {
    unpin_other_thread(thread);
  } else {
    pin_other_thread(thread, core);
  }
  if (lock) locks_.push_back(std::move(*lock));
  if (before != kNone && !taken(before)) {
    const auto old = std::find_if(locks_.begin(), locks_.end(),
                                  [&](const CoreLock& each) { return each.core() == before; });
    if (old != locks_.end()) locks_.erase(old);
  }
  plan_.shards[shard].core = core;
  segment_.shard(shard).core = core;
}

void System::make_programs() {
  for (const ShardPlan& shard : plan_.shards) {
    if (shard.isolated) {
      programs_.push_back(make_remote());
      continue;
    }
    switch (shard.kind) {
      case ProgramKind::builtin:
        programs_.push_back(make_stage(shard));
        break;
      case ProgramKind::native:
        // What is confined shares its static memory with no other shard that runs the same file.
        programs_.push_back(
            shard.keyed ? std::make_unique<Module>(shard.program, shard.options, Module::File::copy)
                        : load_module(shard.program, shard.options));
        break;
      case ProgramKind::typescript:
        programs_.push_back(make_foreign(shard.options));
        break;
    }
  }
}

std::vector<uint32_t> System::holders_of(const Plan& plan, uint32_t shard) {
  std::vector<bool> seen(plan.shards.size(), false);
  std::vector<uint32_t> found;
  std::vector<uint32_t> todo{shard};
  while (!todo.empty()) {
    const uint32_t at = todo.back();
    todo.pop_back();
    for (const ChannelPlan& channel : plan.channels) {
      if (channel.from != at || !channel.packets || seen[channel.to]) continue;
      seen[channel.to] = true;
      todo.push_back(channel.to);
      if (channel.to != shard) found.push_back(channel.to);
    }
  }
  return found;
}

void System::open_devices() {
  interrupts_ = std::make_unique<Interrupts>([this](const std::string& what) {
    warn("VANITY_W_IRQ_STORM", what,
         "acknowledge the device before the line is unmasked: eoi = \"delayed\", and irq_done() "
         "after it");
  });
  devices_ =
      std::make_unique<Devices>(plan_, segment_, *interrupts_,
                                [this](const char* code, const std::string& message,
                                       const std::string& hint) { warn(code, message, hint); });
  // Before the channels, whose consumers then sleep on their doorbell.
  for (const DevicePlan& device : plan_.devices) {
    for (const IrqPlan& irq : device.irqs) shards_[irq.shard]->expect_interrupts();
  }
  for (const PortPlan& port : plan_.ports) {
    if (!port.interrupted() || !port.interrupts) continue;
    for (const uint32_t shard : port.rx) shards_[shard]->expect_interrupts();
  }
}

bool System::reaches(const PortPlan& port, const PoolPlan& pool, DmaAccess* access) const {
  if (!port.reached_from_outside()) return false;
  *access = DmaAccess::read_write;
  if (pool.port != kNone && &plan_.ports[pool.port] == &port) return true;
  *access = DmaAccess::read_only;
  std::vector<uint32_t> holders = holders_of(plan_, pool.owner);
  holders.push_back(pool.owner);
  return std::any_of(port.tx.begin(), port.tx.end(), [&](uint32_t shard) {
    return std::find(holders.begin(), holders.end(), shard) != holders.end();
  });
}

uint64_t System::pool_page_bytes(const PoolPlan& pool) const {
  uint64_t least = kUnreached;
  DmaAccess access;
  for (const PortPlan& port : plan_.ports) {
    if (!reaches(port, pool, &access)) continue;
    const uint64_t bytes = port.device == kNone ? 0 : devices_->page_bytes(port.device);
    if (least == kUnreached || (bytes != 0 && (least == 0 || bytes < least))) least = bytes;
  }
  return least;
}

bool System::is_shared(const PoolPlan& pool) const {
  if (leaves_process(pool)) return true;
  DmaAccess access;
  return std::any_of(plan_.ports.begin(), plan_.ports.end(), [&](const PortPlan& port) {
    return port.driver == "virtio-user" && reaches(port, pool, &access);
  });
}

bool System::is_apart(const PoolPlan& pool) const {
  return is_shared(pool) || keys_.has_pool(static_cast<uint32_t>(&pool - pool_plans_.data()));
}

// Each device reaches the buffers that it fills, and those that may be sent through it.
void System::map_pools() {
  for (const auto& pool : pools_) {
    const uint32_t index = pool->index();
    const PoolPlan& plan = pool_plans_[index];
    const uint64_t page = pool_page_bytes(plan);
    if (page == kUnreached) continue;
    const uint64_t bytes = pool_memory(plan.buffers, plan.buffer_bytes, page);
    const Arena& arena =
        shared_pools_[index] != nullptr ? *shared_pools_[index] : shards_[plan.owner]->arena();
    const uint64_t arena_page = arena.page_bytes();
    for (uint32_t p = 0; p < plan_.ports.size(); ++p) {
      const PortPlan& port = plan_.ports[p];
      DmaAccess access;
      if (!reaches(port, plan, &access)) continue;
      if (port.device == kNone) {
        UserHost& host = *user_hosts_[p];
        if (host.regions.size() == vhost::kSharedPoolsMax) {
          throw Error("VANITY_E_LIMIT",
                      "port " + port.name + ": packets of more than " +
                          std::to_string(vhost::kSharedPoolsMax) + " pools may go out by it",
                      "a vhost-user peer maps 8 regions of memory: send from fewer receive queues");
        }
        host.buffers.add(*pool, &pool_addresses_[index], 63);
        host.regions.push_back({pool_addresses_[index], arena.bytes(), arena.fd()});
        continue;
      }
      devices_->reach(port.device, *pool, bytes, std::min(arena_page, Devices::kPoolAlign), access);
    }
  }
  devices_->grant(shards_);
  devices_->watch();
}

void System::make_arenas() {
  const Topology topology = read_topology();
  std::vector<size_t> bytes(plan_.shards.size(),
                            padded(sizeof(ArenaMark)) + padded(sizeof(ShardLine)) + 4096);
  for (uint32_t s = 0; s < plan_.shards.size(); ++s) {
    if (plan_.shards[s].keyed) continue;  // see confine()
    bytes[s] += plan_.shards[s].isolated ? process_bytes(s) : plan_.shards[s].arena_bytes;
  }
  for (const ChannelPlan& channel : plan_.channels) {
    if (ring_shard(channel) == kNone || on_desk(plan_, channel)) continue;
    bytes[ring_shard(channel)] += padded(Channel::bytes_needed(spec_of(channel)));
  }
  for (const PoolPlan& pool : pool_plans_) {
    const uint64_t page = pool_page_bytes(pool);
    bytes[pool.owner] += pool_book(pool.buffers, pool.buffer_bytes, page);
    if (!is_apart(pool)) {
      bytes[pool.owner] += pool_memory(pool.buffers, pool.buffer_bytes, page);
      if (page != kUnreached) bytes[pool.owner] += Devices::kPoolAlign;
    }
    for (const uint32_t holder : holders_of(plan_, pool.owner)) {
      bytes[plan_.shards[holder].isolated ? holder : pool.owner] +=
          padded(Channel::bytes_needed(return_spec(pool.buffers)));
    }
  }
  bool slow_pages = false;
  bool unlocked = false;
  std::string why;
  for (uint32_t s = 0; s < plan_.shards.size(); ++s) {
    const ShardPlan& shard = plan_.shards[s];
    const Cpu* cpu = shard.core == kNone ? nullptr : topology.find(shard.core);
    const uint32_t node = cpu == nullptr ? kAnyNode : cpu->node;
    const bool small = shard.isolated && plan_.pages == PageChoice::transparent;  // are private
    auto arena = std::make_unique<Arena>(bytes[s], node, small ? PageChoice::small : plan_.pages,
                                         shard.isolated ? Sharing::sealed : Sharing::none);
    if (arena->kind() == PageKind::transparent || arena->kind() == PageKind::small) {
      slow_pages = true;
      why = arena->why();
    }
    unlocked |= !arena->locked();
    shards_[s]->set_arena(std::move(arena), segment_.header().started_realtime_ns, make_line(s));
    segment_.shard(s).numa_node = cpu == nullptr ? 0 : cpu->node;
  }
  if (slow_pages && plan_.pages == PageChoice::automatic) {
    warnings_.push_back(
        {"VANITY_W_HUGE_PAGES", why, "reserve some: echo 512 > /proc/sys/vm/nr_hugepages"});
  }
  if (unlocked) {
    warnings_.push_back({"VANITY_W_NOT_LOCKED",
                         "memory could not be locked, so it may be paged out",
                         "raise the limit: ulimit -l unlimited"});
  }
}

// Apart from what is the runtime's in its arena: what its program allocates, and writes in place.
void System::confine() {
  for (uint32_t s = 0; s < plan_.shards.size(); ++s) {
    if (!plan_.shards[s].keyed) continue;
    size_t bytes = plan_.shards[s].arena_bytes + kDeskSlack;
    for (const ChannelPlan& channel : plan_.channels) {
      if (channel.from == s && on_desk(plan_, channel))
        bytes += padded(Channel::bytes_needed(spec_of(channel)));
    }
    const uint32_t node =
        plan_.shards[s].core == kNone ? kAnyNode : uint32_t{segment_.shard(s).numa_node};
    shards_[s]->confine(keys_.of_shard(s), keys_.all_of(s),
                        std::make_unique<Arena>(bytes, node, plan_.pages));
  }
}

// In the order of the manifest, one after the other. JavaScript has threads of its own.
void System::make_carriers() {
  for (uint32_t t = 0; t < plan_.threads; ++t) carriers_.push_back(std::make_unique<Carrier>(t));
  uint32_t next = 0;
  for (const auto& shard : shards_) {
    if (plan_.threads == 0 || shard->plan().kind == ProgramKind::typescript) continue;
    shard->ride(*carriers_[next++ % plan_.threads]);
  }
}

void System::make_pools() {
  const Topology topology = read_topology();
  for (uint32_t i = 0; i < pool_plans_.size(); ++i) {
    const PoolPlan& plan = pool_plans_[i];
    Shard& owner = *shards_[plan.owner];
    PoolRecord& record = segment_.pool(i);
    copy_text(record.name, sizeof(record.name), plan.name);
    record.shard = plan.owner;
    record.buffers = plan.buffers;
    record.buffer_bytes = plan.buffer_bytes;
    const uint64_t page = pool_page_bytes(plan);
    const size_t bytes = pool_memory(plan.buffers, plan.buffer_bytes, page);
    pool_addresses_.push_back(vhost::pool_address(i));
    shared_pools_.push_back(nullptr);
    void* memory;
    if (is_apart(plan)) {
      const Cpu* cpu = owner.plan().core == kNone ? nullptr : topology.find(owner.plan().core);
      shared_pools_[i] =
          std::make_unique<Arena>(bytes, cpu == nullptr ? kAnyNode : cpu->node, plan_.pages,
                                  is_shared(plan) ? Sharing::sealed : Sharing::none);
      keys_.protect_pool(i, *shared_pools_[i]);
      memory = shared_pools_[i]->allocate(bytes, page == kUnreached ? kAlign : Devices::kPoolAlign);
    } else {
      memory = owner.arena_allocate(bytes, page == kUnreached ? kAlign : Devices::kPoolAlign);
    }
    record.stride = Pool::stride_of(plan.buffer_bytes);
    record.arena_offset.set(is_apart(plan) ? UINT64_MAX : owner.arena().offset_of(memory));
    void* book = owner.arena_allocate(pool_book(plan.buffers, plan.buffer_bytes, page), kAlign);
    pools_.push_back(std::make_unique<Pool>(i, plan.buffers, plan.buffer_bytes, memory, &record,
                                            page == kUnreached ? 0 : page, book,
                                            make_references(plan)));
    pool_table_->add(*pools_.back());
    owner.owns_pool(pools_.back().get());
    if (plan.port == kNone) owner.set_own_pool(pools_.back().get());
  }
}

void System::make_channels() {
  std::vector<uint32_t> inputs(plan_.shards.size(), 0);
  for (const ChannelPlan& channel : plan_.channels) ++inputs[channel.to];
  std::vector<uint32_t> placed(plan_.shards.size(), 0);
  for (uint32_t c = 0; c < plan_.channels.size(); ++c) {
    const ChannelPlan& plan = plan_.channels[c];
    const ChannelSpec spec = spec_of(plan);
    Shard& from = *shards_[plan.from];
    Shard& to = *shards_[plan.to];
    const size_t bytes = Channel::bytes_needed(spec);
    const uint32_t owner = on_desk(plan_, plan) ? kNone : ring_shard(plan);
    Arena& arena = on_desk(plan_, plan) ? from.desk()
                   : owner == kNone     ? make_shared(bytes)
                                        : shards_[owner]->arena();
    channels_.push_back(Channel::create(arena.allocate(bytes, kAlign), spec));
    ChannelRecord& record = segment_.channel(c);
    describe(record, plan);
    record.arena = owner;
    record.arena_offset.set(owner == kNone ? UINT64_MAX
                                           : arena.offset_of(channels_.back().memory()));
    const uint32_t place = placed[plan.to]++;
    Bell bell;
    if (to.needs_bell(inputs[plan.to])) {
      bell = Bell(&to.line().doorbell, place, inputs[plan.to]);
    }
    to.add_input(plan, c, &record, channels_.back());
    from.add_output(plan, c, &record, channels_.back(), bell, to.line().asleep);
  }
}

void System::make_returns() {
  for (const auto& pool : pools_) {
    Shard& owner = *shards_[pool_plans_[pool->index()].owner];
    const ChannelSpec spec = return_spec(pool->buffers());
    for (const uint32_t holder : holders_of(plan_, owner.index())) {
      Shard& place = plan_.shards[holder].isolated ? *shards_[holder] : owner;
      const Channel ring =
          Channel::create(place.arena_allocate(Channel::bytes_needed(spec), kAlign), spec);
      shards_[holder]->add_home(pool->index(), ring);
      owner.add_returns(pool.get(), ring);
      ways_.push_back({pool->index(), owner.index(), holder, ring, nullptr});
    }
  }
}

void System::make_ports() {
  uint32_t row = 0;
  for (uint32_t p = 0; p < plan_.ports.size(); ++p) {
    const PortPlan& plan = plan_.ports[p];
    user_hosts_.push_back(plan.on_socket() ? std::make_unique<UserHost>() : nullptr);
    std::vector<uint32_t> rows(plan.rx.size() + plan.tx.size());
    for (uint32_t& each : rows) each = row++;
    ports_.push_back(make_port(p, plan, rows));
    if (plan.device != kNone) {
      devices_->serve(plan.device, *ports_[p], segment_.port(p), shards_);
    }
    if (plan.on_socket()) devices_->serve_socket(p, *ports_[p], plan, shards_);
    for (uint32_t q = 0; q < plan.tx.size(); ++q)
      shards_[plan.tx[q]]->add_tx(&ports_[p]->tx(q), plan.overflow);
  }
  for (const auto& pool : pools_) {
    const PoolPlan& plan = pool_plans_[pool->index()];
    if (plan.port == kNone) continue;
    shards_[plan.owner]->add_rx(&ports_[plan.port]->rx(plan.queue), pool.get());
  }
}

std::unique_ptr<Port> System::make_port(uint32_t p, const PortPlan& plan,
                                        const std::vector<uint32_t>& rows) {
  PortRecord& record = segment_.port(p);
  copy_text(record.name, sizeof(record.name), plan.name);
  const DevicePlan* const device = plan.device == kNone ? nullptr : &plan_.devices[plan.device];
  copy_text(record.driver, sizeof(record.driver), device == nullptr ? plan.driver : device->driver);
  copy_text(record.target, sizeof(record.target),
            device != nullptr         ? device->address
            : !plan.socket.empty()    ? plan.socket
            : !plan.interface.empty() ? plan.interface
            : !plan.file.empty()      ? plan.file
                                      : plan.write);
  record.queues = static_cast<uint32_t>(rows.size());
  PortRecords records{&record, {}, {}};
  auto row = rows.begin();
  const auto add_queues = [&](const std::vector<uint32_t>& shards, uint32_t direction,
                              std::vector<QueueRecord*>& into) {
    for (uint32_t q = 0; q < shards.size(); ++q) {
      QueueRecord& queue = segment_.queue(*row++);
      queue.port = p;
      queue.queue = q;
      queue.direction = direction;
      queue.shard = shards[q];
      into.push_back(&queue);
    }
  };
  add_queues(plan.rx, 0, records.rx);
  add_queues(plan.tx, 1, records.tx);

  PortOptions options;
  options.name = plan.name;
  options.driver = plan.driver;
  options.index = static_cast<uint16_t>(p);
  options.rx_queues = static_cast<uint32_t>(plan.rx.size());
  options.tx_queues = static_cast<uint32_t>(plan.tx.size());
  options.file = plan.file;
  options.write = plan.write;
  options.replay = plan.replay;
  options.interface = plan.interface;
  options.fanout = plan.fanout;
  options.promiscuous = plan.promiscuous;
  options.buffer_bytes = plan.buffer_bytes;
  if (plan.on_socket()) {
    options.user = user_hosts_[p].get();
    options.socket = plan.socket;
    options.server = plan.server;
    options.peer_uid = plan.peer_uid;
  }
  if (plan.device != kNone) {
    options.driver = plan_.devices[plan.device].driver;
    options.nic = devices_->nic(plan.device);
  }
  if (plan.interrupted()) {
    options.ring = plan.ring;
    options.poll_ns_max = plan.poll_ns_max;
    options.interrupts = plan.interrupts;
    options.packed = plan.packed;
    options.mac = plan.mac;
  }
  return create_port(options, records);
}

// Kahn's order over the channels; shards on a cycle, and behind one, come last in manifest order.
void System::order_shards() {
  const auto count = static_cast<uint32_t>(plan_.shards.size());
  order_.clear();
  upstream_.assign(count, {});
  for (const ChannelPlan& channel : plan_.channels) {
    if (channel.to != kNone) upstream_[channel.to].push_back(channel.from);
  }
  std::vector<bool> placed(count, false);
  for (bool found = true; found;) {
    found = false;
    for (uint32_t s = 0; s < count; ++s) {
      if (placed[s]) continue;
      const bool ready = std::all_of(upstream_[s].begin(), upstream_[s].end(),
                                     [&](uint32_t from) { return placed[from]; });
      if (!ready) continue;
      placed[s] = true;
      found = true;
      order_.push_back(s);
    }
  }
  for (uint32_t s = 0; s < count; ++s) {
    if (!placed[s]) order_.push_back(s);
  }
}

// Two shards are on one cycle when each reaches the other.
void System::find_loops() {
  const auto count = static_cast<uint32_t>(plan_.shards.size());
  std::vector<std::vector<bool>> behind(count, std::vector<bool>(count, false));
  for (uint32_t s = 0; s < count; ++s) {
    std::vector<uint32_t> todo{s};
    while (!todo.empty()) {
      const uint32_t at = todo.back();
      todo.pop_back();
      for (const uint32_t from : upstream_[at]) {
        if (behind[s][from]) continue;
        behind[s][from] = true;
        todo.push_back(from);
      }
    }
  }
  loop_of_.clear();
  for (uint32_t s = 0; s < count; ++s) {
    uint32_t lowest = 0;
    while (lowest < s && !(behind[s][lowest] && behind[lowest][s])) ++lowest;
    loop_of_.push_back(lowest);
  }
}

}  // namespace vanity
