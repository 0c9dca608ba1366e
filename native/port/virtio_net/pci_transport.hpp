// A modern virtio device on PCI (VIRTIO 1.2 §4.1), in the hands of this process through VFIO.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "device/vfio.hpp"
#include "virtio/transport.hpp"

namespace vanity::virtio_net {

class PciTransport : public virtio::Transport {
 public:
  // Finds the structures by their capabilities and maps what is needed of them; touches nothing.
  // `device` must outlive this. Throws VANITY_E_PORT_DEVICE for what is no modern virtio device of
  // this kind, and what VfioDevice does.
  PciTransport(VfioDevice& device, uint16_t device_id);

  uint64_t offered() override;
  void accept(uint64_t features) override;
  uint8_t status() override { return common_.read8(kStatus); }
  void set_status(uint8_t status) override { common_.write8(kStatus, status); }
  uint32_t config(uint32_t offset, uint32_t bytes) override;
  uint16_t queue_size_max(uint16_t queue) override;
  bool set_up(uint16_t queue, const virtio::QueuePlace& place, uint16_t vector) override;
  void enable(uint16_t queue) override;
  bool set_config_vector(uint16_t vector) override;
  void reset_queue(uint16_t queue) override;
  bool reset_done(uint16_t queue) override;
  virtio::Notifier notifier(uint16_t queue) override;
  uint32_t vectors() override;
  bool has_level() override;
  virtio::LevelState level_state() override;
  virtio::SharedMemory memory(uint32_t bytes) override;
  bool translates() override;
  void let_loose(bool on) override { device_.bus_master(on); }

 private:
  // §4.1.4.3
  enum : uint64_t {
    kDeviceFeatureSelect = 0,
    kDeviceFeature = 4,
    kDriverFeatureSelect = 8,
    kDriverFeature = 12,
    kConfigVector = 16,
    kStatus = 20,
    kQueueSelect = 22,
    kQueueSize = 24,
    kQueueVector = 26,
    kQueueEnable = 28,
    kQueueNotifyOffset = 30,
    kQueueDescriptors = 32,
    kQueueDriver = 40,
    kQueueDevice = 48,
    kQueueReset = 58,
    kCommonBytes = 56,
    kCommonBytesWithReset = 60,
  };
  struct Place {
    uint8_t bar;
    uint32_t offset;
    uint32_t bytes;
  };

  std::optional<Place> find(uint8_t kind, uint32_t* notify_multiplier = nullptr) const;
  MmioView map(const Place& place, uint64_t bytes);
  void select(uint16_t queue) { common_.write16(kQueueSelect, queue); }
  void write_address(uint64_t at, uint64_t address);

  VfioDevice& device_;
  MmioView common_{nullptr, 0};
  MmioView notify_{nullptr, 0};
  std::optional<MmioView> own_;    // the device's configuration
  std::optional<MmioView> level_;  // ISR status
  uint32_t notify_multiplier_ = 0;
  uint64_t accepted_ = 0;
  std::optional<Register<uint8_t>> level_register_;
  // Stay where they are: the notifiers point at them.
  std::map<uint16_t, Register<uint16_t>> doorbells_;
  std::map<uint16_t, Register<uint32_t>> data_doorbells_;

  void grow(uint64_t bytes);
  DmaRegion* region_ = nullptr;
  uint64_t region_used_ = 0;
};

}  // namespace vanity::virtio_net
