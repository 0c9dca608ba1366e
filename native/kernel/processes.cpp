// Shards that are processes of their own: which memory they share with whom, and what each is
// given. It has its own rings, its line and those of its consumers, the buffers that may come to
// it, the segment, and, of devices that it was granted, their memory and their registers. Of other
// shards' arenas it has nothing.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "kernel/building.hpp"
#include "kernel/system.hpp"
#include "platform/error.hpp"
#include "platform/topology.hpp"
#include "shard/isolated.hpp"

namespace vanity {
namespace {

// In the place of a program that another process runs. It can always be started anew.
class Remote : public Program {
 public:
  uint32_t poll(Shard&) noexcept override { return 0; }
  bool renewable() const override { return true; }
};

// What is shared with anybody, found by an address in it.
class Regions {
 public:
  void add(const void* base, uint64_t bytes, int fd) {
    all_.push_back({static_cast<const std::byte*>(base), bytes, fd});
  }
  void add(const Arena& arena) { add(arena.base(), arena.bytes(), arena.fd()); }
  // Passes the block that it lies in, once.
  Spot place(const void* at, Outfit& outfit, std::vector<int>& open) {
    const auto* const address = static_cast<const std::byte*>(at);
    const auto found = std::find_if(all_.begin(), all_.end(), [address](const Region& each) {
      return address >= each.base && address < each.base + each.bytes;
    });
    if (found == all_.end())
      throw Error("VANITY_E_INTERNAL", "memory that no process can be given");
    auto block = static_cast<uint32_t>(std::find(open.begin() + 1, open.end(), found->fd) -
                                       open.begin() - 1);
    if (block == outfit.blocks.size()) {
      open.push_back(found->fd);
      outfit.blocks.push_back(found->bytes);
    }
    return {block, static_cast<uint64_t>(address - found->base)};
  }

 private:
  struct Region {
    const std::byte* base;
    uint64_t bytes;
    int fd;
  };
  std::vector<Region> all_;
};

Fd file_of(const std::string& bytes) {
  Fd fd(memfd_create("vanity-outfit", MFD_CLOEXEC));
  if (!fd || write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    throw system_error("VANITY_E_PROCESS", "cannot write down what a process is given", errno);
  }
  return fd;
}

uint32_t pass_file(int fd, std::vector<int>& files) {
  files.push_back(fd);
  return static_cast<uint32_t>(files.size() - 1);
}

template <class Place>
OutfitDevice pass_device(const Devices::Granted& granted, const Place& place,
                         std::vector<int>& files) {
  const vanity_device& grant = *granted.grant;
  OutfitDevice device;
  device.name = grant.name();
  device.file = pass_file(granted.device->fd(), files);
  device.record = place(grant.record());
  device.words = place(grant.words());
  for (const vanity_device::Registers& each : grant.registers()) {
    device.registers.push_back(
        {each.bar, each.offset, each.view.bytes(), granted.device->bar_at(each.bar) + each.offset});
  }
  for (const vanity_device::Memory& each : grant.memory()) {
    const vanity_dma& where = each.where;
    // One address for each 2^shift bytes; behind an IOMMU that is one.
    const uint64_t pages = ((where.bytes - 1) >> where.page_shift) + 1;
    device.memory.push_back({each.name,
                             place(where.data),
                             where.bytes,
                             {where.pages, where.pages + pages},
                             where.page_shift});
  }
  for (const vanity_device::Vector& each : grant.vectors()) {
    const int unmask = each.line->unmask_fd();
    device.vectors.push_back({each.number, place(each.line->record()), place(each.line->words()),
                              unmask < 0 ? kNone : pass_file(unmask, files)});
  }
  return device;
}

}  // namespace

std::unique_ptr<Program> System::make_remote() const {
  return std::make_unique<Remote>();
}

Arena& System::make_shared(size_t bytes) {
  shared_.push_back(std::make_unique<Arena>(bytes, kAnyNode, PageChoice::small, Sharing::sealed));
  return *shared_.back();
}

uint32_t System::ring_shard(const ChannelPlan& channel) const {
  if (!plan_.shards[channel.from].isolated) return channel.to;
  return plan_.shards[channel.to].isolated ? kNone : channel.from;
}

void* System::make_line(uint32_t shard) {
  const bool reached =
      std::any_of(plan_.channels.begin(), plan_.channels.end(), [&](const ChannelPlan& channel) {
        return channel.to == shard && plan_.shards[channel.from].isolated;
      });
  if (!reached && !plan_.shards[shard].isolated) return nullptr;
  return make_shared(sizeof(ShardLine)).allocate(sizeof(ShardLine), alignof(ShardLine));
}

bool System::leaves_process(const PoolPlan& pool) const {
  const std::vector<uint32_t> holders = holders_of(plan_, pool.owner);
  return std::any_of(holders.begin(), holders.end(),
                     [this](uint32_t holder) { return plan_.shards[holder].isolated; });
}

uint32_t* System::make_references(const PoolPlan& pool) {
  if (!leaves_process(pool)) return nullptr;
  const size_t bytes = Pool::reference_bytes(pool.buffers);
  return static_cast<uint32_t*>(make_shared(bytes).allocate(bytes, kAlign));
}

size_t System::process_bytes(uint32_t shard) const {
  size_t bytes = padded(sizeof(ProcessReport)) + padded(sizeof(Journal)) +
                 padded(Devices::process_bytes(plan_, shard));
  for (const PoolPlan& pool : pool_plans_) {
    const std::vector<uint32_t> holders = holders_of(plan_, pool.owner);
    if (std::find(holders.begin(), holders.end(), shard) == holders.end()) continue;
    bytes += padded(size_t{pool.buffers} * sizeof(uint16_t));
  }
  return bytes;
}

void System::hand_over() {
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    if (plan_.shards[s].isolated) hand_over(s);
  }
}

