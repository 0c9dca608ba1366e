// A network device behind the shipping driver (port/virtio_net): split rings, a vector for each
// receive queue, and a mind of its own. All of them are one thread of the execution.
#pragma once

#include <memory>
#include <string>

#include "kernel/system.hpp"
#include "port/port.hpp"
#include "shard/plan.hpp"

namespace vanity::sim {

// Before the system is made: in some executions its ports are such devices.
void draw_nics(Plan& plan);
// Are they, in this one?
bool has_nics();
// Has one lied, or asked for a reset, so that packets were lost with its queues?
bool nics_misbehaved();

// What create_port() makes of a port that is one.
std::unique_ptr<Port> create_nic_port(const PortOptions& options, const PortRecords& records);
// After the system is made: where devices find the packets.
void map_nics(System& system);
// The thread of all devices; until their ports are closed.
void run_nics();

// As Scenario::missed, of a shard: it sleeps on its vector, and has packets.
const char* missed_packets(uint32_t shard);
// The same of the devices: a queue has buffers, and nobody rang.
const char* missed_doorbell();
// What was lost, or came twice; empty: nothing. After the system has ended.
std::string wrong_nics();

}  // namespace vanity::sim
