// Creates the segment file and describes its records. One file a system, in the runtime directory,
// locked with flock while its process lives: a file that nobody locks is left over and may go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vanity/segment.hpp"

namespace vanity {

struct FieldTable {
  TableKind kind;
  const char* name;
  const std::vector<Field>* fields;
};

// The descriptors of every table, in the order of TableKind.
const std::vector<FieldTable>& field_tables();

// $VANITY_RUNTIME_DIR, or /dev/shm/vanity-<uid>. Created on first use, mode 0755.
std::string runtime_directory();

// Removes what processes that no longer live have left: segments and core locks nobody holds.
// Returns the paths removed.
std::vector<std::string> sweep_leftovers();

struct SegmentShape {
  uint32_t shards = 0;
  uint32_t channels = 0;
  uint32_t ports = 0;
  uint32_t queues = 0;
  uint32_t pools = 0;
  uint32_t devices = 0;
  uint32_t vectors = 0;
  // What may come while it runs.
  uint32_t spare_shards = 0;
  uint32_t spare_channels = 0;
  uint32_t spare_pools = 0;
  uint32_t spare_ports = 0;
  uint32_t spare_queues = 0;
  uint64_t manifest_bytes = 0;  // that a manifest may have
};

// For those that may come after a first manifest of so many bytes, each with the one before it.
constexpr uint64_t manifest_room(uint64_t bytes) {
  return bytes * 4 + 16384;
}

// What the manifest implies, in bytes.
uint64_t segment_bytes(const SegmentShape& shape);

class Segment {
 public:
  // Throws VANITY_E_NAME_IN_USE when a living process holds that name.
  Segment(const std::string& system_name, const SegmentShape& shape);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  SegmentHeader& header() { return *reinterpret_cast<SegmentHeader*>(base_); }
  ShardRecord& shard(uint32_t i) { return record<ShardRecord>(1, i); }
  ChannelRecord& channel(uint32_t i) { return record<ChannelRecord>(2, i); }
  PortRecord& port(uint32_t i) { return record<PortRecord>(3, i); }
  QueueRecord& queue(uint32_t i) { return record<QueueRecord>(4, i); }
  PoolRecord& pool(uint32_t i) { return record<PoolRecord>(5, i); }
  DeviceRecord& device(uint32_t i) { return record<DeviceRecord>(6, i); }
  VectorRecord& vector(uint32_t i) { return record<VectorRecord>(7, i); }
  ReloadRecord& reload() { return record<ReloadRecord>(8, 0); }
  EventsRecord& events(uint32_t i) { return record<EventsRecord>(9, i); }
  LookRecord& look(uint32_t i) { return record<LookRecord>(10, i); }
  ManifestRecord& manifest(uint32_t i) { return record<ManifestRecord>(11, i); }
  // The first one, before publish(). Throws VANITY_E_LIMIT when there is no room for it.
  void write_manifest(const std::string& text);
  // What was written beside the manifest in force is in force from here on.
  void adopt_manifest();
  // Room is made before anybody knows how many vectors a device has; before publish().
  void set_vectors(uint32_t used) { header().tables[7].count = used; }

  // There are so many records now, each one whole. Up to what there is room for.
  void raise_shards(uint32_t count) {
    raise(9, count);
    raise(1, count);
  }
  void raise_channels(uint32_t count) { raise(2, count); }
  void raise_pools(uint32_t count) { raise(5, count); }
  void raise_ports(uint32_t count) { raise(3, count); }
  void raise_queues(uint32_t count) { raise(4, count); }
  uint32_t queues() { return header().tables[4].count; }
  // A record is as it was at the beginning, and its readers find no name in it.
  template <class Record>
  static void clear(Record& record) noexcept {
    clear(&record, sizeof(record));
  }

  // Readers may trust what they see from here on.
  void publish();
  void unlink();
  // For threads that still write to it: the mapping goes with the process.
  void leave_mapped() { base_ = nullptr; }

  uint8_t* base() { return base_; }
  uint64_t bytes() const { return bytes_; }
  int fd() const { return fd_; }
  const std::string& path() const { return path_; }

 private:
  void raise(uint32_t table, uint32_t count);
  static void clear(void* record, size_t bytes) noexcept;
  template <class Record>
  Record& record(uint32_t table, uint32_t index) {
    const Table& t = header().tables[table];
    return *reinterpret_cast<Record*>(base_ + t.records_offset + uint64_t{index} * t.stride);
  }

  std::string path_;
  int fd_ = -1;
  uint8_t* base_ = nullptr;
  uint64_t bytes_ = 0;
};

// One core of the machine, claimed for this process: /dev/shm/vanity-core-<n>.lock under flock.
class CoreLock {
 public:
  // Throws VANITY_E_CORE_IN_USE, with the holder's process id, when another process has it.
  explicit CoreLock(uint32_t core);
  CoreLock(CoreLock&& other) noexcept;
  CoreLock(const CoreLock&) = delete;
  CoreLock& operator=(const CoreLock&) = delete;
  ~CoreLock();
  CoreLock& operator=(CoreLock&& other) noexcept;
  uint32_t core() const noexcept { return core_; }

 private:
  uint32_t core_;
  std::string path_;
  int fd_ = -1;
};

}  // namespace vanity
