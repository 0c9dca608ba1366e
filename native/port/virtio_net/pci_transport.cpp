#include "port/virtio_net/pci_transport.hpp"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstring>

#include "platform/error.hpp"

namespace vanity::virtio_net {
namespace {

constexpr uint16_t kVendor = 0x1af4;
constexpr uint16_t kModernIds = 0x1040;  // and the device's number (§4.1.2)
constexpr uint8_t kVendorCapability = 0x09;
// §4.1.4, cfg_type
constexpr uint8_t kCommon = 1, kNotify = 2, kIsr = 3, kDevice = 4;
constexpr unsigned kCapabilitiesMax = 48;  // as many as fit; a list in a circle ends too
constexpr uint32_t kDeviceBytesMax = 256;
constexpr uint64_t kRegionBytes = uint64_t{2} << 20;
constexpr unsigned kAddressBits = 64;

[[noreturn]] void refuse(const VfioDevice& device, const std::string& what) {
  throw Error("VANITY_E_PORT_DEVICE", device.address().text() + " " + what,
              "lspci -vv -s " + device.address().text() + " shows what it is and has");
}

}  // namespace

PciTransport::PciTransport(VfioDevice& device, uint16_t device_id) : device_(device) {
  if (device.config_read<uint16_t>(PCI_VENDOR_ID) != kVendor ||
      device.config_read<uint16_t>(PCI_DEVICE_ID) != kModernIds + device_id)
    refuse(device, "is not the modern virtio device that its driver is for");
  const auto common = find(kCommon);
  const auto notify = find(kNotify, &notify_multiplier_);
  if (!common || !notify || common->bytes < kCommonBytes || notify->bytes < 2)
    refuse(device, "has no registers of VIRTIO 1.0 or later");
  common_ = map(*common, std::min<uint64_t>(common->bytes, kCommonBytesWithReset));
  notify_ = map(*notify, notify->bytes);
  if (const auto own = find(kDevice)) own_ = map(*own, std::min(own->bytes, kDeviceBytesMax));
  if (const auto isr = find(kIsr)) {
    level_ = map(*isr, 1);
    level_register_ = level_->at<uint8_t>(0);
  }
}

// §4.1.4: the first of a kind that lies in a BAR is the one to take.
std::optional<PciTransport::Place> PciTransport::find(uint8_t kind,
                                                      uint32_t* notify_multiplier) const {
  unsigned at = device_.config_read<uint8_t>(PCI_CAPABILITY_LIST) & ~3u;
  for (unsigned i = 0; at != 0 && i < kCapabilitiesMax; ++i) {
    const uint8_t bytes = device_.config_read<uint8_t>(at + 2);
    const Place place{device_.config_read<uint8_t>(at + 4), device_.config_read<uint32_t>(at + 8),
                      device_.config_read<uint32_t>(at + 12)};
    if (device_.config_read<uint8_t>(at) == kVendorCapability &&
        device_.config_read<uint8_t>(at + 3) == kind && place.bar < 6 && place.bytes != 0 &&
        bytes >= (notify_multiplier != nullptr ? 20 : 16)) {
      if (notify_multiplier != nullptr) *notify_multiplier = device_.config_read<uint32_t>(at + 16);
      return place;
    }
    at = device_.config_read<uint8_t>(at + 1) & ~3u;
  }
  return std::nullopt;
}

MmioView PciTransport::map(const Place& place, uint64_t bytes) {
  return device_.mmio(place.bar, place.offset, bytes);
}

uint64_t PciTransport::offered() {
  uint64_t features = 0;
  for (uint32_t half = 0; half < 2; ++half) {
    common_.write32(kDeviceFeatureSelect, half);
    features |= uint64_t{common_.read32(kDeviceFeature)} << (32 * half);
  }
  // Without the register there is no such thing (§4.1.4.3).
  if (common_.bytes() < kCommonBytesWithReset)
    features &= ~virtio::bit(virtio::feature::kRingReset);
  return features;
}

void PciTransport::accept(uint64_t features) {
  for (uint32_t half = 0; half < 2; ++half) {
    common_.write32(kDriverFeatureSelect, half);
    common_.write32(kDriverFeature, static_cast<uint32_t>(features >> (32 * half)));
  }
  accepted_ = features;
}

uint32_t PciTransport::config(uint32_t offset, uint32_t bytes) {
  if (!own_ || offset + bytes > own_->bytes()) return bytes == 4 ? ~0u : (1u << 8 * bytes) - 1;
  if (bytes == 1) return own_->read8(offset);
  return bytes == 2 ? own_->read16(offset) : own_->read32(offset);
}

uint16_t PciTransport::queue_size_max(uint16_t queue) {
  select(queue);
  return common_.read16(kQueueSize);
}

// Of two halves: §4.1.3.1 promises no more of a 64-bit field.
void PciTransport::write_address(uint64_t at, uint64_t address) {
  common_.write32(at, static_cast<uint32_t>(address));
  common_.write32(at + 4, static_cast<uint32_t>(address >> 32));
}

bool PciTransport::set_up(uint16_t queue, const virtio::QueuePlace& place, uint16_t vector) {
  select(queue);
  common_.write16(kQueueSize, place.size);
  common_.write16(kQueueVector, vector);
  write_address(kQueueDescriptors, place.descriptors);
  write_address(kQueueDriver, place.driver);
  write_address(kQueueDevice, place.device);
  const uint64_t at = uint64_t{common_.read16(kQueueNotifyOffset)} * notify_multiplier_;
  const bool data = (accepted_ & virtio::bit(virtio::feature::kNotificationData)) != 0;
  if (at + (data ? 4 : 2) > notify_.bytes()) return false;
  if (data) {
    data_doorbells_.insert_or_assign(queue, notify_.at<uint32_t>(at));
  } else {
    doorbells_.insert_or_assign(queue, notify_.at<uint16_t>(at));
  }
  return common_.read16(kQueueSize) == place.size && common_.read16(kQueueVector) == vector;
}

void PciTransport::enable(uint16_t queue) {
  select(queue);
  common_.write16(kQueueEnable, 1);
}

bool PciTransport::set_config_vector(uint16_t vector) {
  common_.write16(kConfigVector, vector);
  return common_.read16(kConfigVector) == vector;
}

void PciTransport::reset_queue(uint16_t queue) {
  select(queue);
  common_.write16(kQueueReset, 1);
}

// §4.1.4.3.2: reads as 1 until the queue is reset, and is disabled then.
bool PciTransport::reset_done(uint16_t queue) {
  select(queue);
  return common_.read16(kQueueReset) == 0 && common_.read16(kQueueEnable) == 0;
}

virtio::Notifier PciTransport::notifier(uint16_t queue) {
  if (const auto found = data_doorbells_.find(queue); found != data_doorbells_.end()) {
    return {[](void* context, uint32_t data) noexcept {
              static_cast<Register<uint32_t>*>(context)->write(data);
            },
            &found->second};
  }
  return {[](void* context, uint32_t data) noexcept {
            static_cast<Register<uint16_t>*>(context)->write(static_cast<uint16_t>(data));
          },
          &doorbells_.at(queue)};
}

uint32_t PciTransport::vectors() {
  return device_.irq_info(IrqKind::msix).count;
}

bool PciTransport::has_level() {
  return level_register_.has_value() && device_.irq_info(IrqKind::intx).count != 0;
}

virtio::LevelState PciTransport::level_state() {
  return {[](void* context) noexcept { return static_cast<Register<uint8_t>*>(context)->read(); },
          &*level_register_};
}

void PciTransport::grow(uint64_t bytes) {
  region_ = &device_.dma(std::max(kRegionBytes, bytes), kAddressBits);
  region_used_ = 0;
}

bool PciTransport::translates() {
  if (region_ == nullptr) grow(kRegionBytes);
  return region_->contiguous_bytes() == UINT64_MAX;
}

virtio::SharedMemory PciTransport::memory(uint32_t bytes) {
  bytes = (bytes + virtio::kMemoryAlign - 1) / virtio::kMemoryAlign * virtio::kMemoryAlign;
  if (region_ == nullptr) grow(bytes);
  const uint64_t piece = region_->contiguous_bytes();
  if (bytes > piece) {
    throw Error("VANITY_E_PORT_DEVICE",
                device_.address().text() + ": a ring of " + std::to_string(bytes) +
                    " bytes lies across pages, and there is no IOMMU to join them",
                "a smaller ring, or huge pages: echo 64 > /proc/sys/vm/nr_hugepages");
  }
  const auto place = [&] {
    const uint64_t next = (region_used_ / piece + 1) * piece;
    return region_used_ / piece == (region_used_ + bytes - 1) / piece ? region_used_ : next;
  };
  if (place() + bytes > region_->bytes()) grow(bytes);
  const uint64_t at = place();
  region_used_ = at + bytes;
  std::memset(region_->data() + at, 0, bytes);
  return {region_->data() + at, region_->view().address(at)};
}

}  // namespace vanity::virtio_net
