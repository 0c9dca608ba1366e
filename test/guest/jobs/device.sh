# native/device on real VFIO, under ASan and UBSan: device_test.cpp.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/device_test
# qemu: -drive if=none,id=nv,driver=null-co,size=64M -device pcie-root-port,id=rp2,chassis=3
# qemu: -device nvme,bus=rp2,drive=nv,serial=nvme0
# Two functions of one slot, which an IOMMU cannot tell apart:
# qemu: -device edu,addr=0x10.0,multifunction=on -device virtio-rng-pci,addr=0x10.1,disable-legacy=on
. test/guest/guest.sh

export VANITY_EDU=$edu VANITY_E1000E=$e1000e VANITY_VIRTIO_NET=$virtio_net
export VANITY_NVME=$(pci 1b36:0010) VANITY_SLOT_MATE=$(pci 1234:11e8 | tail -n 1) VANITY_SLOT_OTHER=$(pci 1af4:1044)
for device in $edu $e1000e $virtio_net $VANITY_NVME $VANITY_SLOT_MATE; do
  bind_vfio "$device" || exit 1
done
# QEMU takes a change of its power state for a reset of the e1000e, and forgets nothing then.
echo bus >/sys/bus/pci/devices/$e1000e/reset_method
.cache/native/address/guest/device_test
code=$?
dmesg | grep -E 'DMAR: \[DMA (Write|Read)' | sed 's/^/# /' | head -n 3
exit $code
