#include "kernel/mailbox.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "kernel/mail.hpp"
#include "kernel/mapped_segment.hpp"
#include "platform/error.hpp"

namespace vanity {
namespace {

template <size_t kBytes>
void put(char (&into)[kBytes], const std::string& text) {
  std::memset(into, 0, kBytes);
  std::memcpy(into, text.data(), std::min(text.size(), kBytes - 1));
}

// Another process may have written it.
Policy policy_of(uint32_t word) {
  return static_cast<Policy>(std::min(word, static_cast<uint32_t>(Policy::stop_system)));
}

// Beside the one in force, which readers may be reading.
void write_beside(MappedSegment& segment, const NewManifest& manifest) {
  const Table& table = segment.table(TableKind::manifest);
  const auto edition = [&](uint32_t index) {
    return segment.word<Counter>(table, index, "edition").get();
  };
  const uint32_t beside = edition(0) > edition(1) ? 1 : 0;
  uint64_t room;
  char* const text = segment.long_text(table, beside, "text", &room);
  if (manifest.text.size() > room) {
    throw Error("VANITY_E_LIMIT",
                "the manifest has " + std::to_string(manifest.text.size()) +
                    " bytes with all that it implies; the running system has room for " +
                    std::to_string(room),
                "start the system with it: vanity run");
  }
  std::copy(manifest.text.begin(), manifest.text.end(), text);
  segment.word<Counter>(table, beside, "text_bytes").set(manifest.text.size());
  segment.word<Counter>(table, beside, "generation").set(manifest.generation);
}

}  // namespace

uint64_t Certificate::unaccounted() const noexcept {
  const uint64_t in =
      begin.held + (end.received - begin.received) + (end.allocated - begin.allocated);
  const uint64_t out = (end.sent - begin.sent) + (end.consumed - begin.consumed) +
                       (end.filtered - begin.filtered) + (end.dropped - begin.dropped) +
                       (end.unsent - begin.unsent) + end.held;
  return in > out ? in - out : out - in;
}

uint64_t ask_reload(const std::string& path, const ReloadRequest& request,
                    const NewManifest* manifest) {
  MappedSegment segment(path);
  const Table& table = segment.table(TableKind::reload);
  auto& state = segment.word<Hardware::Atomic<uint32_t>>(table, 0, "state");
  uint32_t room;
  char* const file = segment.text(table, 0, "path", &room);
  if (request.path.size() >= room) {
    throw Error("VANITY_E_LIMIT", "the path of a program has " +
                                      std::to_string(request.path.size()) + " bytes, at most " +
                                      std::to_string(room - 1) + " are possible");
  }
  if (request.trial_bursts == 0 || request.trial_bursts > limits::kReloadBursts) {
    throw Error("VANITY_E_LIMIT", "a program is on trial for 1 to " +
                                      std::to_string(limits::kReloadBursts) + " bursts, not " +
                                      std::to_string(request.trial_bursts));
  }
  uint32_t options_room;
  char* const options = segment.text(table, 0, "options", &options_room);
  const std::string packed = request.options ? pack_options(*request.options) : std::string();
  if (packed.size() >= options_room) {
    throw Error("VANITY_E_LIMIT", "the options of a program have " + std::to_string(packed.size()) +
                                      " bytes, at most " + std::to_string(options_room - 1) +
                                      " are possible");
  }
  uint32_t parts_room;
  char* const parts = segment.text(table, 0, "parts", &parts_room);
  const std::string packed_parts =
      request.job == Job::shard ? pack_texts(request.ends.value_or(std::vector<std::string>{}))
                                : pack_parts(request.parts);
  if (packed_parts.size() >= parts_room) {
    throw Error("VANITY_E_LIMIT",
                "what is to come or go has " + std::to_string(packed_parts.size()) +
                    " bytes with all that it implies; at once " + std::to_string(parts_room - 1) +
                    " are possible",
                "do it in several steps");
  }
  if (!Mail::begin(state)) {
    throw Error("VANITY_E_RELOAD_BUSY", "another reload of this system is under way",
                "wait until it is over");
  }
  const auto word = [&](const char* name) -> uint32_t& {
    return segment.word<uint32_t>(table, 0, name);
  };
  const auto figure = [&](const char* name, uint64_t value) {
    segment.word<Counter>(table, 0, name).set(value);
  };
  uint32_t brings = 0;
  if (manifest != nullptr) {
    try {
      write_beside(segment, *manifest);
    } catch (const Error&) {
      Mail::settle(state);
      throw;
    }
    brings |= kBringsManifest;
  }
  if (request.options) brings |= kBringsOptions;
  if (request.ends) brings |= kBringsEnds;
  std::fill(std::copy(packed_parts.begin(), packed_parts.end(), parts), parts + parts_room, '\0');
  std::fill(std::copy(packed.begin(), packed.end(), options), options + options_room, '\0');
  if (request.watch) {
    const WatchPlan& watch = *request.watch;
    brings |= kBringsWatch;
    figure("progress_ns", watch.progress_ns);
    figure("service_ns", watch.service_ns);
    figure("starve_ns", watch.starve_ns);
    figure("backoff_ns", watch.backoff_ns);
    figure("window_ns", watch.window_ns);
    word("on_progress") = static_cast<uint32_t>(watch.on_progress);
    word("on_service") = static_cast<uint32_t>(watch.on_service);
    word("on_starve") = static_cast<uint32_t>(watch.on_starve);
    word("on_fault") = static_cast<uint32_t>(watch.on_fault);
    word("max_restarts") = watch.max_restarts;
  }
  if (request.figures) {
    brings |= kBringsSystem;
    figure("stall_ns", request.figures->stall_ns);
    figure("drain_ns", request.figures->drain_ns);
  }
  if (request.core) {
    brings |= kBringsCore;
    word("core") = *request.core;
  }
  word("brings") = brings;
  word("job") = static_cast<uint32_t>(request.job);
  word("shard") = request.shard;
  word("drain") = request.drain ? 1 : 0;
  word("dry_run") = request.dry_run ? 1 : 0;
  word("bursts_asked") = request.trial_bursts;
  std::fill(std::copy(request.path.begin(), request.path.end(), file), file + room, '\0');
  auto& asked = segment.word<Counter>(table, 0, "asked");
  asked.add(1);
  const uint64_t number = asked.get();
  Mail::post(state);
  return number;
}

bool take_request(ReloadRecord& record, ReloadRequest* request) {
  if (!Mail::take(record.state)) return false;
  request->shard = record.shard;
  request->drain = record.drain != 0;
  request->dry_run = record.dry_run != 0;
  request->trial_bursts = std::min(std::max(record.bursts_asked, 1u), limits::kReloadBursts);
  request->path.assign(record.path, strnlen(record.path, sizeof(record.path)));
  if ((record.brings & kBringsOptions) != 0) {
    request->options = unpack_options(std::string(record.options, sizeof(record.options)));
  }
  if ((record.brings & kBringsWatch) != 0) {
    WatchPlan watch;
    watch.progress_ns = record.progress_ns.get();
    watch.service_ns = record.service_ns.get();
    watch.starve_ns = record.starve_ns.get();
    watch.on_progress = policy_of(record.on_progress);
    watch.on_service = policy_of(record.on_service);
    watch.on_starve = policy_of(record.on_starve);
    watch.on_fault = policy_of(record.on_fault);
    watch.backoff_ns = record.backoff_ns.get();
    watch.max_restarts = record.max_restarts;
    watch.window_ns = record.window_ns.get();
    request->watch = watch;
  }
  if ((record.brings & kBringsSystem) != 0) {
    request->figures = KernelFigures{record.stall_ns.get(), record.drain_ns.get()};
  }
  if ((record.brings & kBringsCore) != 0) request->core = record.core;
  request->manifest = (record.brings & kBringsManifest) != 0;
  request->job = static_cast<Job>(std::min(record.job, static_cast<uint32_t>(Job::free)));
  const std::string parts(record.parts, sizeof(record.parts));
  if (request->job != Job::shard) {
    request->parts = unpack_parts(parts);
  } else if ((record.brings & kBringsEnds) != 0) {
    request->ends = unpack_texts(parts);
  }
  return true;
}

int claim_system(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    throw system_error("VANITY_E_SEGMENT", "cannot open " + path, errno,
                       "only the user who runs the system, and root, may change it");
  }
  // Of the open file and not of the process, which may make several claims; and none of flock's,
  // which says that the system lives.
  struct flock claim {};
  claim.l_type = F_WRLCK;
  claim.l_whence = SEEK_SET;
  claim.l_len = 1;
  if (fcntl(fd, F_OFD_SETLK, &claim) == 0) return fd;
  const int failed = errno;
  close(fd);
  if (failed != EAGAIN && failed != EACCES) {
    throw system_error("VANITY_E_SEGMENT", "cannot lock " + path, failed);
  }
  return -1;
}

