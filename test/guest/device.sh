# For the jobs that run device_*_test.cpp: gives the devices to vfio-pci and names them.
. test/guest/guest.sh

export VANITY_EDU=$edu VANITY_E1000E=$e1000e VANITY_VIRTIO_NET=$virtio_net
export VANITY_NVME=$(pci 1b36:0010) VANITY_SLOT_MATE=$(pci 1234:11e8 | tail -n 1) VANITY_SLOT_OTHER=$(pci 1af4:1044)
for device in $edu $e1000e $virtio_net $VANITY_NVME $VANITY_SLOT_MATE; do
  bind_vfio "$device" || exit 1
done
# QEMU takes a change of its power state for a reset of the e1000e, and forgets nothing then.
echo bus >/sys/bus/pci/devices/$e1000e/reset_method

# device_tests BACKEND AREA...
device_tests() {
  local area
  export VANITY_BACKEND=$1
  shift
  for area in "$@"; do
    step .cache/native/address/guest/device_${area}_test
  done
}
