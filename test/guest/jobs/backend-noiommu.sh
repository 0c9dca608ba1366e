# The same without an IOMMU, as far as nothing needs one.
# kernel: own
# iommu: none
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/device_registers_test .cache/native/address/guest/device_interrupts_test .cache/native/address/guest/device_dma_test .cache/native/address/guest/device_noiommu_test
# qemu: -global edu.dma_mask=0xffffffffffffffff
# qemu: -drive if=none,id=nv,driver=null-co,size=64M -device pcie-root-port,id=rp2,chassis=3
# qemu: -device nvme,bus=rp2,drive=nv,serial=nvme0
# Two functions of one slot, which an IOMMU cannot tell apart:
# qemu: -device edu,addr=0x10.0,multifunction=on -device virtio-rng-pci,addr=0x10.1,disable-legacy=on
. test/guest/device.sh

device_tests noiommu registers interrupts dma noiommu
exit $failures
