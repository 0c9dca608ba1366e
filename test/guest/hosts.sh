# For jobs, after guest.sh: a host of its own behind a NIC, as if it stood at the other end of a wire.

# host NAME ADDRESS IPV4: gives the NIC at ADDRESS, with Linux's driver, to a namespace called NAME.
host() {
  local interface
  interface=$(interface_of "$2")
  ip netns add "$1" && ip link set "$interface" netns "$1" name wire &&
    ip -n "$1" addr add "$3/24" dev wire &&
    ip -n "$1" link set lo up && ip -n "$1" link set wire up
}
on() { ip netns exec "$@"; }
mac_of() { on "$1" cat /sys/class/net/wire/address; }

# until_true SECONDS COMMAND...: waits for it.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}
