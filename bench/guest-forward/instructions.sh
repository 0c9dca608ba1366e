# The same on one processor whose clock counts instructions: what a packet costs.
# kernel: own
# iommu: none
# captures: none
# clock: instructions
# processors: 1
# hugepages: 256
# limit: 600
# needs: dpdk-testpmd cc
# nic: zero 0 virtio-net-pci
# nic: one 0 virtio-net-pci
VANITY_CORE=0
. bench/guest-forward/job.sh
