#include "port/e1000e/device.hpp"

#include <chrono>
#include <thread>

#include "platform/error.hpp"

namespace vanity::e1000e {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(100);  // for everything the device finishes
constexpr uint32_t kFrameBytes = 1522;                      // with a VLAN tag and the FCS

Error broken(const std::string& what) {
  return Error("VANITY_E_PORT_DEVICE", "the 82574L " + what,
               "Power the slot off and on, or try another card");
}

bool usable(const MacAddress& mac) {
  uint8_t any = 0;
  for (const uint8_t byte : mac) any |= byte;
  return any != 0 && (mac[0] & 1) == 0;
}

}  // namespace

RxSize rx_size(uint32_t room) noexcept {
  if (room >= 2048) {
    const uint32_t kib = room / 1024 < 15 ? room / 1024 : 15;
    return {kRctlLong | kib << kRctlFlexShift, kib * 1024};
  }
  if (room >= kFrameBytes) return {0, kFrameBytes};
  if (room >= 1024) return {kRctlSize1024, 1024};
  if (room >= 512) return {kRctlSize512, 512};
  if (room >= 256) return {kRctlSize256, 256};
  return {0, 0};
}

bool Device::becomes(uint64_t offset, uint32_t mask, uint32_t value) const {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while ((read(offset) & mask) != value) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return true;
}

void Device::stop() noexcept {
  write(kImc, ~0u);
  write(kRctl, 0);
  write(kTctl, kTctlPad);
  write(kCtrl, read(kCtrl) | kCtrlMasterDisable);
  // Requests that are under way end; a device that never says so is cut off by VFIO.
  becomes(kStatus, kStatusMaster, 0);
}

