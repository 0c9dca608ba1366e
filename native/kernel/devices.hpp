// The plan's devices: opened before anything that their memory lies in, granted to shards or given
// to ports, watched while the system runs, and given back on every way out.
//
// What happens to a device that Linux wants back (REQ) or that failed (ERR, or its registers are
// gone): its port, or the shards that it was granted to, are asked to let go; when they have, or
// their time is over, the device is stopped and closed, its register ranges become memory that
// reads all ones, so that nothing that still points there does harm, and what its queues held
// goes home. The system runs on.
//
// The kernel's thread, or the control path before it starts and after it is joined.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device/vfio.hpp"
#include "kernel/interrupts.hpp"
#include "kernel/segment.hpp"
#include "memory/pool.hpp"
#include "port/nic.hpp"
#include "port/port.hpp"
#include "shard/plan.hpp"
#include "shard/shard.hpp"

namespace vanity {

class Devices {
 public:
  using Shards = std::vector<std::unique_ptr<Shard>>;
  using Warn =
      std::function<void(const char* code, const std::string& message, const std::string& hint)>;

  // Which memory of packets lies on pages of their own, and from where to where no page breaks it.
  static constexpr uint64_t kPoolAlign = 2 << 20;

  // The most that the plan's devices may have, for the segment.
  static uint32_t vectors_of(const Plan& plan);

  // Opens them all; bus mastering is off. Throws what VfioDevice does.
  Devices(const Plan& plan, Segment& segment, Interrupts& interrupts, Warn warn);
  ~Devices();
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;

  // ---- boot
  NicHost* nic(uint32_t device) { return entries_[device]->host.get(); }
  // No buffer that the device reaches may lie across two pages of this size; 0: it may.
  uint64_t page_bytes(uint32_t device) const;
  // The device of that port reaches this pool, which fills whole pages of `page_bytes`.
  void reach(uint32_t device, const Pool& pool, uint64_t bytes, uint64_t page_bytes,
             DmaAccess access);
  // After its port was made: arms what it wants.
  void serve(uint32_t device, Port& port, PortRecord& record, const Shards& shards);
  // The same for a port whose device is a process at the other end of a socket: its eventfds are
  // its own.
  void serve_socket(uint32_t port, Port& served, const PortPlan& plan, const Shards& shards);
  // Devices without a port: registers, memory and vectors of the plan, to their shards.
  void grant(const Shards& shards);
  // In the arena of a shard that is a process of its own: what its grants share with this one.
  static size_t process_bytes(const Plan& plan, uint32_t shard);
  // What such a shard was granted.
  struct Granted {
    vanity_device* grant;
    VfioDevice* device;
  };
  std::vector<Granted> granted(uint32_t shard) const;
  // From here on all vectors have a record, and Linux may ask.
  void watch();

  // ---- while it runs
  // Those without a port may master the bus from here on; ports see to it themselves.
  void start();
  void turn(uint64_t now_ns) noexcept;
  // A port whose device is given back is not touched any more.
  bool serves(uint32_t port) const noexcept;

  // ---- the end
  // Every device is stopped, in order, and reaches no memory any more. Idempotent.
  void quiesce() noexcept;

 private:
  struct Entry {
    const DevicePlan* plan;
    DeviceRecord* record;
    std::unique_ptr<VfioDevice> device;
    std::unique_ptr<NicHost> host;  // of a port's device
    uint32_t port = kNone;
    const PortPlan* port_plan = nullptr;
    Port* served = nullptr;
    PortRecord* port_record = nullptr;
    std::vector<Shard*> shards;          // that it is granted to, or whose queues it has
    std::vector<vanity_device*> grants;  // of `shards`, without a port
    bool masters = false;                // bus mastering is ours to switch on
    bool halted = false;                 // its program has ended, and the next has not begun
    bool going = false;
    uint64_t going_since_ns = 0;
    bool closed = false;
  };

  uint32_t owner_of(const Entry& entry) const;
  uint32_t owner_of_socket(uint32_t port) const;
  void grant_registers(Entry& entry, const Shards& shards);
  void grant_memory(Entry& entry, const Shards& shards);
  void grant_vectors(Entry& entry, const Shards& shards);
  vanity_device& granted(Entry& entry, Shard& shard);
  // One vector of an armed kind; `shard` null: the port's own.
  IrqLine* route(Entry& entry, Irq& irq, uint32_t vector, IrqTrigger trigger, Eoi eoi,
                 Shard* shard);
  // Between the processes that work it: does what is wished for, and says that it is done.
  void relay(Entry& entry) noexcept;
  bool is_gone(const Entry& entry) const noexcept;
  void halt(Entry& entry) noexcept;
  void resume(Entry& entry) noexcept;
  void watch(Entry& entry, IrqKind kind, Counter& counter, bool lost);
  void go(Entry& entry, bool lost) noexcept;
  bool let_go(const Entry& entry) const noexcept;
  void give_back(Entry& entry) noexcept;
  void nudge(const Entry& entry) noexcept;

  Segment& segment_;
  Interrupts& interrupts_;
  const Warn warn_;
  uint32_t vectors_ = 0;           // records in use
  std::vector<uint32_t> sockets_;  // ports of serve_socket()
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace vanity
