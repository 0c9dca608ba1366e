#include "kernel/segment.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#include "kernel/looks.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

constexpr const char* kLockDirectory = "/dev/shm";
constexpr const char* kLockPrefix = "vanity-core-";

Field make_field(const char* name, FieldType type, size_t offset, uint16_t count, const char* unit,
                 const char* text) {
  Field field{};
  std::strncpy(field.name, name, sizeof(field.name) - 1);
  std::strncpy(field.unit, unit, sizeof(field.unit) - 1);
  std::strncpy(field.text, text, sizeof(field.text) - 1);
  field.offset = static_cast<uint32_t>(offset);
  field.type = type;
  field.count = count;
  return field;
}

#define VANITY_FIELD(Record, member, type, unit, text) \
  make_field(#member, FieldType::type, offsetof(Record, member), 1, unit, text)
#define VANITY_LABEL(Record, member, text)                        \
  make_field(#member, FieldType::label, offsetof(Record, member), \
             static_cast<uint16_t>(sizeof(Record::member)), "", text)
#define VANITY_HISTOGRAM(Record, member, unit, text)                  \
  make_field(#member, FieldType::histogram, offsetof(Record, member), \
             static_cast<uint16_t>(Histogram::kBuckets), unit, text)

#define VANITY_RING(Record, member, slots, text)                                                   \
  make_field(#member, FieldType::ring, offsetof(Record, member), static_cast<uint16_t>(slots), "", \
             text)

// offsetof of the standard-layout records below is defined; atomics keep them standard-layout.
static_assert(std::is_standard_layout_v<ShardRecord> && std::is_standard_layout_v<EventsRecord>);

const std::vector<Field> kSystemFields = {
    make_field("state", FieldType::state, offsetof(SegmentHeader, state), 1, "",
               "booting|running|stopping|stopped|failed"),
    make_field("heartbeat_ns", FieldType::gauge, offsetof(SegmentHeader, heartbeat_ns), 1, "ns",
               "Monotonic time of the kernel's last turn"),
    make_field("uptime_ns", FieldType::gauge, offsetof(SegmentHeader, uptime_ns), 1, "ns",
               "Time since the shards were let go"),
    make_field("gone_dropped", FieldType::counter, offsetof(SegmentHeader, gone_dropped), 1, "",
               "Packets lost by shards that are gone, and by their ports"),
};

const std::vector<Field> kShardFields = {
    VANITY_LABEL(ShardRecord, name, "Name in the manifest"),
    VANITY_LABEL(ShardRecord, program, "Program it runs"),
    VANITY_FIELD(ShardRecord, state, state, "",
                 "starting|ready|running|draining|stopped|failed|stalled|held|faulted"),
    VANITY_FIELD(ShardRecord, core, number, "", "Core it is pinned to; 4294967295 = not pinned"),
    VANITY_FIELD(ShardRecord, tid, number, "", "Linux thread id"),
    VANITY_FIELD(ShardRecord, wait_backend, state, "", "spin|futex|waitpkg|monitorx|wfe|zawrs"),
    VANITY_FIELD(ShardRecord, strategy, state, "", "doorbell|rotate|primary"),
    VANITY_FIELD(ShardRecord, numa_node, number, "", "NUMA node of the arena"),
    VANITY_FIELD(ShardRecord, arena_pages, state, "", "1G|2M|transparent|4K"),
    VANITY_FIELD(ShardRecord, arena_locked, number, "", "1 when the arena is locked in memory"),
    VANITY_FIELD(ShardRecord, fifo, number, "", "SCHED_FIFO priority; 0 = normal scheduling"),
    VANITY_FIELD(ShardRecord, arena_bytes, gauge, "bytes", "Size of the arena"),
    VANITY_FIELD(ShardRecord, polls, counter, "", "Turns of the poll loop"),
    VANITY_FIELD(ShardRecord, polls_busy, counter, "", "Turns that found work"),
    VANITY_FIELD(ShardRecord, command, state, "", "run|hold|restart"),
    VANITY_FIELD(ShardRecord, tracing, state, "", "off|on|packets|both"),
    VANITY_FIELD(ShardRecord, sample_every, number, "",
                 "Of so many packets that come in here one is sampled, while they are"),
    VANITY_FIELD(ShardRecord, steps_asked, counter, "", "Turns that a held shard may take, asked"),
    VANITY_FIELD(ShardRecord, steps_taken, counter, "", "Turns that it took while it was held"),
    VANITY_FIELD(ShardRecord, phase, state, "", "polling|idle|held|blocked|transmitting|faulted"),
    VANITY_FIELD(ShardRecord, waiting_for, number, "",
                 "Index of the channel or output it waits for while blocked"),
    VANITY_FIELD(ShardRecord, turn_ticks, gauge, "ticks", "When the turn began that is under way"),
    VANITY_FIELD(ShardRecord, held_ticks, counter, "ticks", "Time it was held"),
    VANITY_FIELD(ShardRecord, busy_ticks, counter, "ticks", "Time in turns that found work"),
    VANITY_FIELD(ShardRecord, idle_ticks, counter, "ticks", "Time in turns that found nothing"),
    VANITY_FIELD(ShardRecord, wait_ticks, counter, "ticks",
                 "Time spinning for or sleeping until work"),
    VANITY_FIELD(ShardRecord, received, counter, "elements", "Taken from channels and ports"),
    VANITY_FIELD(ShardRecord, sent, counter, "elements", "Put into channels and ports"),
    VANITY_FIELD(ShardRecord, consumed, counter, "packets",
                 "Packets whose journey ended here by design"),
    VANITY_FIELD(ShardRecord, filtered, counter, "packets",
                 "Packets discarded by a program's decision"),
    VANITY_FIELD(ShardRecord, dropped, counter, "packets",
                 "Packets lost here: no room downstream. A port counts its own"),
    VANITY_FIELD(ShardRecord, bytes, counter, "bytes", "Bytes of the packets received"),
    VANITY_FIELD(ShardRecord, waits, counter, "", "Times it went to sleep"),
    VANITY_FIELD(ShardRecord, wakes_signalled, counter, "", "Sleeps ended by a producer"),
    VANITY_FIELD(ShardRecord, wakes_spurious, counter, "", "Sleeps ended for no reason"),
    VANITY_FIELD(ShardRecord, wakes_deadline, counter, "", "Sleeps ended by their own bound"),
    VANITY_FIELD(ShardRecord, wakes_os, counter, "",
                 "Sleeps ended by the processor's or system's limit"),
    VANITY_FIELD(ShardRecord, wakes_late, counter, "",
                 "Bound passed and work was there: lost wakes, must be 0"),
    VANITY_FIELD(ShardRecord, spin_budget_ticks, gauge, "ticks",
                 "Time it spins before sleeping, adapted"),
    VANITY_FIELD(ShardRecord, switches_involuntary, counter, "",
                 "Times the scheduler took the core away"),
    VANITY_FIELD(ShardRecord, switches_voluntary, counter, "", "Times the thread gave the core up"),
    VANITY_FIELD(ShardRecord, progress, counter, "", "Signs of life; the kernel watches it"),
    VANITY_FIELD(ShardRecord, dropped_fault, counter, "packets",
                 "Of dropped: held by its program when it faulted"),
    VANITY_FIELD(ShardRecord, faults, counter, "", "Times its program was left for a fault"),
    VANITY_FIELD(ShardRecord, restarts, counter, "", "Times its program was started anew"),
    VANITY_FIELD(ShardRecord, generation, gauge, "", "Of its program; one more with each reload"),
    VANITY_FIELD(ShardRecord, reloads, counter, "", "Programs that took over while it ran"),
    VANITY_FIELD(ShardRecord, reloads_undone, counter, "",
                 "New programs that were on trial, and went again"),
    VANITY_FIELD(ShardRecord, stalls, counter, "", "Times the kernel saw no progress"),
    VANITY_FIELD(ShardRecord, slow, counter, "", "Turns longer than service_us"),
    VANITY_FIELD(ShardRecord, starved, counter, "", "Times input waited for longer than starve_ms"),
    VANITY_FIELD(ShardRecord, last_stall, state, "",
                 "none|running|sleeping|lost wake|blocked|descheduled|device"),
    make_field("user", FieldType::dynamic, offsetof(ShardRecord, user),
               static_cast<uint16_t>(limits::kUserCounters), "", "Counters the program named"),
    VANITY_HISTOGRAM(ShardRecord, burst, "elements", "Elements per turn that found work"),
    VANITY_HISTOGRAM(ShardRecord, service_ticks, "ticks", "Time per turn that found work"),
};

const std::vector<Field> kChannelFields = {
    VANITY_LABEL(ChannelRecord, name, "Name in the manifest"),
    VANITY_FIELD(ChannelRecord, from, number, "", "Index of the producing shard"),
    VANITY_FIELD(ChannelRecord, to, number, "", "Index of the consuming shard"),
    VANITY_FIELD(ChannelRecord, capacity, number, "elements", "Slots"),
    VANITY_FIELD(ChannelRecord, element_bytes, number, "bytes", "Size of an element"),
    VANITY_FIELD(ChannelRecord, layout, state, "", "bulk|latency"),
    VANITY_FIELD(ChannelRecord, overflow, state, "", "drop|block|program"),
    VANITY_FIELD(ChannelRecord, carries_packets, number, "",
                 "1 = packet descriptors, 0 = messages"),
    VANITY_FIELD(ChannelRecord, memory_bytes, gauge, "bytes", "Memory of the ring"),
    VANITY_FIELD(ChannelRecord, arena, number, "",
                 "Index of the shard in whose arena the ring lies; 4294967295 = in none"),
    VANITY_FIELD(ChannelRecord, arena_offset, gauge, "bytes", "Where it lies in there"),
    VANITY_FIELD(ChannelRecord, sent, counter, "elements", "Committed by the producer"),
    VANITY_FIELD(ChannelRecord, bursts, counter, "", "Commits"),
    VANITY_FIELD(ChannelRecord, dropped, counter, "elements", "Refused because the ring was full"),
    VANITY_FIELD(ChannelRecord, blocked, counter, "",
                 "Times the producer found it full and waited"),
    VANITY_FIELD(ChannelRecord, high_watermark, counter, "",
                 "Times the depth rose to the high watermark"),
    VANITY_FIELD(ChannelRecord, depth_max, gauge, "elements", "Deepest the consumer has seen it"),
    VANITY_FIELD(ChannelRecord, received, counter, "elements", "Taken by the consumer"),
    VANITY_FIELD(ChannelRecord, low_watermark, counter, "",
                 "Times the depth fell back to the low watermark"),
};

const std::vector<Field> kPortFields = {
    VANITY_LABEL(PortRecord, name, "Name in the manifest"),
    VANITY_LABEL(PortRecord, driver, "Driver"),
    VANITY_LABEL(PortRecord, target, "File or interface"),
    VANITY_FIELD(PortRecord, state, state, "", "starting|up|down|finished|failed"),
    VANITY_FIELD(PortRecord, queues, number, "", "Queues, both directions"),
    VANITY_FIELD(PortRecord, downs, counter, "", "Times the link or device went away"),
    VANITY_FIELD(PortRecord, errors, counter, "", "Reads or writes that failed"),
};

const std::vector<Field> kQueueFields = {
    VANITY_FIELD(QueueRecord, port, number, "", "Index of the port; 4294967295 when it has gone"),
    VANITY_FIELD(QueueRecord, queue, number, "", "Number of the queue in its direction"),
    VANITY_FIELD(QueueRecord, direction, state, "", "rx|tx"),
    VANITY_FIELD(QueueRecord, shard, number, "", "Index of the shard that drives it"),
    VANITY_FIELD(QueueRecord, packets, counter, "packets", "Received or transmitted"),
    VANITY_FIELD(QueueRecord, bytes, counter, "bytes", "Their bytes"),
    VANITY_FIELD(QueueRecord, bursts, counter, "", "Calls that moved packets"),
    VANITY_FIELD(QueueRecord, no_buffer, counter, "", "Receives that found the pool empty"),
    VANITY_FIELD(QueueRecord, oversize, counter, "packets", "Frames longer than a buffer holds"),
    VANITY_FIELD(QueueRecord, dropped, counter, "packets", "Lost by the device or the system"),
    VANITY_FIELD(QueueRecord, invalid, counter, "packets", "Malformed at the link layer"),
};

const std::vector<Field> kPoolFields = {
    VANITY_LABEL(PoolRecord, name, "Port, or shard, the buffers serve"),
    VANITY_FIELD(PoolRecord, shard, number, "", "Index of the owning shard"),
    VANITY_FIELD(PoolRecord, buffers, number, "", "Buffers"),
    VANITY_FIELD(PoolRecord, buffer_bytes, number, "bytes", "Size of a buffer"),
    VANITY_FIELD(PoolRecord, stride, number, "bytes", "From one buffer to the next"),
    VANITY_FIELD(PoolRecord, arena_offset, gauge, "bytes",
                 "Where they lie in the arena of the shard; 2^64 - 1: in none of a shard"),
    VANITY_FIELD(PoolRecord, taken, counter, "", "Buffers handed out"),
    VANITY_FIELD(PoolRecord, returned, counter, "", "Buffers that came home"),
    VANITY_FIELD(PoolRecord, empty, counter, "", "Times a buffer was wanted and none was free"),
    VANITY_FIELD(PoolRecord, leaked, gauge, "", "At shutdown: handed out and never given back"),
};

const std::vector<Field> kDeviceFields = {
    VANITY_LABEL(DeviceRecord, name, "Name in the manifest"),
    VANITY_LABEL(DeviceRecord, address, "PCI address"),
    VANITY_LABEL(DeviceRecord, driver, "Driver: vfio, or that of its port"),
    VANITY_LABEL(DeviceRecord, backend, "How it was opened: group, cdev, noiommu"),
    VANITY_FIELD(DeviceRecord, state, state, "", "opening|granted|wanted|lost|returned"),
    VANITY_FIELD(DeviceRecord, vectors, number, "", "Interrupt vectors armed"),
    VANITY_FIELD(DeviceRecord, requests, counter, "", "Times Linux wanted it back"),
    VANITY_FIELD(DeviceRecord, errors, counter, "", "Errors the bus reported"),
    VANITY_FIELD(DeviceRecord, refused, counter, "", "Accesses beyond a grant, none of them made"),
};

const std::vector<Field> kVectorFields = {
    VANITY_LABEL(VectorRecord, name, "Device and number of the vector"),
    VANITY_FIELD(VectorRecord, device, number, "", "Index of the device"),
    VANITY_FIELD(VectorRecord, shard, number, "",
                 "Index of the shard it goes to; 4294967295 = the kernel"),
    VANITY_FIELD(VectorRecord, vector, number, "", "Its number"),
    VANITY_FIELD(VectorRecord, trigger, state, "", "level|edge|msi|msix"),
    VANITY_FIELD(VectorRecord, eoi, state, "", "immediate|delayed"),
    VANITY_FIELD(VectorRecord, raised, counter, "", "Interrupts handed to the shard"),
    VANITY_FIELD(VectorRecord, storms, counter, "", "Times it fired without end"),
    VANITY_FIELD(VectorRecord, suppressed, counter, "", "Interrupts held back in storms"),
    VANITY_FIELD(VectorRecord, taken, counter, "", "Interrupts the shard has seen"),
    VANITY_FIELD(VectorRecord, done, counter, "", "Times a level line was unmasked"),
    VANITY_FIELD(VectorRecord, masked_ticks, counter, "ticks", "Time a level line was masked"),
    VANITY_HISTOGRAM(VectorRecord, latency_ticks, "ticks", "From kernel to shard, a wake included"),
};

const std::vector<Field> kReloadFields = {
    VANITY_FIELD(ReloadRecord, state, state, "", "idle|writing|posted|working"),
    VANITY_FIELD(ReloadRecord, shard, number, "", "Index of the shard"),
    VANITY_FIELD(ReloadRecord, drain, number, "", "1: not before its inputs are empty"),
    VANITY_FIELD(ReloadRecord, dry_run, number, "", "1: up to the switch"),
    VANITY_FIELD(ReloadRecord, bursts_asked, number, "", "Bursts that the new one is on trial for"),
    VANITY_FIELD(ReloadRecord, asked, counter, "", "Number of the request"),
    VANITY_FIELD(ReloadRecord, brings, number, "",
                 "Bits: 1 options, 2 watchdog, 4 [kernel], 8 manifest, 16 core, 32 channels"),
    VANITY_LABEL(ReloadRecord, path, "File of the new program; empty: none, but what it brings"),
    VANITY_LABEL(ReloadRecord, options, "Of the new program, each text behind its length"),
    VANITY_LABEL(ReloadRecord, parts, "Channels of the shard, or what comes or goes; the same way"),
    VANITY_FIELD(ReloadRecord, job, state, "", "shard|grow|end|free"),
    VANITY_FIELD(ReloadRecord, stall_ns, gauge, "ns", "Of [kernel], that it brings"),
    VANITY_FIELD(ReloadRecord, drain_ns, gauge, "ns", "Of [kernel], that it brings"),
    VANITY_FIELD(ReloadRecord, progress_ns, gauge, "ns", "Of the watchdog, that it brings"),
    VANITY_FIELD(ReloadRecord, service_ns, gauge, "ns", "The same"),
    VANITY_FIELD(ReloadRecord, starve_ns, gauge, "ns", "The same"),
    VANITY_FIELD(ReloadRecord, backoff_ns, gauge, "ns", "The same"),
    VANITY_FIELD(ReloadRecord, window_ns, gauge, "ns", "The same"),
    VANITY_FIELD(ReloadRecord, on_progress, state, "", "report|restart|hold|stop-system"),
    VANITY_FIELD(ReloadRecord, on_service, state, "", "report|restart|hold|stop-system"),
    VANITY_FIELD(ReloadRecord, on_starve, state, "", "report|restart|hold|stop-system"),
    VANITY_FIELD(ReloadRecord, on_fault, state, "", "crash|restart|hold|stop-system"),
    VANITY_FIELD(ReloadRecord, max_restarts, number, "", "Of the watchdog, that it brings"),
    VANITY_FIELD(ReloadRecord, core, number, "", "Core that the shard moves to"),
    VANITY_FIELD(ReloadRecord, answered, counter, "", "Number of the request that this answers"),
    VANITY_FIELD(ReloadRecord, outcome, state, "", "none|kept|undone|refused|rehearsed"),
    VANITY_FIELD(ReloadRecord, handed, state, "", "nothing|restored|migrated"),
    VANITY_FIELD(ReloadRecord, balanced, number, "", "1: no messages, so packets can be balanced"),
    VANITY_LABEL(ReloadRecord, code, "Of the error; empty: none"),
    VANITY_LABEL(ReloadRecord, message, "Of the error"),
    VANITY_LABEL(ReloadRecord, hint, "Of the error"),
    VANITY_LABEL(ReloadRecord, difference, "Between the states, field by field"),
    VANITY_LABEL(ReloadRecord, old_name, "Name of the program before"),
    VANITY_LABEL(ReloadRecord, old_version, "Its version"),
    VANITY_LABEL(ReloadRecord, new_name, "Name of the new program"),
    VANITY_LABEL(ReloadRecord, new_version, "Its version"),
    VANITY_FIELD(ReloadRecord, generation, gauge, "", "Of the program that polls afterwards"),
    VANITY_FIELD(ReloadRecord, prepare_ns, gauge, "ns", "Until the switch; the old one polls"),
    VANITY_FIELD(ReloadRecord, pause_ns, gauge, "ns",
                 "From the old one's last turn to the new one"),
    VANITY_FIELD(ReloadRecord, first_turn_ns, gauge, "ns",
                 "Until the new one's first busy turn ended"),
    VANITY_FIELD(ReloadRecord, back_ns, gauge, "ns", "From the new one back to the old one"),
    VANITY_FIELD(ReloadRecord, trial_ns, gauge, "ns", "That the new one was on trial"),
    VANITY_FIELD(ReloadRecord, warm_bursts, gauge, "", "Copies of bursts that it was rehearsed on"),
    VANITY_FIELD(ReloadRecord, trial_bursts, gauge, "", "Bursts that it had on trial"),
    VANITY_FIELD(ReloadRecord, state_bytes, gauge, "bytes", "State that was handed on"),
    VANITY_FIELD(ReloadRecord, old_hash, gauge, "", "Hash of its description; 0: none"),
    VANITY_FIELD(ReloadRecord, new_hash, gauge, "", "The same of the new program"),
    VANITY_FIELD(ReloadRecord, again, gauge, "packets", "That the old one was given once more"),
    VANITY_FIELD(ReloadRecord, began_received, gauge, "", "Received when the shard heard of it"),
    VANITY_FIELD(ReloadRecord, began_sent, gauge, "", "Sent then"),
    VANITY_FIELD(ReloadRecord, switch_received, gauge, "", "Received at the switch"),
    VANITY_FIELD(ReloadRecord, switch_sent, gauge, "", "Sent then"),
    VANITY_FIELD(ReloadRecord, end_received, gauge, "", "Received when it was kept or undone"),
    VANITY_FIELD(ReloadRecord, end_sent, gauge, "", "Sent then"),
    VANITY_FIELD(ReloadRecord, held_before, gauge, "packets", "Held when the shard heard of it"),
    VANITY_FIELD(ReloadRecord, allocated, gauge, "packets", "Made since then"),
    VANITY_FIELD(ReloadRecord, consumed, gauge, "packets", "Ended by design since then"),
    VANITY_FIELD(ReloadRecord, filtered, gauge, "packets", "Discarded by decision since then"),
    VANITY_FIELD(ReloadRecord, dropped_full, gauge, "packets",
                 "Dropped since then: a full channel"),
    VANITY_FIELD(ReloadRecord, dropped_fault, gauge, "packets", "The same: held at a fault"),
    VANITY_FIELD(ReloadRecord, dropped_port, gauge, "packets", "The same: a port had no room"),
    VANITY_FIELD(ReloadRecord, held, gauge, "packets", "Held at the end"),
    VANITY_FIELD(ReloadRecord, unaccounted, gauge, "packets", "What the balance lacks; 0"),
};

const std::vector<Field> kManifestFields = {
    VANITY_FIELD(ManifestRecord, edition, gauge, "",
                 "Of the two the higher one is in force; 0: it never was"),
    VANITY_FIELD(ManifestRecord, generation, gauge, "", "1, and one more with each apply"),
    VANITY_FIELD(ManifestRecord, text_bytes, gauge, "bytes", "Length of the text"),
    // As many as the system has room for.
    make_field("text", FieldType::text, sizeof(ManifestRecord), 1, "",
               "What the system was asked to be, as JSON"),
};

const std::vector<Field> kEventsFields = {
    VANITY_FIELD(EventsRecord, epoch_ticks, gauge, "ticks", "When the segment was made"),
    VANITY_FIELD(EventsRecord, events_written, counter, "", "Events of the shard, ever"),
    VANITY_RING(EventsRecord, events, limits::kShardEvents, "Its last events"),
    VANITY_FIELD(EventsRecord, fault_events_written, counter, "", "Events kept at faults, ever"),
    VANITY_RING(EventsRecord, fault_events, EventsRecord::kFaultSlots,
                "Its last events when its program last faulted"),
    VANITY_FIELD(EventsRecord, packet_events_written, counter, "",
                 "Events of sampled packets, ever"),
    VANITY_RING(EventsRecord, packet_events, limits::kPacketEvents,
                "Its last events of sampled packets"),
};

const std::vector<Field> kLookFields = {
    VANITY_FIELD(LookRecord, number, counter, "", "Which look this is, from 1 on; 0 is none"),
    VANITY_FIELD(LookRecord, at_ns, gauge, "ns", "Monotonic time of the look"),
    VANITY_FIELD(LookRecord, uptime_ns, gauge, "ns", "Time since the shards were let go"),
    VANITY_FIELD(LookRecord, state, state, "", "booting|running|stopping|stopped|failed"),
    VANITY_FIELD(LookRecord, tables, number, "", "Tables after the first that were looked at"),
    VANITY_FIELD(LookRecord, words_at, number, "bytes", "Where its words begin in this record"),
    VANITY_FIELD(LookRecord, shards, number, "", "Records of shards that were looked at"),
    VANITY_FIELD(LookRecord, channels, number, "", "The same of channels"),
    VANITY_FIELD(LookRecord, pools, number, "", "The same of pools"),
    VANITY_FIELD(LookRecord, ports, number, "", "The same of ports"),
    VANITY_FIELD(LookRecord, queues, number, "", "The same of queues"),
};

#undef VANITY_FIELD
#undef VANITY_LABEL
#undef VANITY_HISTOGRAM
#undef VANITY_RING

uint64_t align_up(uint64_t value, uint64_t to) {
  return (value + to - 1) / to * to;
}

constexpr uint32_t kTables = 12;
constexpr uint32_t kLooksTable = 10;
constexpr uint32_t kManifestTable = 11;
constexpr uint32_t kManifests = 2;

// Units of text that hold so many bytes; at most what a field can count.
uint64_t text_units(uint64_t bytes) {
  return std::clamp<uint64_t>((bytes + kTextUnit - 1) / kTextUnit, 1, UINT16_MAX);
}

struct Placed {
  Table tables[kTables];
  uint64_t bytes;
};

Placed place(const SegmentShape& shape) {
  const uint32_t counts[kTables] = {1,
                                    shape.shards + shape.spare_shards,
                                    shape.channels + shape.spare_channels,
                                    shape.ports + shape.spare_ports,
                                    shape.queues + shape.spare_queues,
                                    shape.pools + shape.spare_pools,
                                    shape.devices,
                                    shape.vectors,
                                    1,
                                    shape.shards + shape.spare_shards,
                                    limits::kLooks,
                                    kManifests};
  const uint64_t manifest =
      align_up(sizeof(ManifestRecord) + text_units(shape.manifest_bytes) * kTextUnit, 128);
  const uint32_t strides[kTables] = {
      kSegmentHeaderBytes,  sizeof(ShardRecord),  sizeof(ChannelRecord),
      sizeof(PortRecord),   sizeof(QueueRecord),  sizeof(PoolRecord),
      sizeof(DeviceRecord), sizeof(VectorRecord), sizeof(ReloadRecord),
      sizeof(EventsRecord), sizeof(LookRecord),   static_cast<uint32_t>(manifest)};
  Placed placed{};
  uint64_t at = kSegmentHeaderBytes;
  const auto& tables = field_tables();
  for (uint32_t i = 0; i < kTables; ++i) {
    Table& t = placed.tables[i];
    t.kind = static_cast<uint32_t>(tables[i].kind);
    t.count = counts[i];
    t.stride = strides[i];
    t.field_count = static_cast<uint32_t>(tables[i].fields->size());
    t.fields_offset = at;
    at += t.field_count * sizeof(Field);
  }
  Table& looks = placed.tables[kLooksTable];
  looks.stride += static_cast<uint32_t>(
      align_up(look_words(placed.tables) * sizeof(uint64_t), alignof(LookRecord)));
  placed.tables[0].records_offset = 0;  // the header is the system's record
  for (uint32_t i = 1; i < kTables; ++i) {
    at = align_up(at, 128);
    placed.tables[i].records_offset = at;
    at += uint64_t{placed.tables[i].count} * placed.tables[i].stride;
  }
  placed.bytes = align_up(at, 4096);
  return placed;
}

// True when no living process holds the lock; the lock is then ours through `fd`.
bool try_lock(int fd) {
  return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

// A sweep holds a lock for microseconds; whoever holds it for longer lives in it.
constexpr int kLockTries = 20;

// Is the file that `path` names the one that is open? It may have been removed in between, and
// another made. Once it is locked the answer stays: only the holder of the lock removes a file.
bool names(const std::string& path, int fd) {
  struct stat opened {
  }, named{};
  return fstat(fd, &opened) == 0 && stat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

// Opens and locks `path`, safe against another process unlinking it between open and lock.
// Returns -1 with errno EWOULDBLOCK when it is held.
int open_locked(const std::string& path, mode_t mode) {
  for (int tries = 0;;) {
    int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0 && errno == EACCES) {
      // fs.protected_regular refuses O_CREAT on another user's file in a sticky folder.
      fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    }
    if (fd < 0) return -1;
    if (!try_lock(fd)) {
      const int saved = errno;
      close(fd);
      errno = saved;
      if (saved != EWOULDBLOCK || ++tries == kLockTries) return -1;
      const timespec nap{0, 1'000'000};
      nanosleep(&nap, nullptr);
      continue;
    }
    if (names(path, fd)) return fd;
    close(fd);  // it was removed under us: try the new one
  }
}

bool remove_if_unheld(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  const bool removed = try_lock(fd) && names(path, fd) && unlink(path.c_str()) == 0;
  close(fd);
  return removed;
}

template <class Visit>
void each_file(const std::string& directory, Visit&& visit) {
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return;
  while (const dirent* entry = readdir(dir)) visit(std::string(entry->d_name));
  closedir(dir);
}

bool ends_with(const std::string& text, const char* end) {
  const size_t n = std::strlen(end);
  return text.size() > n && text.compare(text.size() - n, n, end) == 0;
}

uint64_t realtime_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

const std::vector<FieldTable>& field_tables() {
  static const std::vector<FieldTable> tables = {
      {TableKind::system, "system", &kSystemFields},
      {TableKind::shard, "shard", &kShardFields},
      {TableKind::channel, "channel", &kChannelFields},
      {TableKind::port, "port", &kPortFields},
      {TableKind::queue, "queue", &kQueueFields},
      {TableKind::pool, "pool", &kPoolFields},
      {TableKind::device, "device", &kDeviceFields},
      {TableKind::vector, "vector", &kVectorFields},
      {TableKind::reload, "reload", &kReloadFields},
      {TableKind::events, "events", &kEventsFields},
      {TableKind::looks, "looks", &kLookFields},
      {TableKind::manifest, "manifest", &kManifestFields},
  };
  return tables;
}

namespace {

// The folder that the user chose; empty: ours.
std::string chosen_directory() {
  const char* set = std::getenv("VANITY_RUNTIME_DIR");
  return set == nullptr ? "" : set;
}

}  // namespace

std::string runtime_directory() {
  std::string chosen = chosen_directory();
  if (!chosen.empty()) return chosen;
  return "/dev/shm/vanity-" + std::to_string(getuid());
}

std::vector<std::string> sweep_leftovers() {
  std::vector<std::string> removed;
  const std::string directory = runtime_directory();
  each_file(directory, [&](const std::string& name) {
    if (!ends_with(name, ".segment")) return;
    const std::string path = directory + "/" + name;
    if (remove_if_unheld(path)) removed.push_back(path);
  });
  each_file(kLockDirectory, [&](const std::string& name) {
    if (name.rfind(kLockPrefix, 0) != 0 || !ends_with(name, ".lock")) return;
    const std::string path = std::string(kLockDirectory) + "/" + name;
    if (remove_if_unheld(path)) removed.push_back(path);
  });
  return removed;
}

uint64_t segment_bytes(const SegmentShape& shape) {
  return place(shape).bytes;
}

Segment::Segment(const std::string& system_name, const SegmentShape& shape) {
  const std::string directory = runtime_directory();
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    throw system_error("VANITY_E_RUNTIME_DIR", "cannot create the runtime directory " + directory,
                       errno, "set VANITY_RUNTIME_DIR to a folder on a tmpfs that you may write");
  }
  // Anybody may make a folder of that name in /dev/shm.
  struct stat status {};
  if (std::getenv("VANITY_RUNTIME_DIR") == nullptr && lstat(directory.c_str(), &status) == 0 &&
      (!S_ISDIR(status.st_mode) || status.st_uid != getuid())) {
    throw Error("VANITY_E_RUNTIME_DIR", directory + " is not a folder of this user",
                "remove it, or set VANITY_RUNTIME_DIR to a folder on a tmpfs that you may write");
  }
  path_ = directory + "/" + system_name + ".segment";
  fd_ = open_locked(path_, 0644);
  if (fd_ < 0 && errno == ENOENT) {  // the last system just left, and took the folder with it
    mkdir(directory.c_str(), 0755);
    fd_ = open_locked(path_, 0644);
  }
  if (fd_ < 0 && errno == EWOULDBLOCK) {
    SegmentHeader header{};
    const int peek = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    const bool known = peek >= 0 && pread(peek, static_cast<void*>(&header), sizeof(header), 0) ==
                                        static_cast<ssize_t>(sizeof(header));
    if (peek >= 0) close(peek);
    throw Error("VANITY_E_NAME_IN_USE",
                "a system named \"" + system_name + "\" is running" +
                    (known ? " in process " + std::to_string(header.pid) : std::string()),
                "stop it, or start this one with --set system.name=" + system_name + "-2");
  }
  if (fd_ < 0) throw system_error("VANITY_E_RUNTIME_DIR", "cannot open " + path_, errno);

  const Placed placed = place(shape);
  bytes_ = placed.bytes;
  // Allocated now: a full tmpfs is an error here instead of a SIGBUS in a shard.
  if (ftruncate(fd_, 0) != 0 || posix_fallocate(fd_, 0, static_cast<off_t>(bytes_)) != 0) {
    const int saved = errno;
    ::unlink(path_.c_str());
    close(fd_);
    throw system_error("VANITY_E_RUNTIME_DIR",
                       "no room for a segment of " + std::to_string(bytes_) + " bytes at " + path_,
                       saved, "free space in the tmpfs, or set VANITY_RUNTIME_DIR");
  }
  void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, 0);
  if (at == MAP_FAILED) {
    const int saved = errno;
    ::unlink(path_.c_str());
    close(fd_);
    throw system_error("VANITY_E_RUNTIME_DIR", "cannot map " + path_, saved);
  }
  base_ = static_cast<uint8_t*>(at);

  SegmentHeader& h = *new (base_) SegmentHeader();
  std::memcpy(h.magic, kSegmentMagic, sizeof(h.magic));
  h.version = kSegmentVersion;
  h.header_bytes = kSegmentHeaderBytes;
  h.segment_bytes = bytes_;
  h.started_realtime_ns = realtime_ns();
  h.pid = static_cast<uint32_t>(getpid());
  std::strncpy(h.name, system_name.c_str(), sizeof(h.name) - 1);
  h.table_count = kTables;
  const auto& tables = field_tables();
  for (uint32_t i = 0; i < kTables; ++i) {
    h.tables[i] = placed.tables[i];
    std::memcpy(base_ + placed.tables[i].fields_offset, tables[i].fields->data(),
                tables[i].fields->size() * sizeof(Field));
  }
  for (const auto& [table, used] : {std::pair{1u, shape.shards},
                                    {2u, shape.channels},
                                    {3u, shape.ports},
                                    {4u, shape.queues},
                                    {5u, shape.pools},
                                    {9u, shape.shards}}) {
    h.tables[table].count = used;
  }
  auto* described = reinterpret_cast<Field*>(base_ + placed.tables[kManifestTable].fields_offset);
  described[kManifestFields.size() - 1].count =
      static_cast<uint16_t>(text_units(shape.manifest_bytes));
}

