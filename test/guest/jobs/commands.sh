# vanity device and vanity check --host on real devices, drivers and groups: commands.js.
# host: node scripts/build.js
# limit: 480
# qemu: -drive if=none,id=nv,driver=null-co,size=64M,read-zeroes=on -device pcie-root-port,id=rp2,chassis=3
# qemu: -device nvme,bus=rp2,drive=nv,serial=disk-1
# Two functions of one slot, which an IOMMU cannot tell apart:
# qemu: -device edu,addr=0x10.0,multifunction=on -device virtio-rng-pci,addr=0x10.1,disable-legacy=on
. test/guest/guest.sh

export VANITY_E1000E=$e1000e VANITY_EDU=$edu VANITY_VIRTIO_NET=$virtio_net VANITY_NVME=$(pci 1b36:0010)
export VANITY_TWIN_0=$(pci 1234:11e8 | tail -n 1) VANITY_TWIN_1=$(pci 1af4:1044)
exec node test/guest/commands.js