void Device::leave() noexcept {
  // Interrupts that it holds back (EITR) end with it, before VFIO takes their vectors away: QEMU
  // dies of one that comes due without.
  write(kCtrl, read(kCtrl) | kCtrlReset);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void Device::reset() {
  if (read(kStatus) == ~0u) throw broken("does not answer");
  stop();
  write(kCtrl, read(kCtrl) | kCtrlReset);
  // Nothing may be touched for a microsecond; then the EEPROM is read.
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (!becomes(kEecd, kEecdAutoRead, kEecdAutoRead)) throw broken("does not end its reset");
  write(kImc, ~0u);
  write(kIcr, ~0u);

  // What a reset should have done, and in QEMU does not.
  write(kRctl, 0);
  write(kTctl, kTctlPad);
  write(kCtrl, kCtrlLinkUp);  // no pause frames, what speed the PHY finds
  write(kCtrlExt, read(kCtrlExt) & ~(kCtrlExtEiame | kCtrlExtIame | kCtrlExtPbaClear));
  write(kIvar, 0);
  write(kEiac, 0);
  write(kMrqc, 0);
  write(kItr, 0);
  write(kRdtr, 0);
  write(kRadv, 0);
  write(kRsrpd, 0);
  write(kRxcsum, kRxcsumNoPacketSum | kRxcsumIp | kRxcsumTcpUdp);
  write(kRfctl, kRfctlExtended | kRfctlAckOff);
  for (uint32_t i = 0; i < kMtaWords; ++i) write(kMta + 4 * i, 0);
  for (uint32_t i = 1; i < kAddresses; ++i) write(kRah0 + 8 * i, 0);
  for (uint32_t queue = 0; queue < kQueues; ++queue) {
    set_rx_ring(queue, 0, 0);
    set_tx_ring(queue, 0, 0);
  }
  take_losses();
}

MacAddress Device::mac() const {
  MacAddress mac;
  const uint64_t loaded = read(kRal0) | uint64_t{read(kRah0)} << 32;
  for (uint32_t i = 0; i < mac.size(); ++i) mac[i] = static_cast<uint8_t>(loaded >> 8 * i);
  if (usable(mac)) return mac;
  for (uint32_t word = 0; word < mac.size() / 2; ++word) {
    write(kEerd, kEerdStart | word << 2);
    if (!becomes(kEerd, kEerdDone, kEerdDone)) throw broken("does not read its EEPROM");
    const uint32_t data = read(kEerd) >> 16;
    mac[2 * word] = static_cast<uint8_t>(data);
    mac[2 * word + 1] = static_cast<uint8_t>(data >> 8);
  }
  if (!usable(mac)) throw broken("has no MAC address in its EEPROM");
  return mac;
}

void Device::set_rx_ring(uint32_t queue, uint64_t address, uint32_t size) {
  const uint64_t at = queue * kQueueStride;
  write(kRdbal + at, static_cast<uint32_t>(address));
  write(kRdbah + at, static_cast<uint32_t>(address >> 32));
  write(kRdlen + at, size * 16);
  write(kRdh + at, 0);
  write(kRdt + at, 0);
  write(kRxdctl + at, kThresholds);
}

void Device::set_tx_ring(uint32_t queue, uint64_t address, uint32_t size) {
  const uint64_t at = queue * kQueueStride;
  write(kTdbal + at, static_cast<uint32_t>(address));
  write(kTdbah + at, static_cast<uint32_t>(address >> 32));
  write(kTdlen + at, size * 16);
  write(kTdh + at, 0);
  write(kTdt + at, 0);
  write(kTxdctl + at, kThresholds | kTxdctlCount);
  const uint32_t tarc = read(kTarc + at);
  write(kTarc + at, size != 0 ? tarc | kTarcEnable : tarc & ~kTarcEnable);
}

void Device::set_filter(const MacAddress& given, bool promiscuous) {
  const MacAddress mac = usable(given) ? given : this->mac();
  write(kRal0, mac[0] | mac[1] << 8 | mac[2] << 16 | static_cast<uint32_t>(mac[3]) << 24);
  write(kRah0, mac[4] | mac[5] << 8 | kRahValid);
  rctl_ = kRctlStripCrc | kRctlBroadcast | kRctlAllMulticast | (promiscuous ? kRctlAllUnicast : 0);
}

void Device::spread_over_two_queues() {
  // With this key the hash is the same when source and destination change places.
  for (uint32_t i = 0; i < kRssrkWords; ++i) write(kRssrk + 4 * i, 0x5a6d5a6d);
  for (uint32_t i = 0; i < kRetaWords; ++i)
    write(kReta + 4 * i, kRetaSecond << 8 | kRetaSecond << 24);
  write(kMrqc, kMrqcRss | kMrqcIp);
}

void Device::set_vectors(IrqKind kind, uint32_t rx_queues) {
  if (kind != IrqKind::msix) return;
  uint32_t ivar = (kIvarValid | rx_queues) << 16;
  uint32_t causes = 0;
  for (uint32_t queue = 0; queue < rx_queues; ++queue) {
    ivar |= (kIvarValid | queue) << 4 * queue;
    causes |= kCauseRx0 << queue;
  }
  write(kIvar, ivar);
  for (uint32_t vector = 0; vector <= rx_queues; ++vector) write(kEitr0 + 4 * vector, 0);
  write(kEiac, causes);
  write(kCtrlExt, (read(kCtrlExt) & ~kCtrlExtIame) | kCtrlExtPbaClear | kCtrlExtEiame);
}

void Device::enable(const RxSize& size) {
  write(kTctl, read(kTctl) | kTctlEnable | kTctlPad);
  write(kRctl, rctl_ | size.rctl | kRctlEnable);
}

void Device::watch_link(IrqKind kind) {
  if (kind != IrqKind::msix) return;
  write(kIcr, kCauseLink | kCauseOther);
  write(kIms, kCauseLink | kCauseOther);
}

Device::Losses Device::take_losses() {
  Losses losses;
  losses.missed = uint64_t{read(kMissed)} + read(kRxOversize);
  losses.damaged =
      uint64_t{read(kCrcErrors)} + read(kAlignmentErrors) + read(kRxErrors) + read(kRxJabber);
  return losses;
}

}  // namespace vanity::e1000e
