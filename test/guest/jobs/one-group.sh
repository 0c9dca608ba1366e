# Two NICs that the IOMMU cannot tell apart, being functions of one slot, in one system: the forwarder with a host on either
# side (by both backends under --full); and apart, which is refused.
# full: two NICs of one group
# host: node scripts/build.js
# limit: 600
# kernel: own
# needs: iperf3 ping ip cc
# nic: west 0 virtio-net-pci
# nic: east 1 virtio-net-pci
# qemu: -netdev hubport,id=twin-0,hubid=0 -device virtio-net-pci,addr=0x11.0,multifunction=on,netdev=twin-0,mac=52:54:00:00:02:00,disable-legacy=on,iommu_platform=on,romfile=
# qemu: -netdev hubport,id=twin-1,hubid=1 -device virtio-net-pci,addr=0x11.1,netdev=twin-1,mac=52:54:00:00:02:01,disable-legacy=on,iommu_platform=on,romfile=
. test/guest/guest.sh
. test/guest/hosts.sh
. test/guest/system.sh
. test/guest/forward.sh

left=0000:00:11.0 right=0000:00:11.1
twins=(--set "devices.left.pci=$left" --set "devices.right.pci=$right")
check "both are in one group" [ "$(group_of $left)" = "$(group_of $right)" ]
vanity device bind $left $right

# refused_apart: while the forwarder has one, nobody gets the other; who has it is said.
refused_apart() {
  vanity run test/guest/one.toml --duration 1s --set system.name=other --set "devices.nic.pci=$right" \
    --set "devices.nic.backend=$backend" --set shards.mirror.core=1 >/run/other.out 2>&1 && return 1
  grep -q VANITY_E_DEVICE_BUSY /run/other.out && grep "is open in node ($forwarder)" /run/other.out && return
  cat /run/other.out
  return 1
}
# shellcheck disable=SC2046
for backend in group cdev; do
  if [ $backend = group ] || [ -n "${VANITY_FULL:-}" ]; then
    forward_case "one group by $backend" 1 "${twins[@]}" $(of_both backend=$backend)
  else
    echo "# left out: two NICs of one group by $backend (--full)"
  fi
  manifest=test/guest/one.toml system=one
  check "apart by $backend: the first starts" start_forwarder --set "devices.nic.pci=$left" \
    --set "devices.nic.backend=$backend" --set shards.mirror.core=0
  check "apart by $backend: the second is refused" refused_apart
  check "apart by $backend: the first ends well" stop_forwarder
  manifest=examples/nic-forward/vanity.toml system=nic-forward
done
finish
