#include "kernel/devices.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "platform/clock.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

// A shard that has not let go by then is stuck; Linux waits for the device.
constexpr uint64_t kLetGoNs = 1'000'000'000;
constexpr unsigned kNicBits = 64;

void copy_text(char* to, size_t bytes, const std::string& from) {
  std::strncpy(to, from.c_str(), bytes - 1);
}

BackendChoice backend_of(const DevicePlan& plan) {
  if (plan.backend == "group") return BackendChoice::group;
  if (plan.backend == "cdev") return BackendChoice::cdev;
  return BackendChoice::automatic;
}

IrqKind kind_of(IrqTrigger trigger, const VfioDevice& device) {
  switch (trigger) {
    case IrqTrigger::level:
      return IrqKind::intx;
    case IrqTrigger::msi:
      return IrqKind::msi;
    case IrqTrigger::msix:
      return IrqKind::msix;
    case IrqTrigger::edge:
      break;
  }
  return device.irq_info(IrqKind::msix).count != 0 ? IrqKind::msix : IrqKind::msi;
}

IrqTrigger trigger_of_kind(IrqKind kind) {
  return kind == IrqKind::intx  ? IrqTrigger::level
         : kind == IrqKind::msi ? IrqTrigger::msi
                                : IrqTrigger::msix;
}

// Whatever both sides write has a line of the cache for itself.
constexpr size_t kLine = 64;
constexpr size_t whole_lines(size_t bytes) {
  return (bytes + kLine - 1) / kLine * kLine;
}
template <class T>
constexpr size_t kCommon = whole_lines(sizeof(T));

template <class T>
void* in_common(Shard& shard) {
  return shard.arena_allocate(kCommon<T>, kLine);
}

}  // namespace

uint32_t Devices::vectors_of(const Plan& plan) {
  size_t count = 0;
  for (const DevicePlan& device : plan.devices) count += device.irqs.size();
  // A vector for each receive queue, and the port's own.
  for (const PortPlan& port : plan.ports) count += port.interrupted() ? port.rx.size() + 1 : 0;
  return static_cast<uint32_t>(count);
}

Devices::Devices(const Plan& plan, Segment& segment, Interrupts& interrupts, Warn warn)
    : segment_(segment), interrupts_(interrupts), warn_(std::move(warn)) {
  for (uint32_t d = 0; d < plan.devices.size(); ++d) {
    const DevicePlan& wanted = plan.devices[d];
    auto entry = std::make_unique<Entry>();
    entry->plan = &wanted;
    entry->record = &segment.device(d);
    DeviceRecord& record = *entry->record;
    copy_text(record.name, sizeof(record.name), wanted.name);
    copy_text(record.address, sizeof(record.address), wanted.address);
    copy_text(record.driver, sizeof(record.driver), wanted.driver);
    const PciAddress address = PciAddress::parse(wanted.address);
    // What Linux keeps in one group has one owner, and so one address space.
    const int group = Sysfs().iommu_group(address);
    std::shared_ptr<DmaSpace> space;
    for (const auto& other : entries_) {
      if (group >= 0 && Sysfs().iommu_group(other->device->address()) == group)
        space = other->device->space();
    }
    if (space == nullptr)
      space = DmaSpace::open(address, backend_of(wanted), wanted.unsafe_noiommu);
    if (wanted.backend != "auto" && wanted.backend != space->backend()) {
      throw Error("VANITY_E_DEVICE_BACKEND",
                  "device " + wanted.name +
                      ": it shares an IOMMU group with a device that is "
                      "opened by " +
                      space->backend() + ", and asks for " + wanted.backend,
                  "give all devices of the group the same backend");
    }
    copy_text(record.backend, sizeof(record.backend), space->backend());
    entry->device = std::make_unique<VfioDevice>(address, std::move(space));
    for (uint32_t p = 0; p < plan.ports.size(); ++p) {
      if (plan.ports[p].device != d) continue;
      entry->port = p;
      entry->port_plan = &plan.ports[p];
    }
    if (entry->port != kNone)
      entry->host = std::make_unique<NicHost>(NicHost{*entry->device, BufferMap()});
    record.state.store(static_cast<uint32_t>(DeviceState::granted), std::memory_order_relaxed);
    entries_.push_back(std::move(entry));
  }
}

Devices::~Devices() {
  quiesce();
}

uint32_t Devices::owner_of(const Entry& entry) const {
  return static_cast<uint32_t>(entry.record - &segment_.device(0)) + 1;  // 0 is the kernel
}

uint64_t Devices::page_bytes(uint32_t device) const {
  const uint64_t bytes = entries_[device]->device->space()->contiguous_bytes();
  return bytes == UINT64_MAX ? 0 : bytes;
}

