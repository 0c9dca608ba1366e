// Ports over the ways that there are to a device.
#include <algorithm>

#include "port/nic.hpp"
#include "port/user_host.hpp"
#include "port/virtio_net/pci_transport.hpp"
#include "port/virtio_net/virtio_net_port.hpp"
#include "vhost/front_end.hpp"
#include "virtio/queue.hpp"

namespace vanity {
namespace {

constexpr uint16_t kNetworkDevice = 1;  // §5

}  // namespace

std::unique_ptr<Port> create_virtio_user_port(const PortOptions& options,
                                              const PortRecords& records) {
  vhost::FrontEndOptions way;
  way.who = "port " + options.name;
  way.path = options.socket;
  way.server = options.server;
  way.peer.uid = options.peer_uid;
  way.pairs = std::max({options.rx_queues, options.tx_queues, 1u});
  way.vectors = options.interrupts ? options.rx_queues : 0;
  // Of the two kinds of rings, the larger; and a header.
  const uint32_t ring = virtio::RingLayout::of(false, options.ring).bytes + virtio::kMemoryAlign;
  way.ring_bytes = 2 * way.pairs * ring + virtio::kMemoryAlign;
  return create_virtio_net_port(std::make_unique<vhost::FrontEnd>(way, options.user->regions),
                                options.user->buffers, options, records);
}

std::unique_ptr<Port> create_virtio_net_port(const PortOptions& options, const PortRecords& records,
                                             std::optional<IrqKind> kind) {
  return create_virtio_net_port(
      std::make_unique<virtio_net::PciTransport>(options.nic->device, kNetworkDevice),
      options.nic->buffers, options, records, kind);
}

}  // namespace vanity
