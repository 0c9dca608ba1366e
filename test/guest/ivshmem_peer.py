#!/usr/bin/env python3
"""Serves one ivshmem-doorbell device of QEMU and is its peer: an accelerator with two operations.

    ivshmem_peer.py SOCKET [VECTORS]

Speaks the protocol of QEMU's docs/specs/ivshmem-spec ("Client-Server protocol") as the server, and shares the memory as
peer 1; the device is peer 0. Prints "ready" when QEMU may connect and ends with its connection. What it does is drawn in
native/port/ivshmem/mailbox.hpp: 1 is the CRC-32 of the data, 2 turns the data around. Beyond the slots, word 16384 of
the memory is the number of a vector to be rung at once, plus one, as often as word 16388 says.
"""
import mmap
import os
import select
import socket
import struct
import sys
import zlib

BYTES = 1 << 20
SLOTS, SLOT_BYTES, HEADER = 4, 4096, 64
ASKED, DONE = 1, 2
DEVICE, PEER = 0, 1
PLEASE_RING = SLOTS * SLOT_BYTES

path = sys.argv[1]
vectors = int(sys.argv[2]) if len(sys.argv) > 2 else SLOTS
memory_fd = os.memfd_create("ivshmem")
os.ftruncate(memory_fd, BYTES)
memory = mmap.mmap(memory_fd, BYTES)
to_device = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(vectors)]
to_peer = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(vectors)]

listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(1)
print("ready", flush=True)
qemu, _ = listener.accept()


def say(number, fd=None):
    text = struct.pack("<q", number)
    if fd is None:
        qemu.sendall(text)
    else:
        socket.send_fds(qemu, [text], [fd])


say(0)  # the version of the protocol
say(DEVICE)
say(-1, memory_fd)
for fd in to_peer:
    say(PEER, fd)
for fd in to_device:
    say(DEVICE, fd)


def word(at):
    return struct.unpack_from("<I", memory, at)[0]


def ring(vector, times=1):
    os.eventfd_write(to_device[vector], times)


def work():
    for slot in range(SLOTS):
        at = slot * SLOT_BYTES
        if word(at) != ASKED:
            continue
        operation, length = word(at + 4), min(word(at + 8), SLOT_BYTES - HEADER)
        data = memory[at + HEADER : at + HEADER + length]
        if operation == 1:
            struct.pack_into("<I", memory, at + 12, zlib.crc32(data))
        elif operation == 2:
            memory[at + HEADER : at + HEADER + length] = data[::-1]
        struct.pack_into("<I", memory, at, DONE)
        ring(slot)
    wanted = word(PLEASE_RING)
    if wanted != 0:
        struct.pack_into("<I", memory, PLEASE_RING, 0)
        for _ in range(word(PLEASE_RING + 4)):
            ring(wanted - 1)


poll = select.poll()
poll.register(qemu, select.POLLIN)
for fd in to_peer:
    poll.register(fd, select.POLLIN)
while True:
    for fd, _ in poll.poll():
        if fd == qemu.fileno():
            if not qemu.recv(64):
                sys.exit(0)
            continue
        os.eventfd_read(fd)
        # Which of its vectors was rung, counted where the device sees it.
        count = PLEASE_RING + 8 + 4 * to_peer.index(fd)
        struct.pack_into("<I", memory, count, word(count) + 1)
        work()