void Devices::reach(uint32_t device, const Pool& pool, uint64_t bytes, uint64_t page_bytes,
                    DmaAccess access) {
  Entry& entry = *entries_[device];
  const DmaView view = entry.device->dma(pool.base(), bytes, page_bytes, kNicBits, access).view();
  entry.host->buffers.add(pool, view.pages, view.shift);
}

IrqLine* Devices::route(Entry& entry, Irq& irq, uint32_t vector, IrqTrigger trigger, Eoi eoi,
                        Shard* shard) {
  VectorRecord& record = segment_.vector(vectors_++);
  copy_text(record.name, sizeof(record.name), entry.plan->name + "." + std::to_string(vector));
  record.device = owner_of(entry) - 1;
  record.shard = shard == nullptr ? kNone : shard->index();
  record.vector = vector;
  record.trigger = static_cast<uint32_t>(trigger);
  record.eoi = static_cast<uint32_t>(eoi);
  ++entry.record->vectors;
  if (shard == nullptr) {
    Port* const port = entry.served;
    interrupts_.add(irq.fd(vector), owner_of(entry), [port, &record](uint64_t times) {
      record.raised.add(times);
      port->interrupt();
      record.taken.add(times);
    });
    return nullptr;
  }
  VectorSpec spec;
  spec.fd = irq.fd(vector);
  spec.unmask_fd = trigger == IrqTrigger::level ? irq.unmask_fd(vector) : -1;
  spec.record = &record;
  spec.shard = &shard->line();
  spec.shard_name = shard->plan().name;
  spec.owner = owner_of(entry);
  if (shard->plan().isolated) spec.words = new (in_common<IrqWords>(*shard)) IrqWords;
  return &interrupts_.add(spec);
}

void Devices::serve(uint32_t device, Port& port, PortRecord& record, const Shards& shards) {
  Entry& entry = *entries_[device];
  entry.served = &port;
  entry.port_record = &record;
  const std::vector<uint32_t>& rx = entry.port_plan->rx;
  for (const auto* queues : {&rx, &entry.port_plan->tx}) {
    for (const uint32_t shard : *queues) entry.shards.push_back(shards[shard].get());
  }
  const PortIrqs irqs = port.irqs();
  if (irqs.queue_of_vector.empty()) return;
  Irq& irq = entry.device->arm(irqs.kind, static_cast<uint32_t>(irqs.queue_of_vector.size()));
  const Eoi eoi = irqs.kind == IrqKind::intx ? Eoi::delayed : Eoi::immediate;
  for (uint32_t v = 0; v < irqs.queue_of_vector.size(); ++v) {
    const uint32_t queue = irqs.queue_of_vector[v];
    Shard* const shard = queue == PortIrqs::kPortVector ? nullptr : shards[rx.at(queue)].get();
    IrqLine* const line = route(entry, irq, v, trigger_of_kind(irqs.kind), eoi, shard);
    if (line != nullptr) port.rx(queue).set_line(line);
  }
}

uint32_t Devices::owner_of_socket(uint32_t port) const {
  return static_cast<uint32_t>(entries_.size()) + port + 1;
}

void Devices::serve_socket(uint32_t port, Port& served, const PortPlan& plan,
                           const Shards& shards) {
  const uint32_t owner = owner_of_socket(port);
  sockets_.push_back(port);
  const PortIrqs irqs = served.irqs();
  for (uint32_t v = 0; v < irqs.fds.size(); ++v) {
    const uint32_t queue = irqs.queue_of_vector[v];
    Shard& shard = *shards[plan.rx.at(queue)];
    VectorRecord& record = segment_.vector(vectors_++);
    copy_text(record.name, sizeof(record.name), plan.name + "." + std::to_string(v));
    record.device = kNone;
    record.shard = shard.index();
    record.vector = v;
    record.trigger = static_cast<uint32_t>(IrqTrigger::edge);
    record.eoi = static_cast<uint32_t>(Eoi::immediate);
    VectorSpec spec;
    spec.fd = irqs.fds[v];
    spec.record = &record;
    spec.shard = &shard.line();
    spec.shard_name = shard.plan().name;
    spec.owner = owner;
    served.rx(queue).set_line(&interrupts_.add(spec));
  }
  if (served.control_fd() >= 0)
    interrupts_.add_readable(served.control_fd(), owner, [&served] { served.interrupt(); });
}

