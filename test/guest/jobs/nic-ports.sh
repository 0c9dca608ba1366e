# NIC ports on the command line: check --host before and after the NICs are handed over, several that bind at once, a run.
# host: node scripts/build.js
# limit: 400
. test/guest/guest.sh

export VANITY_E1000E=$e1000e VANITY_VIRTIO_NET=$virtio_net
exec node test/guest/nic_ports.js
