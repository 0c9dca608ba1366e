// What a port works on whose virtqueues are in memory shared with another process: the packet
// buffers by the addresses that the peer knows them by, and the memory that is given to it. The
// kernel makes both and keeps them until the port is gone.
#pragma once

#include "port/buffer_map.hpp"
#include "vhost/shared.hpp"

namespace vanity {

struct UserHost {
  // Empty while create_port() runs, as NicHost's; complete before start().
  BufferMap buffers;
  vhost::SharedRegions regions;
};

}  // namespace vanity
