// A virtio network device as a port (VIRTIO 1.2 §5.1): split or packed rings, one pair of queues a
// shard, zero copy in both directions.
//
// Threads. The kernel's thread owns the device's registers and the control queue; each queue's
// shard its ring and its doorbell. See net_queue.hpp for what crosses.
#pragma once

#include <memory>
#include <optional>

#include "port/port.hpp"
#include "virtio/transport.hpp"

namespace vanity {

class BufferMap;

// `options.nic` is the device, on PCI. Resets it and negotiates, with bus mastering off. `kind`:
// MSI-X or INTx; else MSI-X where the device has enough vectors. Throws VANITY_E_PORT_DEVICE and
// what VfioDevice does.
std::unique_ptr<Port> create_virtio_net_port(const PortOptions& options, const PortRecords& records,
                                             std::optional<IrqKind> kind = std::nullopt);

// `options.socket`: the device is a process at the other end (native/vhost). Throws
// VANITY_E_PORT_PEER for a path that can't be listened on; a peer that is not there is waited
// for.
std::unique_ptr<Port> create_virtio_user_port(const PortOptions& options,
                                              const PortRecords& records);

// The same over any transport. `buffers` stays the caller's.
std::unique_ptr<Port> create_virtio_net_port(std::unique_ptr<virtio::Transport> transport,
                                             const BufferMap& buffers, const PortOptions& options,
                                             const PortRecords& records,
                                             std::optional<IrqKind> kind = std::nullopt);

}  // namespace vanity
