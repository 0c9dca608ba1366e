# For jobs, after guest.sh, hosts.sh and system.sh: two hosts, west and east, that reach each other only through Vanity.
#   west --wire 0-- LEFT (Vanity) RIGHT --wire 1-- east
# The job's head has `# nic: west 0 ...` and `# nic: east 1 ...`, and NICs for Vanity on both wires.

host west "$nic_west" 10.0.0.1
host east "$nic_east" 10.0.0.2

# talk SECONDS: what two hosts do with each other. Less is under way at a time than any ring holds: see README.md on wires.
talk() {
  on west ping -c 5 -i 0.2 -W 2 10.0.0.2 | tail -n 2 && on west ping -c 20 -i 0.01 -s 1400 -q 10.0.0.2 | tail -n 2 || return 1
  on east iperf3 -s -1 -D --logfile /run/iperf3.log && sleep 1 &&
    on west iperf3 -c 10.0.0.2 -t "$1" -w 48K -f m >/run/iperf3.txt && grep -E 'sender|receiver' /run/iperf3.txt ||
    { cat /run/iperf3.txt /run/iperf3.log && return 1; }
}

# forward_case NAME SECONDS ARGUMENT...: the two talk through a forwarder; what left one arrived at the other, the
# same, once and in order; nothing was lost and all buffers are home.
forward_case() {
  local name=$1 seconds=$2 west east
  shift 2
  echo "## $name"
  on west ip neigh flush all
  on east ip neigh flush all
  west=$(size west) east=$(size east)
  check "$name: it starts" start_forwarder "$@" || return
  check "$name: ARP, ping and iperf3" talk "$seconds"
  sleep 0.5
  check "$name: it stops" stop_forwarder
  check "$name: nothing lost, all buffers home" whole
  check "$name: west to east, packet by packet" same_packets west "$west" east "$east" "$(mac_of west)"
  check "$name: east to west, packet by packet" same_packets east "$east" west "$west" "$(mac_of east)"
}
