#include "kernel/command.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>

#include "kernel/mapped_segment.hpp"
#include "platform/error.hpp"

namespace vanity {

namespace {

const Table& table_with(const MappedSegment& segment, const std::string& path, uint32_t shard) {
  const Table& table = segment.table(TableKind::shard);
  if (shard >= table.count) {
    throw Error("VANITY_E_COMMAND", path + " has no shard " + std::to_string(shard));
  }
  return table;
}

// Several may trace a shard at once, so each touches its own bit.
void switch_tracing(std::atomic<uint32_t>& tracing, Tracing what, bool on) noexcept {
  // Carries nothing with it: the shard reads it for each burst.
  if (on) {
    tracing.fetch_or(what, std::memory_order_relaxed);
  } else {
    tracing.fetch_and(~uint32_t{what}, std::memory_order_relaxed);
  }
}

}  // namespace

void command_shard(const std::string& path, uint32_t shard, Command wanted, uint64_t steps) {
  MappedSegment segment(path);
  const Table& table = table_with(segment, path, shard);
  auto& command = segment.word<std::atomic<uint32_t>>(table, shard, "command");
  auto& asked = segment.word<Counter>(table, shard, "steps_asked");
  // Neither carries anything with it: the shard reads one word and then the other, each turn anew.
  command.store(static_cast<uint32_t>(wanted), std::memory_order_relaxed);
  if (steps != 0) asked.add_shared(steps);
  syscall(SYS_futex, &command, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void trace_shard(const std::string& path, uint32_t shard, bool on) {
  MappedSegment segment(path);
  const Table& table = table_with(segment, path, shard);
  switch_tracing(segment.word<std::atomic<uint32_t>>(table, shard, "tracing"), kTraceEvents, on);
}

void sample_packets(const std::string& path, uint32_t shard, uint32_t every) {
  MappedSegment segment(path);
  const Table& table = table_with(segment, path, shard);
  auto& tracing = segment.word<std::atomic<uint32_t>>(table, shard, "tracing");
  auto& sample_every = segment.word<std::atomic<uint32_t>>(table, shard, "sample_every");
  // As above: whoever finds one and not yet the other samples by the old number.
  if (every != 0) sample_every.store(every, std::memory_order_relaxed);
  switch_tracing(tracing, kTracePackets, every != 0);
}

}  // namespace vanity
