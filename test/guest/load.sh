# For jobs, after guest.sh: NICs ours and peer on one wire, ours-v and peer-v on another, as load_fixture.hpp wants them.
stty -F /dev/ttyS2 raw -echo
export VANITY_E1000E=$nic_ours VANITY_VIRTIO=$nic_ours_v
export VANITY_E1000E_PEER=$(interface_of "$nic_peer") VANITY_VIRTIO_PEER=$(interface_of "$nic_peer_v")
[ ! -e /proc/sys/net/ipv6 ] || sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set "$VANITY_E1000E_PEER" up && ip link set "$VANITY_VIRTIO_PEER" up
bind_vfio "$nic_ours" && bind_vfio "$nic_ours_v" || exit 1
# QEMU takes a change of its power state for a reset of the e1000e, and forgets nothing then.
echo bus >/sys/bus/pci/devices/$nic_ours/reset_method
