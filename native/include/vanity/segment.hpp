// The segment: every counter and state word of a running system, in one shared-memory file that any
// process may map read-only. It describes itself: a reader needs this header's first page and the
// field descriptors, not the structs below, so a reader of version 1 reads every build of
// version 1.
//
//   0      SegmentHeader   4096 bytes: magic, version, who, state, heartbeat, tables
//   4096   Field[]         the descriptors of every table, one after another
//   ...    records         per table: count records of `stride` bytes, aligned to 128
//
// Every word has one writer; readers use relaxed loads and may see two words of different age.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vanity/limits.hpp"
#include "vanity/platform.hpp"

namespace vanity {

inline constexpr char kSegmentMagic[8] = {'V', 'A', 'N', 'I', 'T', 'Y', 'S', 'G'};
inline constexpr uint32_t kSegmentVersion = 1;
inline constexpr uint32_t kSegmentHeaderBytes = 4096;

// A counter with one writer: no locked instruction, readers in other processes load it relaxed.
struct Counter {
  std::atomic<uint64_t> value;
  void add(uint64_t n) noexcept {
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  // For the rare word that several threads write: errors, not packets.
  void add_shared(uint64_t n) noexcept { value.fetch_add(n, std::memory_order_relaxed); }
  void set(uint64_t n) noexcept { value.store(n, std::memory_order_relaxed); }
  void raise(uint64_t n) noexcept {
    if (n > value.load(std::memory_order_relaxed)) set(n);
  }
  uint64_t get() const noexcept { return value.load(std::memory_order_relaxed); }
};

// Log-linear histogram of u64: values below 8 exactly, above that 8 buckets an octave (12.5 %
// wide).
struct Histogram {
  static constexpr uint32_t kSubBits = 3;
  static constexpr uint32_t kBuckets = (64 - kSubBits + 1) << kSubBits;  // 496
  Counter buckets[kBuckets];

  static uint32_t bucket_of(uint64_t value) noexcept {
    if (value < (1u << kSubBits)) return static_cast<uint32_t>(value);
    const uint32_t octave = 63 - static_cast<uint32_t>(__builtin_clzll(value));
    const uint32_t sub =
        static_cast<uint32_t>(value >> (octave - kSubBits)) & ((1u << kSubBits) - 1);
    return ((octave - kSubBits + 1) << kSubBits) + sub;
  }
  void record(uint64_t value) noexcept { buckets[bucket_of(value)].add(1); }
};

enum class FieldType : uint16_t {
  counter = 0,    // u64, only grows
  gauge = 1,      // u64, goes both ways
  number = 2,     // u32, fixed at boot
  state = 3,      // u32, index into the labels in `text`, separated by '|'
  label = 4,      // char[count], zero-terminated
  histogram = 5,  // u64[count], buckets as Histogram::bucket_of
  dynamic = 6,    // count pairs of { char name[32]; u64 value }, empty name = unused
  ring = 7,       // count EventSlots; the counter NAME_written says how many were ever written
  text = 8,       // char[count * kTextUnit], of which the gauge NAME_bytes says how many are used
};

// Of a field of type `text`, in bytes.
inline constexpr uint64_t kTextUnit = 1024;

struct Field {
  char name[32];
  char unit[12];    // "", "packets", "bytes", "ticks", "ns"
  uint32_t offset;  // bytes from the start of the record
  FieldType type;
  uint16_t count;  // elements of label, histogram, dynamic, ring, text; 1 otherwise
  char text[76];   // one sentence, or the labels of a state
};
static_assert(sizeof(Field) == 128);

enum class TableKind : uint32_t {
  system = 1,
  shard,
  channel,
  port,
  queue,
  pool,
  device,
  vector,
  reload,
  events,
  looks,
  manifest
};

struct Table {
  uint32_t kind;
  uint32_t count;           // records; the kernel may raise it (release), for which there is room
  uint32_t stride;          // bytes a record
  uint32_t field_count;     // descriptors
  uint64_t records_offset;  // bytes from the start of the segment
  uint64_t fields_offset;
};
static_assert(sizeof(Table) == 32);

enum class SystemState : uint32_t { booting, running, stopping, stopped, failed };

struct SegmentHeader {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
  uint64_t segment_bytes;
  uint64_t ticks_per_second;  // of every *_ticks counter
  uint64_t started_realtime_ns;
  uint32_t pid;
  uint32_t table_count;
  char name[32];
  std::atomic<uint32_t> state;  // SystemState
  std::atomic<uint32_t> ready;  // 1 once everything above and all descriptors are written (release)
  Counter heartbeat_ns;         // CLOCK_MONOTONIC of the kernel's last turn
  Counter uptime_ns;
  Table tables[16];
  Counter gone_dropped;  // by shards and ports that the running system has let go
};
static_assert(sizeof(SegmentHeader) <= kSegmentHeaderBytes);

// At the beginning of each shard's arena. The segment holds no address: who may read the memory of
// the process, for which Linux asks for the rights of a debugger, finds the arenas among its
// mappings by this, and channels and pools by their offsets in there.
struct ArenaMark {
  char magic[8];
  uint64_t started_realtime_ns;  // of the segment, so that another system's is not taken for it
  uint32_t shard;
  uint32_t reserved;
};
inline constexpr char kArenaMagic[8] = {'V', 'A', 'N', 'I', 'T', 'Y', 'A', 'R'};

// ---- records ---------------------------------------------------------------------------------

enum class ShardState : uint32_t {
  starting,
  ready,
  running,
  draining,
  stopped,
  failed,
  stalled,
  held,
  faulted,
};

// What an operator wants of a shard: a word of the segment that any process of the same user may
// write, and that asks nobody. The shard reads it once a turn, in a line that it writes anyway.
enum class Command : uint32_t {
  run,
  hold,     // poll no more, but for the turns that `steps_asked` allows
  restart,  // leave the program and start it anew; the shard takes the word down
};

// What of a shard is noted down beyond what always is; bits. A word of the segment as `command` is.
enum Tracing : uint32_t {
  kTraceEvents = 1,   // every burst and wait is an event
  kTracePackets = 2,  // some packets are marked, and what becomes of the marked is an event
};

// What a shard is at. Written by the shard as it goes from one to another.
enum class Phase : uint32_t { polling, idle, held, blocked, transmitting, faulted };

// What kept a shard from making progress, the last time that the kernel looked into it.
enum class Stall : uint32_t { none, running, sleeping, lost_wake, blocked, descheduled, device };

struct DynamicCounter {
  char name[32];
  Counter value;
};

struct alignas(128) ShardRecord {
  // fixed at boot
  char name[32];
  char program[64];
  uint32_t core;              // 0xffffffff = not pinned
  std::atomic<uint32_t> tid;  // the kernel may look while the shard begins
  uint32_t wait_backend;      // Backend
  uint32_t strategy;          // Strategy
  uint32_t numa_node;
  uint32_t arena_pages;  // PageKind
  uint32_t fifo;
  uint32_t arena_locked;
  Counter arena_bytes;
  Hardware::Atomic<uint32_t> state;  // ShardState
  uint32_t reserved;

