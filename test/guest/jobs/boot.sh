# The guest itself: the built addon in Node, the tests of the core, the devices.
# host: node scripts/build.js
# host: make -s -j2 -f test/native/Makefile .cache/native/release/arena_test .cache/native/release/channel_test .cache/native/release/doorbell_test
. test/guest/guest.sh

for device in $edu $e1000e $virtio_net; do
  echo "$device group $(group_of "$device") driver $(driver_of "$device")"
done
[ -n "$edu" ] && [ "$(driver_of "$e1000e")" = e1000e ] && [ "$(driver_of "$virtio_net")" = virtio-pci ] || exit 1
step node dist/cli/main.js doctor --json
step node dist/cli/main.js run examples/flow-split/vanity.toml --duration 1s --set system.oversubscribe=true
for test in arena channel doorbell; do
  step .cache/native/release/${test}_test
done
exit $failures