void System::hand_over(uint32_t shard) {
  Regions regions;
  regions.add(segment_.base(), segment_.bytes(), segment_.fd());
  for (const auto& each : shared_) regions.add(*each);
  for (const auto& each : shared_pools_)
    if (each != nullptr) regions.add(*each);
  regions.add(shards_[shard]->arena());
  const std::vector<Devices::Granted> granted = devices_->granted(shard);
  for (const Devices::Granted& each : granted) {
    for (const auto& region : each.device->regions())
      regions.add(region->data(), region->bytes(), region->fd());
  }

  auto process = std::make_unique<ShardProcess>();
  process->open.push_back(-1);  // what it is given, once that is known
  Outfit outfit;
  const auto place = [&](const void* at) { return regions.place(at, outfit, process->open); };
  Arena& arena = shards_[shard]->arena();
  outfit.plan = plan_.shards[shard];
  outfit.index = shard;
  outfit.parent = static_cast<uint32_t>(getpid());
  outfit.node = segment_.shard(shard).numa_node;
  outfit.pages = plan_.pages;
  outfit.oversubscribed = plan_.oversubscribe;
  outfit.record = place(&segment_.shard(shard));
  outfit.events = place(&segment_.events(shard));
  outfit.line = place(&shards_[shard]->line());
  process->report =
      new (arena.allocate(sizeof(ProcessReport), alignof(ProcessReport))) ProcessReport{};
  outfit.report = place(process->report);
  auto* const journal = new (arena.allocate(sizeof(Journal))) Journal{};
  process->ledger = Ledger(journal);
  outfit.journal = place(journal);

  std::vector<uint32_t> inputs(plan_.shards.size(), 0);
  for (uint32_t c = 0; c < plan_.channels.size(); ++c) {
    const ChannelPlan& plan = plan_.channels[c];
    const uint32_t byte = inputs[plan.to]++;
    if (plan.from != shard && plan.to != shard) continue;
    OutfitChannel channel;
    channel.plan = plan;
    channel.index = c;
    channel.input = plan.to == shard;
    channel.record = place(&segment_.channel(c));
    channel.ring = place(channels_[c].memory());
    channel.byte = byte;
    if (!channel.input) channel.line = place(&shards_[plan.to]->line());
    outfit.channels.push_back(channel);
  }
  for (OutfitChannel& channel : outfit.channels) {
    channel.inputs = inputs[channel.plan.to];
    channel.rings = shards_[channel.plan.to]->needs_bell(channel.inputs);
  }
  for (const auto& pool : pools_) {
    const Channel* const ring = shards_[shard]->home(pool->index());
    if (ring == nullptr) continue;
    OutfitPool one;
    one.index = pool->index();
    one.buffers = pool->buffers();
    one.buffer_bytes = pool->buffer_bytes();
    one.stride = pool->stride();
    one.memory = place(pool->base());
    one.references = place(pool->references());
    one.home = place(ring->memory());
    const size_t bytes = size_t{one.buffers} * sizeof(uint16_t);
    process->entries.push_back(static_cast<uint16_t*>(arena.allocate(bytes)));
    one.entries = place(process->entries.back());
    outfit.pools.push_back(one);
  }
  std::vector<int> files;  // behind the blocks, and those are not known before
  for (const Devices::Granted& each : granted)
    outfit.devices.push_back(pass_device(each, place, files));
  process->nothing = file_of("");
  process->open.insert(process->open.end(), files.begin(), files.end());
  outfit.files = static_cast<uint32_t>(files.size());
  process->pools = outfit.pools;
  process->program = plan_.process;
  process->outfit = file_of(outfit_to_bytes(outfit));
  process->open[0] = process->outfit.get();
  shards_[shard]->isolate(std::move(process));
}

}  // namespace vanity
