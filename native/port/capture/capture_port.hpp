// A capture file as a port: replayed by the one receive queue, written by the one transmit queue.
//
// Replay `as_fast` and `timed` read the records as they stand in the file; `loop` lays all frames
// out once, in the shape of a pool buffer, and then only copies cache lines. A file damaged in the
// middle gives the packets before the damage, once, and then fails the port, in every mode.
//
// Threads: a queue's state is its shard's own. The one thing that crosses is the end of the replay:
// the shard stores it with release, error() loads it with acquire and then reads what is behind it.
#pragma once

#include <memory>

#include "port/port.hpp"

namespace vanity {

// VANITY_E_CAPTURE_OPEN, _SIZE, _FORMAT, _LINKTYPE, _WRITE.
std::unique_ptr<Port> create_capture_port(const PortOptions& options, const PortRecords& records);

}  // namespace vanity
