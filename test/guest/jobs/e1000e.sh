# native/port/e1000e on QEMU's e1000e, on one wire with a NIC of the kernel, under ASan and UBSan.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/e1000e_test
# nic: vanity 1 e1000e
# nic: peer 1 virtio-net-pci
. test/guest/guest.sh

export VANITY_NIC=$(pci 8086:10d3 | tail -n 1)
export VANITY_PEER=$(basename "$(grep -l 52:54:00:00:01:02 /sys/class/net/*/address | xargs dirname)")
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set "$VANITY_PEER" mtu 9000 up
bind_vfio "$VANITY_NIC" || exit 1
.cache/native/address/guest/e1000e_test
