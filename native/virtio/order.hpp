// The order of memory between driver and device, by the names of what is ordered.
//
// A device that is another processor (QEMU, vhost) is ordered like any other thread. One that is a
// device, on the far side of a bus, offers VIRTIO_F_ORDER_PLATFORM (VIRTIO 1.2 §6.1), and then the
// barriers are those for DMA: on Arm of the outer shareable domain, on RISC-V and x86 the same
// ones, since there memory that devices see is ordered like all other. A device that does not offer
// it says that it sees memory as the processors do.
//
// x86 keeps loads among themselves and stores among themselves in order; only a store before a load
// needs an instruction.
#pragma once

namespace vanity::virtio {

class Order {
 public:
  // `platform`: VIRTIO_F_ORDER_PLATFORM was negotiated.
  explicit Order(bool platform) noexcept : platform_(platform) {}

  // Everything loaded and stored before is done before what is stored after: descriptors before the
  // index or the flags that make them available (§2.7.13.3, §2.8.21.1), and what was read of a
  // buffer or a used element before it is given away again.
  void before_publish() const noexcept {
#if defined(__aarch64__)
    // Of stores alone (ishst) a load could still come late, and find what the device writes next.
    if (platform_) {
      asm volatile("dmb osh" ::: "memory");
    } else {
      asm volatile("dmb ish" ::: "memory");
    }
#elif defined(__riscv)
    asm volatile("fence rw, w" ::: "memory");
#else
    asm volatile("" ::: "memory");
#endif
  }

  // What is loaded after is loaded after the index or flags that were loaded before: used elements
  // after the used index (§2.7.14), a used descriptor after its flags (§2.8.22), and the buffers
  // after both.
  void after_observe() const noexcept {
#if defined(__aarch64__)
    if (platform_) {
      asm volatile("dmb oshld" ::: "memory");
    } else {
      asm volatile("dmb ishld" ::: "memory");
    }
#elif defined(__riscv)
    asm volatile("fence r, rw" ::: "memory");
#else
    asm volatile("" ::: "memory");
#endif
  }

  // The store before is seen before the load after is done: the available index and whether the
  // device wants to be told (§2.7.13.4.1, §2.8.21.3.1), interrupts switched on and whether
  // something came meanwhile (§2.7.7.1, §2.8.22). One of the two sides sees the other's store.
  void between_store_and_look() const noexcept {
#if defined(__aarch64__)
    if (platform_) {
      asm volatile("dmb osh" ::: "memory");
    } else {
      asm volatile("dmb ish" ::: "memory");
    }
#elif defined(__riscv)
    asm volatile("fence w, r" ::: "memory");
#elif defined(__x86_64__)
    if (platform_) {
      asm volatile("mfence" ::: "memory");
    } else {
      asm volatile("lock; orl $0, (%%rsp)" ::: "memory", "cc");  // cheaper, and the same for memory
    }
#else
#error "no barriers for this processor"
#endif
  }

 private:
  // x86 and RISC-V look at it in one place or none.
  [[maybe_unused]] bool platform_;
};

}  // namespace vanity::virtio
