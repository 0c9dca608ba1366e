# DPDK's testpmd at both ends of examples/nic-forward: one makes packets and the other sends them back with their addresses
# exchanged, so that they circulate; what passed either wire compared packet by packet.
#   generator --wire 0-- left (virtio, Vanity) right (e1000e) --wire 1-- reflector, and the other way around
# host: node scripts/build.js
# limit: 400
# kernel: own
# hugepages: 192
# needs: dpdk-testpmd cc
# nic: near 0 virtio-net-pci
# nic: left 0 virtio-net-pci,packed=on
# nic: right 1 e1000e
# nic: far 1 e1000e
. test/guest/guest.sh
. test/guest/hosts.sh
. test/guest/system.sh
. test/guest/testpmd.sh

mac_near=$(cat "/sys/class/net/$(interface_of "$nic_near")/address")
mac_far=$(cat "/sys/class/net/$(interface_of "$nic_far")/address")
for address in $nic_near $nic_left $nic_right $nic_far; do bind_vfio "$address" || exit 1; done
places=(--set "devices.left.pci=$nic_left" --set "devices.right.pci=$nic_right" --set devices.right.driver=e1000e)

# end NAME ADDRESS PEER-MAC BYTES: a testpmd that sends what comes back to where it came from. What it begins with are frames
# of BYTES to PEER-MAC, 256 different ones in turn: more than are ever under way.
end() {
  start_testpmd "$1" --lcores "0@0,1@0" -m 64 -a "$2" -- --forward-mode=macswap --port-topology=loop \
    --eth-peer="0,$3" --txpkts="$4" --txonly-multi-flow --total-num-mbufs=2048 --rxd=256 --txd=256
}
bytes_come() { [ "$(size near)" -gt "$1" ]; }
counted() { says "Object.values(it.ports).every(({ rx_packets, tx_packets }) => rx_packets >= $1 && tx_packets >= $1)"; }

# testpmd_case NAME GENERATOR REFLECTOR BYTES COUNT ARGUMENT...: near or far makes the packets, and there are COUNT at least.
testpmd_case() {
  local name=$1 from=$2 to=$3 bytes=$4 count=$5 near far
  local -n from_nic=nic_$2 from_mac=mac_$2 to_nic=nic_$3 to_mac=mac_$3
  shift 5
  echo "## $name"
  near=$(size near) far=$(size far)
  # The peer first: frames that nobody takes would wait on the wire.
  check "$name: the reflector" end "$to" "$to_nic" "$from_mac" "$bytes"
  testpmd "$to" start
  check "$name: it starts" start_forwarder "$@"
  check "$name: the generator" end "$from" "$from_nic" "$to_mac" "$bytes"
  testpmd "$from" start tx_first 4 # bursts of 32
  check "$name: packets circulate" until_true 60 bytes_come "$((near + 2 * count * (bytes + 16)))"
  testpmd "$from" stop
  sleep 1 # what is under way arrives
  stop_testpmd "$from"
  stop_testpmd "$to"
  check "$name: it stops" stop_forwarder
  check "$name: nothing lost, all buffers home" whole
  check "$name: the ports counted them" counted "$count"
  check "$name: near to far, packet by packet" same_packets near "$near" far "$far" "$mac_near"
  check "$name: far to near, packet by packet" same_packets far "$far" near "$near" "$mac_far"
}

# shellcheck disable=SC2046
{
  testpmd_case "from virtio, packed, cdev" near far 60 20000 "${places[@]}" $(of_both backend=cdev) --set ports.left.packed=yes
  [ -z "${VANITY_FULL:-}" ] && echo "# left out: testpmd on e1000e as the generator, split rings, by group (--full)" ||
    testpmd_case "from e1000e, split, group" far near 1400 5000 "${places[@]}" $(of_both backend=group) --set ports.left.packed=no
}
finish
