// How a reload is asked for, and what is answered: words of the segment, so that any process of the
// same user may ask.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernel/parts.hpp"
#include "shard/handover.hpp"
#include "shard/plan.hpp"
#include "vanity/segment.hpp"

namespace vanity {

struct KernelFigures {
  uint64_t stall_ns = 0;
  uint64_t drain_ns = 0;
};

// A reload, and what is in force with it once it was kept; or that alone, at once.
struct ReloadRequest {
  uint32_t shard = 0;
  std::string path;  // absolute; empty: no program
  bool drain = false;
  bool dry_run = false;
  uint32_t trial_bursts = 64;
  // Those that it has, otherwise.
  std::optional<std::map<std::string, std::string>> options = std::nullopt;
  std::optional<WatchPlan> watch = std::nullopt;
  std::optional<KernelFigures> figures = std::nullopt;
  std::optional<uint32_t> core = std::nullopt;
  bool manifest = false;  // the one beside the one in force
  // Names of the channels that the shard has from then on, in the order of the manifest.
  std::optional<std::vector<std::string>> ends = std::nullopt;
  // Another job than a shard's: what comes, or goes.
  Job job = Job::shard;
  Parts parts = {};
};

// What is written beside the manifest in force.
struct NewManifest {
  uint64_t generation = 0;
  std::string text;
};

// What came of a reload, as measured.
struct Certificate {
  ReloadOutcome outcome = ReloadOutcome::none;
  Handed handed = Handed::nothing;
  bool balanced = false;
  std::string code;
  std::string message;
  std::string hint;
  std::string difference;
  std::string old_name;
  std::string old_version;
  std::string new_name;
  std::string new_version;
  uint64_t generation = 0;
  uint64_t prepare_ns = 0;
  uint64_t pause_ns = 0;
  uint64_t first_turn_ns = 0;
  uint64_t back_ns = 0;
  uint64_t trial_ns = 0;
  uint64_t warm_bursts = 0;
  uint64_t trial_bursts = 0;
  uint64_t state_bytes = 0;
  uint64_t old_hash = 0;
  uint64_t new_hash = 0;
  uint64_t again = 0;
  Cut begin;
  Cut at_switch;
  Cut end;

  // What came in, was made or was held, and neither went out nor ended nor was lost nor is held.
  uint64_t unaccounted() const noexcept;
};

// Asks the system of that segment. Returns the number of the request. Throws VANITY_E_SEGMENT,
// VANITY_E_COMMAND, VANITY_E_LIMIT, or VANITY_E_RELOAD_BUSY while another is under way.
uint64_t ask_reload(const std::string& path, const ReloadRequest& request,
                    const NewManifest* manifest = nullptr);

// The descriptor by which this process alone changes that system, until it is closed or the process
// ends; -1: another one does. Throws VANITY_E_SEGMENT.
int claim_system(const std::string& path);

// The kernel's side. False: nothing is asked.
bool take_request(ReloadRecord& record, ReloadRequest* request);
void answer(ReloadRecord& record, const Certificate& certificate);

}  // namespace vanity