void Segment::write_manifest(const std::string& text) {
  const Table& table = header().tables[kManifestTable];
  if (text.size() > table.stride - sizeof(ManifestRecord)) {
    throw Error("VANITY_E_LIMIT", "a manifest of " + std::to_string(text.size()) +
                                      " bytes: there is room for " +
                                      std::to_string(table.stride - sizeof(ManifestRecord)));
  }
  ManifestRecord& record = manifest(0);
  std::memcpy(reinterpret_cast<char*>(&record + 1), text.data(), text.size());
  record.text_bytes.set(text.size());
  record.generation.set(1);
  record.edition.set(1);
}

void Segment::adopt_manifest() {
  const uint64_t first = manifest(0).edition.get();
  const uint64_t second = manifest(1).edition.get();
  ManifestRecord& beside = first > second ? manifest(1) : manifest(0);
  // pairs with the readers' loads of both editions, before and after they read the text
  beside.edition.value.store(std::max(first, second) + 1, std::memory_order_release);
}

void Segment::raise(uint32_t table, uint32_t count) {
  // Readers may find the record from here on: pairs with their acquiring load of the count.
  std::atomic_ref<uint32_t>(header().tables[table].count).store(count, std::memory_order_release);
}

void Segment::clear(void* record, size_t bytes) noexcept {
  auto* const words = static_cast<uint64_t*>(record);
  for (size_t i = 0; i < bytes / sizeof(uint64_t); ++i) {
    std::atomic_ref<uint64_t>(words[i]).store(0, std::memory_order_relaxed);
  }
}

