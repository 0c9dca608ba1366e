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

for address in $nic_west $nic_left $nic_right $nic_east; do bind_vfio "$address" || exit 1; done
cc -O2 -Wall -Wextra -shared -fPIC -I native/include -o examples/nic-forward/cross.so examples/nic-forward/cross.c || exit 1
cc -O2 -Wall -Wextra -shared -fPIC -I native/include -o test/guest/programs/both.so test/guest/programs/both.c || exit 1
export VANITY_WEST=$nic_west VANITY_LEFT=$nic_left VANITY_RIGHT=$nic_right VANITY_EAST=$nic_east VANITY_NOIOMMU=1
exec node test/guest/nic-forward.js "${PACKETS:-1001000}"
