// Descriptors that came with the process, by the protocol of sd_listen_fds(3): $LISTEN_PID is this
// process, and its descriptors from 3 on, $LISTEN_FDS of them, are meant for it. A parent with the
// rights (systemd's OpenFile=, a shell under sudo) opens VFIO's nodes, drops its rights and starts
// a process that needs none. Control path; one thread at a time.
#pragma once

#include <string>

#include "platform/fd.hpp"

namespace vanity {

bool is_inherited(const std::string& node);
// The descriptor of this very node, each once: later calls do not find it. Empty when there is
// none.
Fd take_inherited(const std::string& node);
// A copy, for a node that several spaces share; it is found again.
Fd copy_inherited(const std::string& node);

}  // namespace vanity
