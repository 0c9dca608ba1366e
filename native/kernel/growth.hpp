// Shards, channels and ports that come into a running system, or go from it, on a thread of its
// own. What is there already notices nothing: rings home are handed to it between two turns, and
// the ends of channels come and go with the reloads of whoever uses them.
//
//   grow   cores, arenas, pools, rings, records; init on the new shard's own thread (one that runs
//          JavaScript is started by the owner of the system); ways home; the kernel lets it go.
//          Nobody sends to it yet. What is made anew comes so, beside what has its name until then
//          and makes room for it by that and by its core.
//   end    nobody sends to it any more: what is in its inputs is processed, then its thread ends.
//   free   its buffers come home, nobody uses its channels, and all that it had is free.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kernel/reload.hpp"
#include "kernel/system.hpp"

namespace vanity {

class Growth : public Task {
 public:
  Growth(System& system, const ReloadRequest& request);
  ~Growth() override;
  Growth(const Growth&) = delete;
  Growth& operator=(const Growth&) = delete;

  // ---- the kernel's thread
  void start() override {
    take_ports();
    thread_ = std::thread([this] { run(); });
  }
  bool done() const noexcept override;
  const Certificate& certificate() const override { return certificate_; }
  const ReloadRequest& request() const override { return request_; }
  void conclude() noexcept override;
  void hurry() noexcept override { hurried_.store(true, std::memory_order_relaxed); }
  uint64_t began_ns() const noexcept override { return began_ns_; }
  void forsake() override { thread_.detach(); }

 private:
  static constexpr const char* kNewStart = "start the system with it: vanity run";

  // Of a shard that comes, until the system takes it.
  struct NewcomerShard {
    uint32_t index;
    std::unique_ptr<Shard> shard;
    std::unique_ptr<Program> program;
    std::vector<uint32_t> pools = {};
    size_t bytes = 0;  // of its arena
    uint32_t placed = 0;
  };
  struct NewcomerChannel {
    uint32_t index;
    Channel ring;
  };

  // Has all of its queues at shards that come along.
  struct NewcomerPort {
    uint32_t index;
    std::vector<uint32_t> rows;  // of its queues, those that it receives from first
    std::unique_ptr<Port> port;
  };

  void run() noexcept;
  void grow();
  void plan_names();
  bool is_renamed(uint32_t shard) const noexcept;
  void plan_shards();
  void plan_channels();
  void plan_ports();
  void plan_pools();
  void plan_pool(NewcomerShard& owner, const System::PoolPlan& pool);
  void plan_ways();
  void check_devices() const;
  void lock_cores();
  void make_shards();
  void make_pools();
  void make_pool(Shard& owner, uint32_t index);
  void make_ports();
  void start_ports();
  void make_channels();
  void make_ways();
  void start_shards();
  void wait_for_start(Shard& shard) const;
  void dismiss_workers() noexcept;
  void hand_ways();
  void end_shards();
  void free_parts();
  void wait_for_workers();
  void wait_for_buffers();
  void plan_gone_ports();
  void take_ports() noexcept;
  void give_back_ports() noexcept;
  void bury_ports() noexcept;
  void clear_port(uint32_t port, const std::vector<uint32_t>& rows) noexcept;

  void name_records() noexcept;
  void adopt() noexcept;
  void abandon() noexcept;
  void bury() noexcept;
  void follow() noexcept;

  NewcomerShard* newcomer(uint32_t index) noexcept;
  bool newcomer_after(uint32_t index, uint32_t other) const noexcept;
  const System::PoolPlan& pool_plans_of(const Pool& pool) const noexcept;
  Shard& shard(uint32_t index) noexcept;
  void* allocate(uint32_t owner, size_t bytes);
  Rewiring& rewiring_for(uint32_t shard);
  static void refuse_isolated(const Plan& plan, uint32_t shard, const std::string& what);
  static void refuse_settled(const PortPlan& port, const char* does);
  static void check_unkeyed(const ShardPlan& plan);
  void check_views() const;
  [[noreturn]] static void refuse(const std::string& message, const std::string& hint = "");

  System& system_;
  const ReloadRequest request_;
  Certificate certificate_;
  uint64_t began_ns_;
  std::atomic<bool> hurried_{false};
  std::atomic<bool> done_{false};
  // ---- what comes
  Plan next_;
  std::vector<System::PoolPlan> pool_plans_;
  std::vector<CoreLock> locks_;
  std::shared_ptr<Arena> annex_;  // of rings to and from shards that are there already
  size_t annex_bytes_ = 0;
  std::vector<uint32_t> renamed_;
  std::vector<uint32_t> renamed_channels_;
  std::vector<NewcomerShard> shards_;
  std::vector<NewcomerChannel> channels_;
  std::vector<std::pair<uint32_t, std::unique_ptr<Pool>>> pools_;
  std::vector<NewcomerPort> ports_;
  std::vector<System::Way> ways_;
  std::vector<std::pair<uint32_t, std::unique_ptr<Rewiring>>> rewirings_;
  bool handing_ = false;
  // ---- what goes
  std::vector<uint32_t> gone_;
  std::vector<uint32_t> gone_channels_;
  std::vector<uint32_t> gone_ports_;
  std::vector<std::unique_ptr<Port>> taken_ports_;  // of those, while they are freed
  std::thread thread_;
};

}  // namespace vanity
