// A booted system: every part of it, and the kernel thread that lets the shards go, watches them
// and stops them in order. The thread is native and never waits for its owner.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernel/devices.hpp"
#include "kernel/interrupts.hpp"
#include "kernel/keys.hpp"
#include "kernel/looks.hpp"
#include "kernel/reload.hpp"
#include "kernel/segment.hpp"
#include "kernel/signals.hpp"
#include "kernel/watchdog.hpp"
#include "kernel/workers.hpp"
#include "memory/pool.hpp"
#include "port/port.hpp"
#include "port/user_host.hpp"
#include "shard/plan.hpp"
#include "shard/shard.hpp"

namespace vanity {

struct Failure {
  std::string code;
  std::string message;
  std::string hint;
};

struct BootOptions {
  bool handle_signals = false;  // SIGINT and SIGTERM stop the system
  // At every change of state, on the kernel's thread; and on one of a task that wants a worker, or
  // wants one to end.
  std::function<void()> on_change;
  uint64_t attach_ns = 30'000'000'000;  // how long shards may take to become ready
};

class System {
 public:
  // Builds everything and starts the threads, or throws and leaves nothing behind.
  System(const Plan& plan, BootOptions options);
  ~System();
  System(const System&) = delete;
  System& operator=(const System&) = delete;

  void start();
  void stop(bool immediate);
  // Joins the kernel. Stops at once if the system still runs. Idempotent.
  void close();

  SystemState state() {
    return static_cast<SystemState>(segment_.header().state.load(std::memory_order_acquire));
  }
  Segment& segment() { return segment_; }
  const Plan& plan() const { return plan_; }
  std::vector<Failure> failures() const;
  // A second signal came before the stop was done.
  bool interrupted() const noexcept { return interrupted_.load(std::memory_order_relaxed); }
  // Of the start, and since then.
  std::vector<Failure> warnings() const;
  Shard& shard(uint32_t index) { return *shards_[index]; }
  // Of the manifest that it was started with, which come first; others may come and go.
  uint32_t shard_count() const { return shape_.shards; }
  // Null: its shard has gone.
  const std::vector<std::unique_ptr<Pool>>& pools() const { return pools_; }
  const PoolTable& pool_table() const { return *pool_table_; }
  // Its threads that are JavaScript's.
  Workers& workers() { return workers_; }
  // The ring of a channel, for a shard that maps it itself.
  Channel channel(uint32_t index) const { return channels_[index]; }

 private:
  struct PoolPlan {
    std::string name;
    uint32_t owner;
    uint32_t buffers;
    uint32_t buffer_bytes;
    uint32_t port = kNone;
    uint32_t queue = 0;
  };

  // boot.cpp
  void lock_cores();
  // While it runs, by the kernel's thread; kNone: it is not pinned any more. Throws Error.
  void move_shard(uint32_t shard, uint32_t core);
  void make_programs();
  void make_arenas();
  void confine();
  void take_keys();                                // keys.cpp
  std::string owner_of(const Evidence& evidence);  // the same
  void make_carriers();
  void make_pools();
  void make_channels();
  void make_returns();
  void make_ports();
  // By the records of its queues, those that it receives from first.
  std::unique_ptr<Port> make_port(uint32_t p, const PortPlan& plan,
                                  const std::vector<uint32_t>& rows);
  void open_devices();
  void map_pools();
  // May the device of a port reach packets of this pool, and how?
  bool reaches(const PortPlan& port, const PoolPlan& pool, DmaAccess* access) const;
  // Of the devices that reach the pool, the least; 0: pages do not matter to them; kUnreached: none
  // does.
  uint64_t pool_page_bytes(const PoolPlan& pool) const;
  static std::vector<uint32_t> holders_of(const Plan& plan,
                                          uint32_t shard);  // shards its packets may reach
  // Does a process at the other end of a socket reach it? Then its memory is its own.
  bool is_shared(const PoolPlan& pool) const;
  // That, or do its packets come to a shard that is confined by a key?
  bool is_apart(const PoolPlan& pool) const;
  void order_shards();
  void find_loops();

  // growth.cpp
  friend class Growth;
  void make_room();
  std::unique_ptr<Rewiring> rewiring_of(uint32_t shard, const std::vector<std::string>& channels);
  uint32_t shard_named(const std::string& name) const;    // kNone: there is none
  uint32_t channel_named(const std::string& name) const;  // the same
  bool uses(uint32_t shard, uint32_t channel) const;
  // The row of a table, and not what was left of it by who has gone.
  bool in_use(TableKind table, uint32_t row) const noexcept;

  // processes.cpp: shards that are processes of their own, and memory that they share with others
  std::unique_ptr<Program> make_remote() const;
  Arena& make_shared(size_t bytes);
  // In whose arena the ring of a channel lies; kNone: in none, for both ends are processes.
  uint32_t ring_shard(const ChannelPlan& channel) const;
  // Where its line lies, when a process reaches it; null: in its arena.
  void* make_line(uint32_t shard);
  // May its packets be held by a process that is not its owner's?
  bool leaves_process(const PoolPlan& pool) const;
  uint32_t* make_references(const PoolPlan& pool);
  size_t process_bytes(uint32_t shard) const;  // in its arena, besides rings
  void hand_over();
  void hand_over(uint32_t shard);

