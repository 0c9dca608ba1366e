# Packets a second, Vanity and testpmd in turn: what bench/guest-forward.js boots.
# kernel: own
# iommu: none
# captures: none
# hugepages: 256
# limit: 600
# needs: dpdk-testpmd cc
# nic: zero 0 virtio-net-pci
# nic: one 0 virtio-net-pci
. bench/guest-forward/job.sh
