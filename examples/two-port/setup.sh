#!/bin/sh
# Two hosts, each a network namespace with one end of a veth pair. Their other ends, vanity-l and
# vanity-r, lie in this namespace and are joined by nothing but Vanity.
set -eu
host() { # NAME INTERFACE NUMBER
  ip netns add "$1"
  ip link add "$2" type veth peer name eth0 netns "$1"
  ip link set "$2" up
  ip -n "$1" link set lo up
  ip -n "$1" link set eth0 up
  ip -n "$1" addr add "10.97.0.$3/24" dev eth0
}
host vanity-left vanity-l 1
host vanity-right vanity-r 2