void Segment::publish() {
  header().ready.store(1, std::memory_order_release);  // pairs with the readers' acquire load
}

void Segment::unlink() {
  if (fd_ < 0) return;
  ::unlink(path_.c_str());
  close(fd_);
  fd_ = -1;
  // The folder too when it is ours and empty; another start may just be making its file in it.
  if (chosen_directory().empty()) rmdir(runtime_directory().c_str());
}

Segment::~Segment() {
  unlink();
  if (base_ != nullptr) munmap(base_, bytes_);
}

CoreLock::CoreLock(uint32_t core)
    : core_(core),
      path_(std::string(kLockDirectory) + "/" + kLockPrefix + std::to_string(core) + ".lock") {
  fd_ = open_locked(path_, 0666);
  if (fd_ < 0 && errno == EWOULDBLOCK) {
    char holder[32] = {};
    const int peek = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (peek >= 0) {
      if (read(peek, holder, sizeof(holder) - 1) < 0) holder[0] = '\0';
      close(peek);
    }
    throw Error("VANITY_E_CORE_IN_USE",
                "core " + std::to_string(core) + " is owned by another Vanity process" +
                    (holder[0] != '\0' ? " (process " + std::string(holder) + ")" : std::string()),
                "choose another core, or stop that system");
  }
  if (fd_ < 0) throw system_error("VANITY_E_CORE_IN_USE", "cannot open " + path_, errno);
  // World-writable on purpose: the next owner may be another user (the umask cut it at creation).
  (void)fchmod(fd_, 0666);
  const std::string pid = std::to_string(getpid());
  if (ftruncate(fd_, 0) != 0 || pwrite(fd_, pid.data(), pid.size(), 0) < 0) {
    // The lock holds all the same; only the name of its holder is missing.
  }
}

CoreLock::CoreLock(CoreLock&& other) noexcept
    : core_(other.core_), path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

CoreLock& CoreLock::operator=(CoreLock&& other) noexcept {
  std::swap(core_, other.core_);
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

CoreLock::~CoreLock() {
  if (fd_ < 0) return;
  ::unlink(path_.c_str());
  close(fd_);
}

}  // namespace vanity