vanity_device& Devices::granted(Entry& entry, Shard& shard) {
  GrantWords* words = nullptr;
  if (shard.plan().isolated && shard.find_device(entry.plan->name) == nullptr)
    words = new (in_common<GrantWords>(shard)) GrantWords;
  vanity_device& grant = shard.add_device(entry.plan->name, entry.record, words);
  if (std::find(entry.grants.begin(), entry.grants.end(), &grant) == entry.grants.end()) {
    entry.grants.push_back(&grant);
    entry.shards.push_back(&shard);
  }
  return grant;
}

void Devices::grant_registers(Entry& entry, const Shards& shards) {
  for (const MmioPlan& plan : entry.plan->mmio) {
    const MmioView view = entry.device->mmio(plan.bar, plan.offset, plan.bytes);
    granted(entry, *shards[plan.shard]).add(vanity_device::Registers{plan.bar, plan.offset, view});
  }
}

void Devices::grant_memory(Entry& entry, const Shards& shards) {
  for (const DmaPlan& plan : entry.plan->dma) {
    const Sharing sharing = shards[plan.shard]->plan().isolated ? Sharing::sealed : Sharing::none;
    const DmaRegion& region = entry.device->dma(plan.bytes, plan.bits, sharing);
    const DmaView view = region.view();
    granted(entry, *shards[plan.shard])
        .add(vanity_device::Memory{
            plan.name, {region.data(), plan.bytes, region.iova(), view.pages, view.shift, 0}});
    entry.masters = true;
  }
}

void Devices::grant_vectors(Entry& entry, const Shards& shards) {
  const std::vector<IrqPlan>& plan = entry.plan->irqs;
  if (plan.empty()) return;
  const IrqKind kind = kind_of(plan.front().trigger, *entry.device);
  uint32_t count = 0;
  for (const IrqPlan& each : plan) count = std::max(count, each.vector + 1);
  Irq& irq = entry.device->arm(kind, count);
  entry.masters |= kind != IrqKind::intx;  // a message is a write to memory
  for (const IrqPlan& each : plan) {
    Shard& shard = *shards[each.shard];
    IrqLine* const line = route(entry, irq, each.vector, trigger_of_kind(kind), each.eoi, &shard);
    granted(entry, shard).add(vanity_device::Vector{each.vector, line});
  }
}

void Devices::grant(const Shards& shards) {
  for (const auto& entry : entries_) {
    if (entry->port != kNone) continue;
    grant_registers(*entry, shards);
    grant_memory(*entry, shards);
    grant_vectors(*entry, shards);
    if (entry->grants.size() == 1) entry->grants.front()->take_alone();
  }
}

size_t Devices::process_bytes(const Plan& plan, uint32_t shard) {
  size_t bytes = 0;
  for (const DevicePlan& device : plan.devices) {
    bool any = false;
    for (const MmioPlan& each : device.mmio) any |= each.shard == shard;
    for (const DmaPlan& each : device.dma) any |= each.shard == shard;
    for (const IrqPlan& each : device.irqs) {
      if (each.shard != shard) continue;
      any = true;
      bytes += kCommon<IrqWords>;
    }
    if (any) bytes += kCommon<GrantWords>;
  }
  return bytes;
}

std::vector<Devices::Granted> Devices::granted(uint32_t shard) const {
  std::vector<Granted> all;
  for (const auto& entry : entries_) {
    for (size_t i = 0; i < entry->grants.size(); ++i) {
      if (entry->shards[i]->index() == shard)
        all.push_back({entry->grants[i], entry->device.get()});
    }
  }
  return all;
}

void Devices::watch(Entry& entry, IrqKind kind, Counter& counter, bool lost) {
  if (entry.device->irq_info(kind).count == 0) return;  // conventional PCI has no error vector
  const Irq& irq = entry.device->arm(kind);
  interrupts_.add(irq.fd(0), owner_of(entry), [this, &entry, &counter, lost](uint64_t times) {
    counter.add(times);
    go(entry, lost);
  });
}

void Devices::watch() {
  for (const auto& entry : entries_) {
    watch(*entry, IrqKind::request, entry->record->requests, false);
    watch(*entry, IrqKind::error, entry->record->errors, true);
  }
  segment_.set_vectors(vectors_);
}

void Devices::start() {
  for (const auto& entry : entries_) {
    if (entry->masters && !entry->going && !entry->halted) entry->device->bus_master(true);
  }
}

void Devices::nudge(const Entry& entry) noexcept {
  for (Shard* const shard : entry.shards) shard->control(shard->control());
}

