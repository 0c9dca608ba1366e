// The way of a packet into a virtio-user port, by the very parts that ship: the queue of a
// vhost-user back-end copies it into a buffer of the driver, shows it in the ring and, if the
// driver wants to be told, writes its eventfd; a thread in the place of the kernel's core finds
// that by epoll and rings the doorbell of the shard; and the shard, which has polled its queue for
// a while, armed it and gone to wait as wait = "auto" does, receives it.
//
// Both sides are in this process, and the memory they share is mapped twice, as between two.
#pragma once

#include <cstdint>
#include <memory>

#include "memory/arena.hpp"
#include "memory/pool.hpp"
#include "platform/clock.hpp"
#include "platform/detect.hpp"
#include "port/buffer_map.hpp"
#include "port/vhost_user/queue.hpp"
#include "port/virtio_net/net_queue.hpp"
#include "vhost/peer_memory.hpp"
#include "wake/kernel_core.hpp"
#include "wake/mailbox.hpp"

namespace vanity::wake {

class VirtioUser {
 public:
  VirtioUser(uint32_t cpu, WaitTuning tuning, Dates);

  // ---- the waiter: a shard with this port and nothing else
  uint32_t wait_for(uint32_t seen, const Pair& pair) noexcept {
    for (;;) {
      if (receive()) {
        // What was stored before the packet is visible with it.
        const uint32_t found = mail.load();
        if (found != seen) return found;
      }
      if (pair.stopped()) return mail.load();
      idle();
    }
  }
  void poll() noexcept { receive(); }
  const WaitCounters& counters() const noexcept { return waiter_.counters(); }

  // ---- the signaller: a back-end
  void publish(uint32_t sequence) noexcept {
    mail.store(sequence);
    // In a ring without room lie packets that nobody has taken: whoever does finds the mail.
    back_end_.transmit(frames_, &packet_, 1);
  }

  void kick() noexcept {}

  Mail mail;

 private:
  static constexpr uint16_t kRing = 256;
  static constexpr uint32_t kRingBytes = virtio::RingLayout::of(false, kRing).bytes;
  static constexpr uint32_t kBuffers = 512, kBufferBytes = 512;
  static constexpr uint64_t kAddress = uint64_t{1} << 40;  // of the memory, as the two call it
  static constexpr uint64_t kPollNs = 50'000;              // poll_us_max when absent

  bool receive() noexcept {
    vanity_packet packets[32];
    const uint32_t got = driver_.receive(pool_, packets, 32);
    pool_.give(packets, got);
    return got != 0;
  }
  // As Shard::idle().
  void idle() noexcept {
    Doorbell& bell = kernel_.shard().doorbell;
    if (bell.take(Doorbell::kControlIrq) != 0) return;
    const uint64_t ns = driver_.sleep_ns_max();
    if (ns == 0) return relax();
    waiter_.idle(
        &bell, [&] { return bell.any(); }, now_ticks() + ns_to_ticks(ns),
        [](uint64_t) { return false; });
  }

  uint64_t address_of(const std::byte* at) const noexcept {
    return kAddress + static_cast<uint64_t>(at - memory_.base());
  }
  void share_memory();
  void join_ring();

  Fd call_;
  KernelCore kernel_;
  Arena memory_;  // ring and buffers
  std::byte* ring_;
  alignas(kIsolationBytes) Waiter waiter_;  // from here on the waiter's own
  Pool pool_;
  const uint64_t pool_address_;
  BufferMap buffers_;
  QueueRecord driver_record_{};
  virtio_net::NetRx<virtio::SplitRing> driver_;
  alignas(kIsolationBytes)
      std::unique_ptr<vhost::PeerMemory> peer_;  // from here on the signaller's own
  Arena frame_memory_;
  Pool frame_pool_;
  PoolTable frames_;
  QueueRecord back_end_record_{};
  vhost_user::VhostTx back_end_;
  vanity_packet packet_{};
};

}  // namespace vanity::wake
