// Intel's 82574L (QEMU's e1000e) as a port: up to two queues of each direction, zero copy in both.
//
// Threads. The kernel's thread owns the registers of link, filters and statistics; each queue's
// shard its tail register and its own bits of the interrupt masks. See queues.hpp for what crosses.
#pragma once

#include <memory>
#include <optional>

#include "port/port.hpp"

namespace vanity {

// `options.nic` is the device. Resets it and builds the rings, with bus mastering off. `kind`:
// MSI-X or INTx; else MSI-X where the device has it. Throws VANITY_E_PORT_DEVICE and what
// VfioDevice does.
std::unique_ptr<Port> create_e1000e_port(const PortOptions& options, const PortRecords& records,
                                         std::optional<IrqKind> kind = std::nullopt);

}  // namespace vanity
