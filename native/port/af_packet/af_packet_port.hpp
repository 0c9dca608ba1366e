// A Linux network interface as a port. Receives through a mapped TPACKET_V3 ring (Linux
// Documentation/networking/packet_mmap.rst), one a queue, shared out by PACKET_FANOUT; transmits
// with one sendmmsg() a burst.
//
// Frames come whole and correct: VLAN tags that the kernel took off are put back, checksums left to
// a card that isn't there are finished, TCP left unsegmented is cut to the size the sender meant.
// So veth pairs and bridges work with their offloads on.
//
// Threads. The kernel's thread (service()) watches the interface and, when it comes back, builds
// new sockets; a queue's shard takes them over at its next burst and hands the old ones back. Two
// words a queue cross: `next_` (service stores, shard exchanges) and `retired_` (shard stores,
// service exchanges). Neither side waits for the other. An empty pool leaves frames in the ring;
// what the ring cannot hold, the kernel drops and counts, and service() reads that into `dropped`.
#pragma once

#include <memory>

#include "port/port.hpp"

namespace vanity {

// VANITY_E_PORT_INTERFACE, VANITY_E_PORT_PERMISSION, VANITY_E_PORT_SOCKET.
std::unique_ptr<Port> create_af_packet_port(const PortOptions& options, const PortRecords& records);

}  // namespace vanity
