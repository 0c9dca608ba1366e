# native/port/virtio_net on QEMU's virtio-net, under ASan and UBSan: one NIC on one wire with a NIC of the kernel, one of
# four pairs of queues on a tap of the host.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/virtio_test
# nic: vanity 1 virtio-net-pci,packed=on
# nic: peer 1 virtio-net-pci
# network: own
# qemu: -netdev tap,id=multi,ifname=vanity-multi,queues=4,script=test/guest/tap.sh,downscript=no
# qemu: -device pcie-root-port,id=port-multi,chassis=30
# qemu: -device virtio-net-pci,bus=port-multi,netdev=multi,mq=on,vectors=10,packed=on,mac=52:54:00:00:02:01,disable-legacy=on,iommu_platform=on,romfile=
. test/guest/guest.sh

sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
export VANITY_NIC=$nic_vanity VANITY_PEER=$(interface_of "$nic_peer")
for device in $(pci 1af4:1041); do
  interface=$(interface_of "$device")
  [ "$(cat "/sys/class/net/$interface/address")" = 52:54:00:00:02:01 ] && export VANITY_MULTI=$device
done
ip link set "$VANITY_PEER" up
bind_vfio "$VANITY_NIC" && bind_vfio "$VANITY_MULTI" || exit 1
.cache/native/address/guest/virtio_test
