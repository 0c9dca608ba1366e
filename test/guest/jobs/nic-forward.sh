# examples/nic-forward between two NICs that send to each other through it, a million packets in all: nothing lost,
# every hop counted the same, all buffers home. Without an IOMMU, which makes half of the work when it is emulated.
# host: node scripts/build.js
# kernel: own
# iommu: none
# captures: none
# hugepages: 128
# limit: 600
# needs: cc
# nic: west 0 virtio-net-pci
# nic: left 0 virtio-net-pci
# nic: right 1 virtio-net-pci
# nic: east 1 virtio-net-pci
. test/guest/guest.sh
. test/guest/nic-forward.sh

export VANITY_NOIOMMU=1
exec node test/guest/nic-forward.js 1001000
