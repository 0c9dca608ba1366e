// A port in which the virtio network device of a virtual machine or a container ends: the device's
// side of a vhost-user socket (Vhost-user Protocol, back-end; VIRTIO 1.2 §5.1). One pair of queues
// a shard; each frame is copied once.
//
// Threads. The kernel's thread owns the socket and what is said there; each queue's shard its ring.
// See queue.hpp for what crosses.
#pragma once

#include <memory>

#include "port/port.hpp"

namespace vanity {

// Listens on `options.socket`, or will look for somebody who does. Throws VANITY_E_PORT_SOCKET.
std::unique_ptr<Port> create_vhost_user_port(const PortOptions& options,
                                             const PortRecords& records);

}  // namespace vanity
