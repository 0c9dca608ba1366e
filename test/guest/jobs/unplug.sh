# NICs taken away under load, by Linux, by SIGKILL and out of their slots: each driver in a whole System, under ASan and UBSan.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/unplug_test
# captures: none
# limit: 400
# nic: ours 0 e1000e
# nic: peer 0 virtio-net-pci
# nic: ours-v 1 virtio-net-pci
# nic: peer-v 1 virtio-net-pci
. test/guest/guest.sh

stty -F /dev/ttyS2 raw -echo
export VANITY_E1000E=$nic_ours VANITY_VIRTIO=$nic_ours_v
export VANITY_E1000E_PEER=$(interface_of "$nic_peer") VANITY_VIRTIO_PEER=$(interface_of "$nic_peer_v")
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set "$VANITY_E1000E_PEER" up && ip link set "$VANITY_VIRTIO_PEER" up
bind_vfio "$nic_ours" && bind_vfio "$nic_ours_v" || exit 1
echo bus >/sys/bus/pci/devices/$nic_ours/reset_method
.cache/native/address/guest/unplug_test
