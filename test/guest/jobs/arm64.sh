# native/device and virtio-net behind Arm's SMMUv3, with interrupts by the GIC's ITS. Programs alone: the guest has no shell to run this.
# machine: arm64
# programs: device_registers device_interrupts device_dma device_iommu device_owner virtio
# Four pairs need a tap of the host with four queues:
# without: virtio -four_pairs
