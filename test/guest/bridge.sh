#!/bin/sh
# QEMU runs this for a tap called WIRE-NAME: those of one WIRE are joined by a bridge of that name, which knows no host.
wire=${1%%-*}
sysctl -qw net.ipv6.conf.default.disable_ipv6=1 "net.ipv6.conf.$1.disable_ipv6=1"
ip link show "$wire" >/dev/null 2>&1 || ip link add "$wire" up type bridge mcast_snooping 0 || exit 1
# Room for all that is under way: what finds none is lost.
ip link set "$1" txqueuelen 4096 master "$wire" up
