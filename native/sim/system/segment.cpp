// kernel/segment.hpp: the records without a file and without descriptors, for no reader.
#include "kernel/segment.hpp"

#include <new>

#include "kernel/looks.hpp"

#include "sim/system/region.hpp"

namespace vanity {

std::string runtime_directory() {
  return {};
}
std::vector<std::string> sweep_leftovers() {
  return {};
}

Segment::Segment(const std::string&, const SegmentShape& shape) {
  // In the order of TableKind.
  const Table tables[] = {
      {1, 1, 0, 0, 0, 0},
      {2, shape.shards, sizeof(ShardRecord), 0, 0, 0},
      {3, shape.channels, sizeof(ChannelRecord), 0, 0, 0},
      {4, shape.ports, sizeof(PortRecord), 0, 0, 0},
      {5, shape.queues, sizeof(QueueRecord), 0, 0, 0},
      {6, shape.pools, sizeof(PoolRecord), 0, 0, 0},
      {7, shape.devices, sizeof(DeviceRecord), 0, 0, 0},
      {8, shape.vectors, sizeof(VectorRecord), 0, 0, 0},
      {9, 1, sizeof(ReloadRecord), 0, 0, 0},
      {10, shape.shards, sizeof(EventsRecord), 0, 0, 0},
  };
  bytes_ = kSegmentHeaderBytes;
  for (const Table& table : tables) bytes_ += uint64_t{table.count} * table.stride;
  base_ = reinterpret_cast<uint8_t*>(sim::Region::take(bytes_));
  auto& header = *new (base_) SegmentHeader();
  uint64_t at = kSegmentHeaderBytes;
  for (const Table& table : tables) {
    Table& placed = header.tables[header.table_count++] = table;
    placed.records_offset = at;
    at += uint64_t{table.count} * table.stride;
  }
}

Segment::~Segment() = default;
void Segment::publish() {}
void Segment::raise(uint32_t, uint32_t) {}  // nobody asks for more in a run
void Segment::clear(void*, size_t) noexcept {}
void Segment::unlink() {}
void Segment::write_manifest(const std::string&) {}
void Segment::adopt_manifest() {}
void Looks::turn(uint64_t) noexcept {}  // nobody looks back: a run is begun anew

CoreLock::CoreLock(uint32_t core) : core_(core) {}
CoreLock::CoreLock(CoreLock&&) noexcept = default;
CoreLock& CoreLock::operator=(CoreLock&&) noexcept = default;
CoreLock::~CoreLock() = default;

}  // namespace vanity
