#!/usr/bin/env bash
# Records two-hosts.pcap: two hosts, each a network namespace, joined by a wire, and real programs
# talking over it. needs: root, ip, ethtool, tcpdump, ping, curl, python3, iperf3.
# Usage: examples/captures/record.sh [FILE.pcap]
set -euo pipefail
out=$(realpath -m "${1:-$(dirname "$0")/two-hosts.pcap}")
work=$(mktemp -d)
a=vanity-rec-a b=vanity-rec-b
cleanup() {
  for ns in $a $b; do
    ip netns pids $ns 2>/dev/null | xargs -r kill 2>/dev/null || true
    ip netns del $ns 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
on_a() { ip netns exec $a "$@"; }
on_b() { ip netns exec $b "$@"; }

ip netns add $a
ip netns add $b
ip link add eth0 netns $a type veth peer name eth0 netns $b
n=1
for ns in $a $b; do
  ip netns exec $ns ip link set lo up
  # The frames as a wire would carry them: checksums finished, nothing longer than the MTU.
  ip netns exec $ns ethtool -K eth0 tx off rx off tso off gso off gro off >/dev/null
  ip netns exec $ns ip link set eth0 address 02:00:00:00:00:0$n up
  ip netns exec $ns ip addr add 10.0.0.$n/24 dev eth0
  ip netns exec $ns ip addr add fd00::$n/64 dev eth0 nodad
  n=$((n + 1))
done
# Several hosts' worth of addresses on the client's side.
for i in $(seq 11 20); do on_a ip addr add 10.0.0.$i/24 dev eth0; done

ip netns exec $b tcpdump -i eth0 -U -s 0 -w "$work/raw.pcap" 2>"$work/log" &
recorder=$!
until grep -q listening "$work/log"; do sleep 0.05; done

# A web server with small files and a few larger ones.
mkdir "$work/www"
for i in $(seq 1 20); do head -c $((i * 97)) /dev/urandom | base64 >"$work/www/$i.txt"; done
head -c 44000 /dev/urandom >"$work/www/large"
(cd "$work/www" && exec ip netns exec $b python3 -m http.server --bind :: 80 >/dev/null 2>&1) &
# A server that answers datagrams, as a name server would.
on_b python3 - <<'PY' &
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 53))
while True:
    data, peer = s.recvfrom(2048)
    s.sendto(data + b"\xc0\x0c\x00\x01\x00\x01" + bytes(len(data) % 7 * 16), peer)
PY
on_b iperf3 -s -1 >/dev/null 2>&1 &
sleep 1

on_a ping -q -c 5 -i 0.2 10.0.0.2 >/dev/null &
on_a ping -q -c 5 -i 0.2 -s 1000 fd00::2 >/dev/null &
on_a ping -q -c 3 -i 0.2 -s 2000 10.0.0.2 >/dev/null &  # fragments
for i in $(seq 1 20); do
  on_a curl -s --interface 10.0.0.$((i % 10 + 11)) "http://10.0.0.2/$i.txt" >/dev/null &
  on_a curl -s "http://[fd00::2]/$i.txt" >/dev/null &
done
on_a curl -s "http://10.0.0.2/large" "http://[fd00::2]/large" >/dev/null
on_a python3 - <<'PY'
import socket
for i in range(160):
    v6 = i % 3 == 0
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.bind(("fd00::1" if v6 else f"10.0.0.{11 + i % 10}", 0))
    for turn in range(1 + i % 3):
        s.sendto(b"%04x\x01\0\0\1" % i + b"example-%d" % i * (1 + i % 5), ("fd00::2" if v6 else "10.0.0.2", 53))
        s.recvfrom(2048)
# A conversation in a VLAN. The tags are on the frames themselves, so no interface is needed for them.
import struct
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("eth0", 0))
def total(data):
    value = sum(struct.unpack(f">{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return ~value & 0xFFFF
for i in range(40):
    payload = b"tagged %d " % i * (1 + i % 8)
    udp = struct.pack(">HHHH", 40000 + i % 10, 9, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), i, 0, 64, 17, 0, bytes([10, 1, 0, 1]), bytes([10, 1, 0, 2]))
    ip = ip[:10] + struct.pack(">H", total(ip)) + ip[12:]
    tags = b"\x81\0\0\x64" if i % 2 else b"\x88\xa8\0\x0a\x81\0\0\x64"
    raw.send(bytes.fromhex("020000000002020000000001") + tags + b"\x08\0" + ip + udp)
PY
on_a iperf3 -c 10.0.0.2 -n 24K -l 1K -M 400 >/dev/null
sleep 1.5
kill -TERM $recorder
wait $recorder || true
cat "$work/raw.pcap" >"$out"
chmod 644 "$out"
tcpdump -r "$out" -n 2>/dev/null | wc -l | xargs echo "$out: packets"
