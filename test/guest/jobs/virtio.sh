# native/port/virtio_net on QEMU's virtio-net, on one wire with a NIC of the kernel, under ASan and UBSan.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/virtio_test
# nic: vanity 1 virtio-net-pci,packed=on
# nic: peer 1 virtio-net-pci
. test/guest/guest.sh

sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
export VANITY_NIC=$nic_vanity VANITY_PEER=$(interface_of "$nic_peer")
ip link set "$VANITY_PEER" up
bind_vfio "$VANITY_NIC" || exit 1
.cache/native/address/guest/virtio_test
