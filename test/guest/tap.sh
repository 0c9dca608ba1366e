#!/bin/sh
# QEMU runs this for a tap that it made: its other end is a host, 198.18.0.1 (RFC 2544).
sysctl -qw "net.ipv6.conf.$1.disable_ipv6=1"
ip addr add 198.18.0.1/24 dev "$1" && ip link set "$1" up
