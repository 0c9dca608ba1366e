# For jobs: `. test/guest/guest.sh`. Runs inside the guest.
set -u

# The addresses of all devices of a kind: `pci 8086:10d3`.
pci() {
  local device
  for device in /sys/bus/pci/devices/*; do
    [ "$(cat "$device/vendor" "$device/device" | tr -d '\n')" = "0x${1%:*}0x${1#*:}" ] && basename "$device"
  done
}
edu=$(pci 1234:11e8 | head -n 1)
e1000e=$(pci 8086:10d3 | head -n 1)
virtio_net=$(pci 1af4:1041 | head -n 1)

driver_of() { basename "$(readlink "/sys/bus/pci/devices/$1/driver")"; }
group_of() { basename "$(readlink "/sys/bus/pci/devices/$1/iommu_group")"; }

# Gives a device to vfio-pci, as an administrator does by hand.
bind_vfio() {
  local device=/sys/bus/pci/devices/$1
  echo vfio-pci >"$device/driver_override"
  [ -e "$device/driver" ] && echo "$1" >"$device/driver/unbind"
  echo "$1" >/sys/bus/pci/drivers_probe
  [ "$(driver_of "$1")" = vfio-pci ]
}

# Runs a command and says so; the job goes on, and `exit $failures` at its end tells.
failures=0
step() {
  echo "## $*"
  "$@" || { failures=$((failures + 1)) && echo "not ok: exit code $? of $*"; }
}
