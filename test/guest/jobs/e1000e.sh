# native/port/e1000e on QEMU's e1000e, on one wire with a NIC of the kernel: alone under ASan and UBSan, and in a run.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/e1000e_test
# host: node scripts/build.js
# needs: python3
# limit: 400
# nic: vanity 1 e1000e
# nic: peer 1 virtio-net-pci
. test/guest/guest.sh

export VANITY_NIC=$nic_vanity VANITY_PEER=$(interface_of "$nic_peer")
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set "$VANITY_PEER" mtu 9000 up
ip addr add 10.9.0.2/24 dev "$VANITY_PEER"
bind_vfio "$VANITY_NIC" || exit 1
step .cache/native/address/guest/e1000e_test
step node test/guest/e1000e.js
exit $failures