  // written by the shard, once a turn; switches_* and stalls by the kernel, ten times a second;
  // command and steps_asked by whoever holds the shard, tracing by whoever looks into it
  alignas(128) Counter polls;
  Counter polls_busy;
  Counter progress;               // turns of the poll loop; the kernel watches it
  std::atomic<uint32_t> command;  // Command
  std::atomic<uint32_t> phase;    // Phase
  Counter steps_asked;
  Counter steps_taken;
  Counter turn_ticks;                  // when the turn began that is under way
  std::atomic<uint32_t> tracing;       // Tracing, several of them
  std::atomic<uint32_t> sample_every;  // with Tracing::packets: of those that come in here
  Counter busy_ticks;
  Counter idle_ticks;  // polled and found nothing
  Counter wait_ticks;  // slept
  Counter received;    // elements taken from channels and ports
  Counter sent;        // elements put into channels and ports
  Counter consumed;    // packets whose journey ended here by design
  Counter filtered;    // packets discarded by a program's decision
  Counter dropped;     // packets lost here: no room downstream, no buffer
  Counter bytes;       // bytes of the packets received
  Counter waits;
  Counter wakes_signalled;
  Counter wakes_spurious;
  Counter wakes_deadline;
  Counter wakes_os;    // the processor's or kernel's own limit ended the wait
  Counter wakes_late;  // deadline passed and work was there: a lost wake, must stay 0
  Counter spin_budget_ticks;
  Counter switches_involuntary;
  Counter switches_voluntary;
  Counter dropped_fault;  // of `dropped`: what its program held when it faulted
  Counter faults;
  Counter restarts;
  Counter generation;                 // of its program: 1, and one more with each that takes over
  Counter reloads;                    // programs that took over
  Counter reloads_undone;             // that were on trial, and went again
  std::atomic<uint32_t> waiting_for;  // channel or queue, with Phase::blocked and transmitting
  uint32_t reserved3;
  Counter held_ticks;

  // written by the kernel
  std::atomic<uint32_t> last_stall;  // Stall
  Counter stalls;
  Counter slow;
  Counter starved;

  int thread() const noexcept {
    return static_cast<int>(tid.load(std::memory_order_relaxed));  // carries nothing with it
  }

