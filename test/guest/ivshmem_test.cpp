// native/port/ivshmem against QEMU's device and the peer of ivshmem_peer.py. Runs inside the guest
// only (test/guest/jobs/ivshmem.sh), as root.
#include <poll.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "../native/check.hpp"
#include "device/vfio.hpp"
#include "port/ivshmem/ivshmem.hpp"
#include "port/ivshmem/mailbox.hpp"

using namespace vanity;
using namespace vanity::ivshmem;

namespace {

constexpr uint64_t kBytes = 1 << 20;  // as the peer has it
constexpr uint16_t kPeer = 1;
constexpr uint32_t kVectors = kSlots;
constexpr uint64_t kPleaseRing = kSlots * kSlotBytes;
constexpr int kSoonMs = 5000;
constexpr int kQuietMs = 150;

struct Card {
  VfioDevice device;
  MmioView memory;
  Ivshmem<MmioView> shared;
  Irq& irq;

  Card()
      : device(PciAddress::parse(std::getenv("VANITY_IVSHMEM"))),
        memory(device.mmio(kMemoryBar, 0, kBytes)),
        shared(device.mmio(kRegisterBar, 0, kRegisterBytes), memory, kBytes),
        irq(device.arm(IrqKind::msix, kVectors)) {
    device.bus_master(true);  // a message is a write of the device
  }

  bool fired(uint32_t vector, int ms) {
    pollfd wait = {irq.fd(vector), POLLIN, 0};
    return poll(&wait, 1, ms) == 1 && irq.take(vector) != 0;
  }
  uint32_t rung(uint32_t vector) {
    uint32_t count = 0;
    CHECK(shared.get(kPleaseRing + 8 + 4 * vector, count));
    return count;
  }
};

std::vector<uint8_t> bytes_of(uint32_t count, uint32_t seed) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(seed >> 24);
  }
  return bytes;
}

uint32_t crc32(const std::vector<uint8_t>& bytes) {
  uint32_t crc = ~0u;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

}  // namespace

TEST(the_server_says_who_we_are) {
  Card card;
  CHECK_EQ(card.shared.id(), 0u);
  CHECK_EQ(card.device.bar_bytes(kRegisterBar), kRegisterBytes);
  CHECK_EQ(card.device.bar_bytes(kMemoryBar), kBytes);
  CHECK_EQ(card.device.irq_info(IrqKind::msix).count, kVectors);
}

TEST(every_vector_of_the_peer_can_be_rung) {
  Card card;
  for (uint32_t vector = 0; vector < kVectors; ++vector) {
    const uint32_t before = card.rung(vector);
    card.shared.ring(kPeer, static_cast<uint16_t>(vector));
    for (int i = 0; i < kSoonMs && card.rung(vector) == before; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK_EQ(card.rung(vector), before + 1);
  }
}

TEST(every_vector_of_ours_fires_and_only_its_own) {
  Card card;
  for (uint32_t vector = 0; vector < kVectors; ++vector) {
    CHECK(card.shared.put(kPleaseRing + 4, 1));
    CHECK(card.shared.put(kPleaseRing, vector + 1));
    card.shared.ring(kPeer, 0);
    CHECK(card.fired(vector, kSoonMs));
    for (uint32_t other = 0; other < kVectors; ++other) CHECK_EQ(card.irq.take(other), 0u);
  }
}

TEST(work_in_every_slot_comes_back_right) {
  Card card;
  Mailbox<MmioView> mailbox(card.shared, kPeer);
  for (uint32_t round = 0; round < 50; ++round) {
    std::vector<uint8_t> data[kSlots];
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      data[slot] = bytes_of(1 + (round * 83 + slot * 977) % kSlotDataMax, round + slot);
      CHECK(mailbox.ask(slot, 1 + slot % 2, data[slot].data(),
                        static_cast<uint32_t>(data[slot].size())));
      CHECK(!mailbox.ask(slot, 1, data[slot].data(), 1));  // busy
    }
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      CHECK(card.fired(slot, kSoonMs));
      uint32_t result = 0;
      std::vector<uint8_t> back(data[slot].size());
      CHECK(mailbox.take(slot, result, back.data()));
      CHECK(!mailbox.take(slot, result, back.data()));
      if (slot % 2 == 0) {
        CHECK_EQ(result, crc32(data[slot]));
        CHECK(back == data[slot]);
      } else {
        CHECK(std::vector<uint8_t>(back.rbegin(), back.rend()) == data[slot]);
      }
    }
  }
}

TEST(what_is_beyond_the_memory_is_refused) {
  Card card;
  uint32_t word = 0;
  std::vector<uint8_t> bytes(64);
  CHECK(!card.shared.get(kBytes, word));
  CHECK(!card.shared.put(kBytes - 2, 1));
  CHECK(!card.shared.get(2, word));
  CHECK(!card.shared.write(kBytes - 8, bytes.data(), 9));
  CHECK(!card.shared.read(~uint64_t{7}, bytes.data(), 16));
  CHECK(card.shared.write(kBytes - 16, bytes.data(), 16));
  Mailbox<MmioView> mailbox(card.shared, kPeer);
  CHECK(!mailbox.ask(kSlots, 1, bytes.data(), 1));
  CHECK(!mailbox.ask(0, 1, bytes.data(), kSlotDataMax + 1));
  CHECK(!mailbox.take(0, word, bytes.data()));
}

TEST(peers_and_vectors_that_are_not_there_are_passed_over) {
  Card card;
  card.shared.ring(7, 0);
  card.shared.ring(kPeer, 99);
  for (uint32_t vector = 0; vector < kVectors; ++vector) CHECK(!card.fired(vector, kQuietMs / 4));
  CHECK(card.shared.put(kPleaseRing + 4, 1));
  CHECK(card.shared.put(kPleaseRing, 1));
  card.shared.ring(kPeer, 0);
  CHECK(card.fired(0, kSoonMs));  // and it goes on
}
