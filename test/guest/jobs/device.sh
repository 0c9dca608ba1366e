# native/device on real VFIO, by groups, under ASan and UBSan: device_*_test.cpp.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/device_registers_test .cache/native/address/guest/device_interrupts_test .cache/native/address/guest/device_dma_test .cache/native/address/guest/device_iommu_test .cache/native/address/guest/device_owner_test
# qemu: -drive if=none,id=nv,driver=null-co,size=64M -device pcie-root-port,id=rp2,chassis=3
# qemu: -device nvme,bus=rp2,drive=nv,serial=nvme0
# Two functions of one slot, which an IOMMU cannot tell apart:
# qemu: -device edu,addr=0x10.0,multifunction=on -device virtio-rng-pci,addr=0x10.1,disable-legacy=on
. test/guest/device.sh

device_tests group registers interrupts dma iommu owner
exit $failures