void Devices::go(Entry& entry, bool lost) noexcept {
  if (entry.going) return;
  entry.going = true;
  entry.going_since_ns = monotonic_ns();
  const auto state = lost ? DeviceState::lost : DeviceState::wanted;
  entry.record->state.store(static_cast<uint32_t>(state), std::memory_order_relaxed);
  const std::string who = "device " + entry.plan->name + " (" + entry.plan->address + ")";
  if (lost) {
    warn_("VANITY_W_DEVICE_LOST", who + " failed, or is gone; it is stopped and given up",
          "look at what the kernel says: dmesg | grep -iE 'vfio|pcieport|AER'");
  } else {
    warn_("VANITY_W_DEVICE_WANTED", who + ": Linux wants it back; it is stopped and given back",
          "to have it again, bind it and start the system anew");
  }
  if (entry.served != nullptr) {
    if (entry.served->state() == PortState::up) entry.port_record->downs.add(1);
    entry.served->retire();
    entry.port_record->state.store(static_cast<uint32_t>(PortState::down),
                                   std::memory_order_relaxed);
  }
  for (vanity_device* const grant : entry.grants) grant->want_back(lost);
  nudge(entry);
}

bool Devices::let_go(const Entry& entry) const noexcept {
  if (entry.served != nullptr && entry.served->retired()) return true;
  bool all = entry.served == nullptr;
  for (const vanity_device* const grant : entry.grants) all &= grant->let_go();
  if (all) return true;
  // Who has ended, or has not begun, has nothing in hand.
  return std::all_of(entry.shards.begin(), entry.shards.end(), [](const Shard* shard) {
    const ShardState state = shard->state();
    return state == ShardState::stopped || state == ShardState::failed;
  });
}

void Devices::turn(uint64_t now_ns) noexcept {
  for (const auto& entry : entries_) {
    relay(*entry);
    if (entry->closed) continue;
    if (!entry->going) {
      if (is_gone(*entry)) go(*entry, true);
      continue;
    }
    if (!let_go(*entry) && now_ns - entry->going_since_ns < kLetGoNs) continue;
    give_back(*entry);
  }
}

bool Devices::is_gone(const Entry& entry) const noexcept {
  return entry.device->gone() || std::any_of(entry.grants.begin(), entry.grants.end(),
                                             [](const auto* grant) { return grant->gone(); });
}

void Devices::relay(Entry& entry) noexcept {
  for (const vanity_device* const grant : entry.grants) {
    const Relay relay = grant->relay();
    uint32_t wish;
    if (!relay.wish(&wish)) continue;
    if (!entry.closed) Relay::to_run(wish) ? resume(entry) : halt(entry);
    // One that cannot be stopped is given up, and nobody begins before it is closed.
    if (Relay::to_run(wish) || entry.halted || entry.closed) relay.answer(wish);
  }
}

void Devices::halt(Entry& entry) noexcept {
  try {
    entry.device->halt();
    entry.halted = true;
  } catch (const std::exception&) {
    go(entry, true);
  }
  interrupts_.settle(owner_of(entry));
}

void Devices::resume(Entry& entry) noexcept {
  if (!std::exchange(entry.halted, false) || entry.going) return;
  try {
    entry.device->resume(entry.masters);
  } catch (const std::exception&) {
    go(entry, true);
  }
}

void Devices::give_back(Entry& entry) noexcept {
  entry.closed = true;
  // Linux has it when nobody maps it: a process that does not let go is ended, and the next one of
  // the shard is not given the device.
  for (size_t i = 0; i < entry.grants.size(); ++i) {
    if (entry.shards[i]->plan().isolated)
      entry.shards[i]->withdraw(entry.device->fd(), !entry.grants[i]->let_go());
  }
  interrupts_.remove(owner_of(entry));
  entry.device->give_back();
  if (entry.served != nullptr) {
    entry.served->release();
    // Once more: its link may have had the last word.
    entry.port_record->state.store(static_cast<uint32_t>(PortState::down),
                                   std::memory_order_relaxed);
  }
  for (vanity_device* const grant : entry.grants) grant->give_back();
  entry.record->state.store(static_cast<uint32_t>(DeviceState::returned),
                            std::memory_order_relaxed);
  nudge(entry);
}

bool Devices::serves(uint32_t port) const noexcept {
  return std::none_of(entries_.begin(), entries_.end(),
                      [&](const auto& entry) { return entry->port == port && entry->closed; });
}

void Devices::quiesce() noexcept {
  for (const uint32_t port : sockets_) interrupts_.remove(owner_of_socket(port));
  for (const auto& entry : entries_) {
    if (entry->closed) continue;
    interrupts_.remove(owner_of(*entry));
    entry->device->quiesce();
    entry->closed = true;
    // Linux has it when this process closes it, which is all that is left to do.
    entry->record->state.store(static_cast<uint32_t>(DeviceState::returned),
                               std::memory_order_relaxed);
  }
}

}  // namespace vanity