  // system.cpp
  void kernel_main() noexcept;
  void turn() noexcept;
  void turn_booting() noexcept;
  void turn_running() noexcept;
  void turn_stopping() noexcept;
  void release_shards() noexcept;
  void begin_stop() noexcept;
  void finish_stop() noexcept;
  void take_back_buffers() noexcept;
  void count_switches() noexcept;
  void service_ports() noexcept;
  bool all_sources_finished() noexcept;
  void note_failed_shards() noexcept;
  bool fed(uint32_t shard) const noexcept;
  void watch_loops() noexcept;
  bool hurried() const noexcept;  // a second signal has come
  void abandon() noexcept;
  void warn(const std::string& code, const std::string& message, const std::string& hint) noexcept;
  void fail(const std::string& code, const std::string& message, const std::string& hint) noexcept;
  void set_state(SystemState state) noexcept;
  void tell_owner() noexcept {
    if (options_.on_change) options_.on_change();
  }
  void wake() noexcept;

  struct Watch {
    bool failure_noted = false;
    bool told_to_finish = false;
    // Of the cycle that this shard is the lowest of: elements committed inside it, and since when.
    uint64_t committed = 0;
    uint64_t committed_since_ns = 0;
    bool loop_quiet = false;
  };
  static PoolPlan pool_of(const Plan& plan, uint32_t port, uint32_t queue);
  static std::vector<PoolPlan> plan_pools(const Plan& plan,
                                          const std::vector<std::unique_ptr<Program>>& programs);
  SegmentShape shape() const;

  // By which buffers of a pool come home to its owner. What was there at the start lies in arenas.
  struct Way {
    uint32_t pool;
    uint32_t owner;
    uint32_t holder;
    Channel ring;
    std::shared_ptr<Arena> annex;
  };

  // It may change while it runs, by the kernel's thread. A part that has gone has no name, and its
  // place is the next one's.
  Plan plan_;
  const BootOptions options_;
  std::vector<Failure> warnings_;
  std::vector<CoreLock> locks_;
  std::vector<std::unique_ptr<Program>> programs_;  // until their shards take them
  std::vector<PoolPlan> pool_plans_;
  SegmentShape shape_;
  Segment segment_;
  Keys keys_;  // before all memory that has one
  // Memory of what came while it ran: before the shards that use it.
  std::vector<std::shared_ptr<Arena>> annexes_;  // by channel; null: it lies in an arena
  std::vector<std::shared_ptr<Arena>> leftovers_;
  std::vector<Way> ways_;
  std::vector<std::unique_ptr<Carrier>> carriers_;    // threads of shards that have none
  std::vector<std::unique_ptr<Shard>> shards_;        // their arenas hold all that follows
  std::vector<std::unique_ptr<Arena>> shared_pools_;  // by pool; null: it lies in its owner's arena
  std::vector<std::unique_ptr<Arena>> shared_;        // of processes, neither arenas nor pools
  std::vector<std::unique_ptr<Pool>> pools_;
  std::unique_ptr<PoolTable> pool_table_ = std::make_unique<PoolTable>();
  std::vector<Channel> channels_;
  // Ports go first, then the devices that they work, then the memory that those reach.
  std::unique_ptr<Interrupts> interrupts_;
  std::unique_ptr<Devices> devices_;
  std::vector<std::unique_ptr<UserHost>> user_hosts_;  // by port; null: it needs none
  std::vector<uint64_t> pool_addresses_;               // by pool, for the peers of those
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<uint32_t> order_;                  // shards, producers before consumers
  std::vector<std::vector<uint32_t>> upstream_;  // of each shard
  // The lowest shard of the cycle that each shard is on; itself when it is on none.
  std::vector<uint32_t> loop_of_;

  Workers workers_;
  Fd wake_fd_;
  std::unique_ptr<StopSignals> signals_;
  std::atomic<bool> start_asked_{false};
  std::atomic<uint32_t> stop_asked_{0};  // bits: 1 in order, 2 at once
  std::atomic<bool> close_asked_{false};
  std::atomic<bool> interrupted_{false};
  std::vector<Watch> watches_;
  std::unique_ptr<Watchdog> watchdog_;
  std::unique_ptr<Reloads> reloads_;
  Looks looks_{segment_, [this](TableKind table, uint32_t row) { return in_use(table, row); }};
  bool stop_for_watchdog_ = false;
  uint64_t booted_ns_ = 0;
  uint64_t running_since_ns_ = 0;
  uint64_t stopping_since_ns_ = 0;
  uint64_t stop_now_since_ns_ = 0;
  uint64_t serviced_ns_ = 0;
  uint64_t ended_ns_ = 0;
  bool abandoned_ = false;
  mutable std::mutex failures_mutex_;
  std::vector<Failure> failures_;
  Hardware::Thread kernel_;
};

}  // namespace vanity
