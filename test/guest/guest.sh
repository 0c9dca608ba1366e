# For jobs: `. test/guest/guest.sh`. Runs inside the guest.
set -u

# The addresses of all devices of a kind: `pci 8086:10d3`.
pci() {
  local folder vendor device
  for folder in /sys/bus/pci/devices/*; do
    read -r vendor <"$folder/vendor" && read -r device <"$folder/device"
    [ "$vendor:$device" = "0x${1%:*}:0x${1#*:}" ] && echo "${folder##*/}"
  done
}
edu=$(pci 1234:11e8 | head -n 1)
e1000e=$(pci 8086:10d3 | head -n 1)
virtio_net=$(pci 1af4:1041 | head -n 1)

# The NICs of "# nic:" lines: nic_NAME is an address; the interface that Linux makes of one: `interface_of ADDRESS`.
number=0
while read -r name _; do
  number=$((number + 1))
  for device in /sys/class/net/*; do
    read -r path <"$device/address"
    [[ $path = 52:54:00:00:01:* ]] && [ $((16#${path##*:})) = $number ] || continue
    path=$(readlink -f "$device/device")
    declare "nic_${name//-/_}=$(basename "${path%/virtio*}")"
  done
done < <(sed -n 's/^# nic: //p' "$job")
interface_of() { ls -d /sys/bus/pci/devices/"$1"/net/* /sys/bus/pci/devices/"$1"/virtio*/net/* 2>/dev/null | head -n 1 | xargs basename; }

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
  local code=0
  echo "## $*"
  "$@" || code=$?
  [ $code -eq 0 ] || { failures=$((failures + 1)) && echo "not ok: exit code $code of $*"; }
}

# Tells QEMU something, as an operator does with cables and slots: `qmp device_del '{"id": "nic-a"}'`. Prints what
# it answers; events in between are passed over.
qmp() {
  if [ -z "${qmp_open:-}" ]; then
    stty -F /dev/ttyS2 raw -echo && exec 7<>/dev/ttyS2
    # Linux may have sent QEMU's greeting back to it.
    ask qmp_capabilities '{}' >/dev/null || ask qmp_capabilities '{}' >/dev/null || return 1
    qmp_open=1
  fi
  ask "$1" "${2:-{\}}"
}
ask() {
  local line
  echo "{\"execute\": \"$1\", \"arguments\": $2, \"id\": \"asked\"}" >&7
  while read -r -t 10 line <&7; do
    case $line in *'"id": "asked"'*) echo "$line" && [[ $line == *'"return"'* ]] && return 0 || return 1 ;; esac
  done
  return 1
}
