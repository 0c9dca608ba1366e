# The run of jobs/e1000e.sh without an IOMMU, where rings and buffers are told to the device page by page.
# host: node scripts/build.js
# needs: python3
# kernel: own
# iommu: none
# nic: vanity 1 e1000e
# nic: peer 1 virtio-net-pci
. test/guest/guest.sh

export VANITY_NIC=$nic_vanity VANITY_PEER=$(interface_of "$nic_peer")
ip link set "$VANITY_PEER" up
bind_vfio "$VANITY_NIC" || exit 1
exec node test/guest/e1000e.js --set devices.nic.unsafe_noiommu=true
