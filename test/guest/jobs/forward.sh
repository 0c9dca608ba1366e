# Two hosts that reach each other only through examples/nic-forward: ARP, ping and iperf3, and what passed either wire
# compared packet by packet.
# host: node scripts/build.js
# limit: 600
# kernel: own
# needs: iperf3 ping ip cc
# nic: west 0 virtio-net-pci
# nic: left 0 virtio-net-pci,packed=on
# nic: right 1 virtio-net-pci,packed=on
# nic: east 1 virtio-net-pci
# nic: left-e 0 e1000e
# nic: right-e 1 e1000e
. test/guest/guest.sh
. test/guest/hosts.sh
. test/guest/system.sh
. test/guest/forward.sh

for address in $nic_left $nic_right $nic_left_e $nic_right_e; do bind_vfio "$address"; done

virtio=(--set "devices.left.pci=$nic_left" --set "devices.right.pci=$nic_right")
e1000e=(--set "devices.left.pci=$nic_left_e" --set "devices.right.pci=$nic_right_e"
  --set devices.left.driver=e1000e --set devices.right.driver=e1000e)

# shellcheck disable=SC2046
{
  forward_case "virtio-net, packed, group" 1 "${virtio[@]}" $(of_both backend=group) $(rings yes)
  forward_case "virtio-net, split, cdev" 1 "${virtio[@]}" $(of_both backend=cdev) $(rings no)
  if [ -n "${VANITY_FULL:-}" ]; then
    forward_case "e1000e" 1 "${e1000e[@]}"
  else
    echo "# left out: the kernel's stack through the forwarder on e1000e (--full)"
  fi
}
finish
