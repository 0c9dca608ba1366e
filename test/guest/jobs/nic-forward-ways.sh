# The run of jobs/nic-forward.sh in every other way: through the IOMMU by either backend, packed and split rings, e1000e,
# four queues with a shard each. A million packets each under --full, else a tenth.
# full: the forwarder in every other way: backends, packed rings, e1000e, four queues
# host: node scripts/build.js
# kernel: own
# captures: none
# hugepages: 128
# limit: 1500
# needs: cc ip
# network: own
# nic: west 0 virtio-net-pci
# nic: left 0 virtio-net-pci,packed=on
# nic: right 1 virtio-net-pci,packed=on
# nic: east 1 virtio-net-pci
# nic: left-e 0 e1000e
# nic: right-e 1 e1000e
# nic: west-4 bridge0 virtio-net-pci
# nic: left-4 bridge0:4 virtio-net-pci,mq=on,vectors=10,packed=on
# nic: right-4 bridge1:4 virtio-net-pci,mq=on,vectors=10,packed=on
# nic: east-4 bridge1 virtio-net-pci
. test/guest/guest.sh
for address in $nic_left_e $nic_right_e $nic_west_4 $nic_left_4 $nic_right_4 $nic_east_4; do bind_vfio "$address" || exit 1; done
. test/guest/nic-forward.sh

count=101000
[ -n "${VANITY_FULL:-}" ] && count=1001000 || echo "# left out: a million packets in each way of nic-forward, a tenth instead"
both() { local one; for one in "$@"; do echo "devices.left.$one devices.right.$one"; done; }
rings() { echo "ports.left.packed=$1 ports.right.packed=$1"; }

# shellcheck disable=SC2046
{
  step node test/guest/nic-forward.js $count $(both backend=cdev) $(rings yes)
  step node test/guest/nic-forward.js $count $(both backend=group) $(rings no)
  VANITY_LEFT=$nic_left_e VANITY_RIGHT=$nic_right_e step node test/guest/nic-forward.js $count $(both driver=e1000e)
  export VANITY_WEST=$nic_west_4 VANITY_LEFT=$nic_left_4 VANITY_RIGHT=$nic_right_4 VANITY_EAST=$nic_east_4
  VANITY_FORWARD=test/guest/four-queues.toml step node test/guest/nic-forward.js $count
}
exit $failures
