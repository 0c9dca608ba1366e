// What a driver of a NIC works on: the device, which is its alone, and the packet buffers that the
// device may reach. The kernel makes both, gives them to create_port() and keeps them until the
// port is gone; the driver takes memory for its rings and registers from the device.
#pragma once

#include "device/vfio.hpp"
#include "port/buffer_map.hpp"

namespace vanity {

struct NicHost {
  VfioDevice& device;
  // Empty while create_port() runs, for the pools need the port's queues first; complete before
  // start().
  BufferMap buffers;
};

}  // namespace vanity