  DynamicCounter user[limits::kUserCounters];
  Histogram burst;          // elements per busy poll
  Histogram service_ticks;  // ticks per busy poll
};

struct alignas(128) ChannelRecord {
  char name[32];
  uint32_t from;  // shard index
  uint32_t to;
  uint32_t capacity;  // elements
  uint32_t element_bytes;
  uint32_t layout;    // Layout
  uint32_t overflow;  // Overflow
  uint32_t carries_packets;
  uint32_t arena;  // shard in whose arena the ring lies; 0xffffffff = in none
  Counter memory_bytes;
  Counter arena_offset;  // in there

  alignas(128) Counter sent;  // producer's line
  Counter bursts;
  Counter dropped;         // overflow = "drop", or the program gave up
  Counter blocked;         // times the producer found it full
  Counter high_watermark;  // times the depth rose to high_watermark

  alignas(128) Counter received;  // consumer's line
  Counter depth_max;
  Counter low_watermark;  // times the depth fell to low_watermark after a high one
};

enum class PortState : uint32_t { starting, up, down, finished, failed };

struct alignas(128) PortRecord {
  char name[32];
  char driver[16];
  char target[128];             // file or interface
  std::atomic<uint32_t> state;  // PortState
  uint32_t queues;
  Counter downs;   // times the link or device went away
  Counter errors;  // reads or writes that failed
};

inline constexpr uint32_t kNoPort = 0xffffffffu;

struct alignas(128) QueueRecord {
  uint32_t port;  // kNoPort: it has gone
  uint32_t queue;
  uint32_t direction;  // 0 rx, 1 tx
  uint32_t shard;
  alignas(128) Counter packets;
  Counter bytes;
  Counter bursts;
  Counter no_buffer;  // rx: the pool was empty; counted where the source would have lost it
  Counter oversize;   // longer than a buffer holds
  Counter dropped;    // rx: the kernel's own drop counter; tx: the device did not take it
  Counter invalid;    // malformed at the link layer
};

struct alignas(128) PoolRecord {
  char name[32];
  uint32_t shard;  // owner
  uint32_t buffers;
  uint32_t buffer_bytes;
  uint32_t stride;             // bytes from one buffer to the next
  Counter arena_offset;        // in the arena of `shard`; UINT64_MAX: in one of its own
  alignas(128) Counter taken;  // written by the owner
  Counter returned;
  Counter empty;
  Counter leaked;  // set at shutdown: taken and never given back
};

// wanted: Linux asked for it, and it is on its way down; lost: the same because the bus reported an
// error or the device is gone; returned: closed, Linux may have it.
enum class DeviceState : uint32_t { opening, granted, wanted, lost, returned };

struct alignas(128) DeviceRecord {
  char name[32];
  char address[16];             // 0000:01:00.0
  char driver[16];              // "vfio", or the driver of its port
  char backend[16];             // "group", "cdev", "noiommu"
  std::atomic<uint32_t> state;  // DeviceState
  uint32_t vectors;
  Counter requests;  // times Linux wanted it back
  Counter errors;    // errors that the bus reported
  Counter refused;   // accesses of programs beyond their grants
};

// In the order of the manifest's words "level", "edge", "msi", "msix".
enum class IrqTrigger : uint32_t { level, edge, msi, msix };
enum class Eoi : uint32_t { immediate, delayed };

struct alignas(128) VectorRecord {
  char name[32];    // device and number
  uint32_t device;  // index
  uint32_t shard;   // 0xffffffff: the kernel's own
  uint32_t vector;
  uint32_t trigger;  // IrqTrigger
  uint32_t eoi;      // Eoi
  uint32_t reserved;

  alignas(128) Counter raised;  // written by the kernel
  Counter storms;
  Counter suppressed;  // times it was held back while it stormed

  alignas(128) Counter taken;  // written by the shard
  Counter done;
  Counter masked_ticks;
  Histogram latency_ticks;  // from the kernel's raise to the shard's take
};

// A reload, asked for from outside and answered by the kernel; one at a time. Whoever asks takes
// `state` from idle to writing, writes, and says posted; the kernel says working, and idle once the
// answer is there. It stays until the next.
enum class MailState : uint32_t { idle, writing, posted, working };
enum class ReloadOutcome : uint32_t { none, kept, undone, refused, rehearsed };
enum class Handed : uint32_t { nothing, restored, migrated };

// What goes along with a reload; all but the options may be asked for without one.
inline constexpr uint32_t kBringsOptions = 1;   // of the program; those that it has, otherwise
inline constexpr uint32_t kBringsWatch = 2;     // what the watchdog goes by
inline constexpr uint32_t kBringsSystem = 4;    // stall_ns and drain_ns
inline constexpr uint32_t kBringsManifest = 8;  // that is in force from then on
inline constexpr uint32_t kBringsCore = 16;     // of the shard, which moves there
inline constexpr uint32_t kBringsEnds = 32;     // names of its channels, in `parts`

// What is asked for.
enum class Job : uint32_t {
  shard,  // a program, figures, a core or channels of one
  grow,   // shards and channels in `parts` come
  end,    // those named in `parts` drain and end
  free,   // what those and the channels named there had, is free
};

struct alignas(128) ReloadRecord {
  Hardware::Atomic<uint32_t> state;  // MailState
  uint32_t shard;
  uint32_t drain;
  uint32_t dry_run;
  uint32_t bursts_asked;
  uint32_t brings;  // bits of kBrings...
  Counter asked;    // number of the request
  char path[1024];  // of the program; empty: figures only
  char options[limits::kOptionsBytes];
  char parts[limits::kPartsBytes];
  Counter stall_ns;
  Counter drain_ns;
  Counter progress_ns;
  Counter service_ns;
  Counter starve_ns;
  Counter backoff_ns;
  Counter window_ns;
  uint32_t on_progress;  // Policy, as all of these
  uint32_t on_service;
  uint32_t on_starve;
  uint32_t on_fault;
  uint32_t max_restarts;
  uint32_t core;  // as that of a shard
  uint32_t job;   // Job
  uint32_t reserved3;