void answer(ReloadRecord& record, const Certificate& c) {
  record.outcome.store(static_cast<uint32_t>(c.outcome), std::memory_order_relaxed);
  record.handed.store(static_cast<uint32_t>(c.handed), std::memory_order_relaxed);
  record.balanced = c.balanced ? 1 : 0;
  put(record.code, c.code);
  put(record.message, c.message);
  put(record.hint, c.hint);
  put(record.difference, c.difference);
  put(record.old_name, c.old_name);
  put(record.old_version, c.old_version);
  put(record.new_name, c.new_name);
  put(record.new_version, c.new_version);
  record.generation.set(c.generation);
  record.prepare_ns.set(c.prepare_ns);
  record.pause_ns.set(c.pause_ns);
  record.first_turn_ns.set(c.first_turn_ns);
  record.back_ns.set(c.back_ns);
  record.trial_ns.set(c.trial_ns);
  record.warm_bursts.set(c.warm_bursts);
  record.trial_bursts.set(c.trial_bursts);
  record.state_bytes.set(c.state_bytes);
  record.old_hash.set(c.old_hash);
  record.new_hash.set(c.new_hash);
  record.again.set(c.again);
  record.began_received.set(c.begin.received);
  record.began_sent.set(c.begin.sent);
  record.switch_received.set(c.at_switch.received);
  record.switch_sent.set(c.at_switch.sent);
  record.end_received.set(c.end.received);
  record.end_sent.set(c.end.sent);
  record.held_before.set(c.begin.held);
  record.allocated.set(c.end.allocated - c.begin.allocated);
  record.consumed.set(c.end.consumed - c.begin.consumed);
  record.filtered.set(c.end.filtered - c.begin.filtered);
  const uint64_t fault = c.end.dropped_fault - c.begin.dropped_fault;
  record.dropped_full.set(c.end.dropped - c.begin.dropped - fault);
  record.dropped_fault.set(fault);
  record.dropped_port.set(c.end.unsent - c.begin.unsent);
  record.held.set(c.end.held);
  record.unaccounted.set(c.balanced ? c.unaccounted() : 0);
  record.answered.set(record.asked.get());
  Mail::settle(record.state);
}

}  // namespace vanity
