// Replaces the program of a shard while it runs: loads the new one, holds it against the old one,
// rehearses it, has the shard switch, watches its first bursts, and says what came of it. On a
// thread of its own, so that the kernel's goes on watching; the shard's own part is in
// shard/handover.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernel/asking.hpp"
#include "kernel/mailbox.hpp"
#include "kernel/segment.hpp"
#include "kernel/watchdog.hpp"
#include "shard/handover.hpp"
#include "shard/plan.hpp"
#include "shard/rehearsal.hpp"
#include "shard/shard.hpp"

namespace vanity {

// What a module in JavaScript gets to be imported, and for its init; a compiler may come along.
inline constexpr uint64_t kImportNs = 30'000'000'000;

// What a reload asks of Linux while it waits for a shard.
struct ReloadClock : Hardware {
  static uint64_t now_ns() noexcept;
  static void nap() noexcept;
};
using Asking = BasicAsking<Shard, Handover, ReloadClock>;

// For a shard whose program notices none of it. Waits until the shard has it; throws Error.
void hand_over(Shard& shard, std::unique_ptr<Rewiring> rewiring);

// What a running system is asked to do, on a thread of its own. The kernel's thread calls.
class Task {
 public:
  virtual ~Task() = default;
  virtual void start() = 0;
  virtual bool done() const noexcept = 0;
  virtual const Certificate& certificate() const = 0;  // once it is done
  virtual const ReloadRequest& request() const = 0;
  // What only the kernel's thread may do, once it is done; it may be refused after all.
  virtual void conclude() noexcept {}
  // The system stops: what has not begun does not begin, and what is on trial stays.
  virtual void hurry() noexcept = 0;
  // A new program that does not come back from its init or its rehearsal.
  virtual void urge() noexcept {}
  virtual uint64_t began_ns() const noexcept = 0;
  // It does not end: its thread goes with the process, and so must all that it uses.
  virtual void forsake() = 0;
};

class Reload : public Task {
 public:
  using OwnerOf = std::function<std::string(const Evidence&)>;
  // `rewiring` may be null: the shard keeps its channels. `owner` says whose memory it was that a
  // confined program strayed to.
  Reload(const Plan& plan, Shard& shard, ReloadRequest request, std::unique_ptr<Rewiring> rewiring,
         const OwnerOf& owner);
  ~Reload() override;
  Reload(const Reload&) = delete;
  Reload& operator=(const Reload&) = delete;

  // ---- the kernel's thread
  void start() override {
    thread_ = Hardware::Thread([this] { run(); });
  }
  bool done() const noexcept override { return asking_.done(); }
  const Certificate& certificate() const override { return certificate_; }
  const ReloadRequest& request() const override { return request_; }
  void hurry() noexcept override { asking_.hurry(); }
  void urge() noexcept override;
  uint64_t began_ns() const noexcept override { return began_ns_; }
  void forsake() override { thread_.detach(); }

 private:
  void run() noexcept;
  void prepare();
  void load();
  void change_script();
  void other_program();
  std::unique_ptr<Program> other_stage() const;
  void replace();
  void rewire();
  bool input_waits() const noexcept;
  bool output_is_full() const noexcept;
  void check_shard() const;
  void make_rehearsal();
  void compare_states();
  void copy_bursts();
  void rehearse();
  void watch();
  void judge(uint64_t now_ns, uint64_t since_ns);
  void settle();
  void say_why();
  std::string told(const Evidence& evidence) const;
  [[noreturn]] void refuse_rewiring() const;
  [[noreturn]] void refuse(const char* code, const std::string& message,
                           const std::string& hint) const;

  const Plan& plan_;
  const OwnerOf& owner_;
  Shard& shard_;
  const bool script_;  // it runs a program in JavaScript
  const ReloadRequest request_;
  const std::map<std::string, std::string> options_;  // of the new program
  Handover handover_;
  Asking asking_{shard_, handover_};
  std::unique_ptr<Rehearsal> rehearsal_;
  // Those that it has before or afterwards.
  std::vector<Channel> inputs_;
  std::vector<Channel> outputs_;
  Certificate certificate_;
  std::string missed_;        // what the trial was ended for
  uintptr_t text_begin_ = 0;  // of the new program
  uint64_t began_ns_ = 0;
  // Of the trial: what was seen last, and when.
  uint64_t progress_ = 0;
  uint64_t progress_ns_ = 0;
  uint64_t received_ = 0;
  uint64_t received_ns_ = 0;
  Guard guard_;
  std::atomic<int> rehearsing_{0};  // its thread; 0: not now
  Hardware::Thread thread_;
};

// The kernel's: one at a time, asked for by the segment.
class Reloads {
 public:
  using Tell = std::function<void(const std::string& code, const std::string& message,
                                  const std::string& hint)>;
  // What the system does for it. All throw Error.
  struct Does {
    std::function<void(uint32_t shard, uint32_t core)> move;
    // Null: it has those channels.
    std::function<std::unique_ptr<Rewiring>(uint32_t shard, const std::vector<std::string>&)>
        rewire;
    std::function<std::unique_ptr<Task>(const ReloadRequest&)> grow;
    Reload::OwnerOf owner;
  };
  // Between two reloads it changes figures of the plan, as it is asked to.
  Reloads(Plan& plan, const std::vector<std::unique_ptr<Shard>>& shards, Watchdog& watchdog,
          Segment& segment, Does does, Tell warn)
      : plan_(plan),
        shards_(shards),
        watchdog_(watchdog),
        segment_(segment),
        does_(std::move(does)),
        warn_(std::move(warn)) {}

  void turn(uint64_t now_ns) noexcept;
  // The system stops.
  void stop() noexcept;
  // Once the shards have ended. False: one does not end, and was left behind.
  bool close() noexcept;

 private:
  void begin(const ReloadRequest& request);
  std::unique_ptr<Task> task_for(const ReloadRequest& request);
  void end();
  // What goes along with a program is in force from here on.
  void adopt(const ReloadRequest& request);
  void settle_mail(uint64_t now_ns) noexcept;

  Plan& plan_;
  const std::vector<std::unique_ptr<Shard>>& shards_;
  Watchdog& watchdog_;
  Segment& segment_;
  const Does does_;
  const Tell warn_;
  std::unique_ptr<Task> current_;
  uint64_t writing_since_ns_ = 0;
};

}  // namespace vanity
