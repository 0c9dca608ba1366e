#!/usr/bin/env python3
"""Sends frames of many flows from an interface and waits for every one to come back: echo.py INTERFACE COUNT.

Prints how many came back as they were sent. The first is sent again until it does, since who sends them back may be
starting still.
"""
import select
import socket
import struct
import sys
import time

interface, count = sys.argv[1], int(sys.argv[2])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
wire.bind((interface, 0x0800))
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1  # what comes back is for somebody else
everything = struct.pack("iHH8s", socket.if_nametoindex(interface), PACKET_MR_PROMISC, 0, b"")
wire.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, everything)


def frame(number):
    head = struct.pack(">6s6sH", b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02", 0x0800)
    text = struct.pack(">I", number) * (1 + number % 360)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(text), 0, 0, 64, 253, 0, bytes([10, 7, 0, number % 64]), b"\x0a\x07\x01\x01")
    return (head + ip + text).ljust(60, b"\0")


def back(patience):
    """What came back, or None."""
    while select.select([wire], [], [], patience)[0]:
        data, address = wire.recvfrom(4096)
        if address[2] != socket.PACKET_OUTGOING:
            return data
    return None


until = time.monotonic() + 60
while True:
    wire.send(frame(0))
    if back(0.5) == frame(0):
        break
    if time.monotonic() > until:
        sys.exit("nobody sends anything back")
while back(1) is not None:
    pass

came = 0
waiting = {}
for number in range(1, count + 1):
    wire.send(frame(number))
    waiting[frame(number)] = True
    while waiting and (len(waiting) >= 32 or number == count):
        data = back(5)
        if data is None:
            print(came)
            sys.exit(f"{len(waiting)} frames did not come back")
        came += waiting.pop(data, 0)
print(came)
