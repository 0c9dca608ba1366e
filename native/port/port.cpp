#include "port/port.hpp"

#include "platform/error.hpp"
#include "port/af_packet/af_packet_port.hpp"
#include "port/capture/capture_port.hpp"
#include "port/e1000e/e1000e_port.hpp"
#include "port/vhost_user/vhost_user_port.hpp"
#include "port/virtio_net/virtio_net_port.hpp"

namespace vanity {

std::unique_ptr<Port> create_port(const PortOptions& options, const PortRecords& records) {
  if (options.driver == "capture") return create_capture_port(options, records);
  if (options.driver == "af_packet") return create_af_packet_port(options, records);
  if (options.driver == "e1000e") return create_e1000e_port(options, records);
  if (options.driver == "virtio-net") return create_virtio_net_port(options, records);
  if (options.driver == "virtio-user") return create_virtio_user_port(options, records);
  if (options.driver == "vhost-user") return create_vhost_user_port(options, records);
  throw Error("VANITY_E_PORT_DRIVER",
              "port " + options.name + ": no driver is called " + options.driver,
              "driver = \"capture\", \"af_packet\", \"virtio-user\", \"vhost-user\", or \"device\" "
              "with a device that has a driver");
}

}  // namespace vanity