  alignas(128) Counter answered;  // number of the request that all of this is about
  std::atomic<uint32_t> outcome;  // ReloadOutcome
  std::atomic<uint32_t> handed;   // Handed
  uint32_t balanced;              // 1: packets only, so that `unaccounted` means something
  uint32_t reserved2;
  char code[32];
  char message[1536];
  char hint[256];
  char difference[4096];  // of the states
  char old_name[32];
  char old_version[32];
  char new_name[32];
  char new_version[32];
  Counter generation;  // of the program that polls now
  Counter prepare_ns;
  Counter pause_ns;
  Counter first_turn_ns;
  Counter back_ns;
  Counter trial_ns;
  Counter warm_bursts;
  Counter trial_bursts;
  Counter state_bytes;
  Counter old_hash;
  Counter new_hash;
  Counter again;
  // The shard's counters from when it heard of the reload to its end, and where the switch was.
  Counter began_received;
  Counter began_sent;
  Counter switch_received;
  Counter switch_sent;
  Counter end_received;
  Counter end_sent;
  Counter held_before;
  Counter allocated;
  Counter consumed;
  Counter filtered;
  Counter dropped_full;
  Counter dropped_fault;
  Counter dropped_port;
  Counter held;
  Counter unaccounted;
};

// What the system was asked to be, as JSON in ASCII. There are two, and the one with the higher
// edition is in force. Whoever asks for a change holds the mail of reloads meanwhile and writes the
// other; the kernel puts it in force by its edition, as the last thing. A reader that finds the
// editions as they were before has read what was in force. The text begins behind the record.
struct alignas(128) ManifestRecord {
  Counter edition;     // 0: never in force
  Counter generation;  // 1, and one more with each apply
  Counter text_bytes;
};

// What a shard did, as four words (events.hpp has what they say):
//
//   0       8                                   16      24      32
//   | ticks | kind 8, what 8, place 16, count 32 | a     | b     |
struct EventSlot {
  std::atomic<uint64_t> words[4];
};

// Rings of a shard's last events: event n lies in slot n % slots. Written by the shard alone.
struct alignas(128) EventsRecord {
  Counter epoch_ticks;  // when the segment was made: the beginning of its time
  alignas(128) Counter events_written;
  alignas(128) EventSlot events[limits::kShardEvents];
  // The end of the same at the time of the last fault, and some of the one before.
  static constexpr uint32_t kFaultSlots = 2 * limits::kFaultEvents;
  alignas(128) Counter fault_events_written;
  alignas(128) EventSlot fault_events[kFaultSlots];
  // Of sampled packets, apart: nothing that is only counted pushes them out.
  alignas(128) Counter packet_events_written;
  alignas(128) EventSlot packet_events[limits::kPacketEvents];
};

// What all counters were at one moment of the last minute: the kernel looks at them once a second.
// At `words_at` come the looked-at words, in the order of the tables (`tables` of them, from the
// one after the system's on), their records and their fields: one for a counter, a gauge, a number
// and a state, `count` for the values of a `dynamic`. Labels don't change; histograms and rings are
// left out.
struct alignas(128) LookRecord {
  Counter number;  // from 1 on; 0: none, or just being written
  Counter at_ns;   // CLOCK_MONOTONIC
  Counter uptime_ns;
  std::atomic<uint32_t> state;   // SystemState
  std::atomic<uint32_t> tables;  // that were looked at
  std::atomic<uint32_t> words_at;
  std::atomic<uint32_t> shards;  // records of the tables that may grow
  std::atomic<uint32_t> channels;
  std::atomic<uint32_t> pools;
  std::atomic<uint32_t> ports;
  std::atomic<uint32_t> queues;
};

}  // namespace vanity
