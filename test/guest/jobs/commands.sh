# vanity device and vanity check --host on real devices, drivers and groups: commands.js.
# host: node scripts/build.js
# qemu: -drive if=none,id=nv,driver=null-co,size=64M,read-zeroes=on -device pcie-root-port,id=rp2,chassis=3
# qemu: -device nvme,bus=rp2,drive=nv,serial=disk-1
# Two NICs of one slot, which an IOMMU cannot tell apart:
# qemu: -device e1000e,addr=0x10.0,multifunction=on,romfile= -device e1000e,addr=0x10.1,romfile=
. test/guest/guest.sh

export VANITY_E1000E=$e1000e VANITY_EDU=$edu VANITY_VIRTIO_NET=$virtio_net VANITY_NVME=$(pci 1b36:0010)
export VANITY_TWIN_0=$(pci 8086:10d3 | sed -n '/:10\.0$/p') VANITY_TWIN_1=$(pci 8086:10d3 | sed -n '/:10\.1$/p')
# The first one in the order of addresses is a twin.
export VANITY_E1000E=$(pci 8086:10d3 | tail -n 1)
exec node test/guest/commands.js
