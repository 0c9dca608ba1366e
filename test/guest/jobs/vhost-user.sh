# Two hosts whose network devices end in a Vanity system outside the guest (QEMU's vhost-user), one with split rings and one
# with packed: ARP, ping and iperf3 through it, and both once more with drivers that were taken away and came back.
# full: the virtio NICs of Linux in QEMU, ending in a system of vhost-user ports
# host: node scripts/build.js
# beside: node dist/cli/main.js run test/guest/vhost-user.toml --json --interval 1h --set ports.left.socket=SCRATCH/left.sock --set ports.right.socket=SCRATCH/right.sock 2>&1
# needs: iperf3 ping ip
# QEMU 7.2 dies of MSI-X on a vhost-user device where there is no KVM (msix_set_vector_notifiers), hence vectors=0.
# limit: 400
# qemu: -object memory-backend-memfd,id=ram,size=2G,share=on -machine memory-backend=ram
# qemu: -chardev socket,id=left,path=SCRATCH/left.sock -netdev vhost-user,id=left,chardev=left
# qemu: -device pcie-root-port,id=port-left,chassis=40
# qemu: -device virtio-net-pci,bus=port-left,netdev=left,mac=52:54:00:00:02:01,disable-legacy=on,vectors=0,romfile=
# qemu: -chardev socket,id=right,path=SCRATCH/right.sock -netdev vhost-user,id=right,chardev=right
# qemu: -device pcie-root-port,id=port-right,chassis=41
# qemu: -device virtio-net-pci,bus=port-right,netdev=right,mac=52:54:00:00:02:02,disable-legacy=on,packed=on,vectors=0,romfile=
. test/guest/guest.sh
. test/guest/hosts.sh

sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
device_of() { # MAC
  local device
  for device in $(pci 1af4:1041); do
    [ "$(cat "/sys/class/net/$(interface_of "$device")/address")" = "$1" ] && echo "$device"
  done
}
left=$(device_of 52:54:00:00:02:01)
right=$(device_of 52:54:00:00:02:02)

meet() { host west "$left" 198.18.5.1 && host east "$right" 198.18.5.2; }
pings() { on west ping -q -c "$1" -i 0.05 -s "$2" 198.18.5.2 | grep -q " 0% packet loss"; }
streams() { # SECONDS ARGUMENT...
  local seconds=$1
  shift
  on west iperf3 -s -1 -D && sleep 1 && on east iperf3 -c 198.18.5.1 -t "$seconds" "$@" | tee /run/iperf | tail -n 4
  grep -Eq '[1-9][0-9.]* .?bits/sec.*receiver' /run/iperf
}
taken_and_given_back() {
  local device
  ip netns del west
  ip netns del east
  sleep 1
  for device in "$left" "$right"; do
    echo "$device" >/sys/bus/pci/drivers/virtio-pci/unbind && echo "$device" >/sys/bus/pci/drivers/virtio-pci/bind || return 1
  done
  until_true 10 interface_is_there "$left" && until_true 10 interface_is_there "$right"
}
interface_is_there() { [ -d /sys/class/net/"$(interface_of "$1")" ]; }

step meet
step pings 20 56
step pings 20 1472
step streams 3
step streams 3 -R
step taken_and_given_back
step meet
step pings 20 1472
step streams 2
exit $failures
