// Watches what shards do with their time, finds out what keeps one from making progress, and does
// what the manifest says about it. Starts programs that faulted anew, and gives up on those that
// fault too often.
//
// Its time stands still while it does not run itself: a process that was stopped, a machine that
// was suspended and a core that was taken away are nobody's stall.
//
// The kernel's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernel/segment.hpp"
#include "kernel/stall.hpp"
#include "shard/plan.hpp"
#include "shard/shard.hpp"

namespace vanity {

class Watchdog {
 public:
  using Tell = std::function<void(const std::string& code, const std::string& message,
                                  const std::string& hint)>;
  struct Says {
    Tell warn;
    Tell stop;  // the same, and the system is to stop for it
    std::function<std::string(const Evidence&)> owner;  // of memory that was not to be written to
  };

  Watchdog(const Plan& plan, const std::vector<std::unique_ptr<Shard>>& shards,
           const std::vector<Channel>& channels, Segment& segment, Says says);

  // The shards are let go.
  void begin(uint64_t now_ns) noexcept;
  void look(uint64_t now_ns) noexcept;
  // Shards and channels came or went.
  void follow();
  // The figures that it goes by for this shard are others.
  void measure_anew(uint32_t s) noexcept;
  // How long the kernel may sleep before the next look, at most `most`.
  uint64_t pause_ns(uint64_t most) const noexcept { return next_ns_ < most ? next_ns_ : most; }

 private:
  struct Input {
    uint32_t channel;
    uint32_t head = 0;
    uint64_t received = 0;
    uint64_t since = 0;     // by this class's clock
    uint64_t progress = 0;  // of the shard, then
    bool told = false;
  };
  struct Watch {
    uint64_t progress = 0;
    uint64_t seen = 0;  // by this class's clock: the turn that is under way was under way
    uint64_t lead = 0;  // and had begun that long before
    bool told = false;
    bool told_other = false;  // of what no policy mends
    bool told_slow = false;
    bool halfway = false;
    ThreadSample half;  // taken halfway to the alarm
    uint64_t half_at = 0;
    uint64_t half_stolen = 0;
    uint64_t slow = 0;  // turns over the limit, by the histogram
    std::vector<Input> inputs;
    uint64_t leaving_since = 0;  // asked to leave its program
    uint64_t left = 0;
    uint64_t due_ns = 0;             // to be started anew
    std::vector<uint64_t> restarts;  // when, within the window
  };
  struct Finding {
    Stall kind = Stall::none;
    std::string text;
    bool counts = true;         // false: nothing that a policy could mend
    bool keeps_others = false;  // from running, on a thread that carries several
    // Where its program is. Named after the policy was followed: that takes the time of many looks.
    uintptr_t frames[Evidence::kFrames];
    uint32_t frame_count = 0;
  };

  void tick(uint64_t now_ns) noexcept;
  void look_at(uint32_t s, uint64_t now_ns);
  void look_at_turn(uint32_t s, Phase phase, uint64_t now_ns);
  void look_at_inputs(uint32_t s, Phase phase);
  void look_at_service(uint32_t s);
  void look_at_fault(uint32_t s, uint64_t now_ns);
  void urge(uint32_t s);
  void forget(uint32_t s) noexcept;
  void within(uint64_t ns) noexcept;
  Finding find_out(uint32_t s);
  Finding find_blocked(uint32_t s);
  bool find_displaced(uint32_t s, Finding& finding);
  void act(uint32_t s, Policy policy, const char* code, const std::string& what,
           const Finding& finding);
  uint64_t slow_turns(uint32_t s) const noexcept;
  uint64_t progress_ns(uint32_t s) const noexcept;
  const std::string& name(uint32_t s) const { return plan_.shards[s].name; }

  const Plan& plan_;
  const std::vector<std::unique_ptr<Shard>>& shards_;
  const std::vector<Channel>& channels_;
  Segment& segment_;
  const Says says_;
  std::vector<Watch> watches_;
  uint64_t clock_ = 0;  // ns that were watched
  uint64_t last_ns_ = 0;
  uint64_t next_ns_ = 0;
  uint64_t suspended_ = 0;
};

}  // namespace vanity
