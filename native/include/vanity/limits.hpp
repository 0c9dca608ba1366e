// Every limit of the system, in one place. Each has a test at it and past it;
// lib/manifest/limits.ts holds the same numbers and a test holds the two against each other.
#pragma once

#include <cstdint>

namespace vanity::limits {

inline constexpr uint32_t kShards = 128;
inline constexpr uint32_t kPoolThreads = 128;           // of vanity run --sim pool
inline constexpr uint32_t kFiberStackBytes = 1u << 20;  // of a shard on one of them
inline constexpr uint32_t kChannels = 4096;
inline constexpr uint32_t kChannelsIntoShard = 512;  // what one doorbell line can name
inline constexpr uint32_t kChannelsOutOfShard = 512;
inline constexpr uint32_t kSpareShards = 4;      // that a running system may take in
inline constexpr uint32_t kSpareChannels = 16;   // the same
inline constexpr uint32_t kSparePorts = 4;       // the same
inline constexpr uint32_t kSpareQueues = 16;     // of those, of all together
inline constexpr uint32_t kPartsBytes = 16384;   // of what is asked to come or go at once
inline constexpr uint32_t kProtectionKeys = 15;  // of a process; the processor's first is taken
inline constexpr uint32_t kPorts = 64;
inline constexpr uint32_t kQueuesPerPort = 32;
inline constexpr uint32_t kRingMin = 64;  // descriptors of a NIC's ring
inline constexpr uint32_t kRingMax = 4096;
inline constexpr uint32_t kSocketPathBytes = 107;
inline constexpr uint32_t kDevices = 32;
inline constexpr uint32_t kVectorsPerDevice = 256;
inline constexpr uint32_t kNameBytes = 31;
inline constexpr uint32_t kElementBytesMin = 8;
inline constexpr uint32_t kElementBytesMax = 65536;
inline constexpr uint32_t kCapacityMin = 2;
inline constexpr uint32_t kCapacityMax = 1u << 20;
inline constexpr uint32_t kBurstMax = 256;
inline constexpr uint32_t kPoolBuffersMax = 1u << 20;
inline constexpr uint32_t kBufferBytesMin = 256;
inline constexpr uint32_t kBufferBytesMax = 65536;
inline constexpr uint32_t kModuleCopies = 11000;  // of a process, which keeps them: 5 mappings each
inline constexpr uint32_t kUserCounters = 8;      // a program may name this many of its own
inline constexpr uint32_t kStateFields = 1024;    // of a state that a reload hands on
inline constexpr uint32_t kStateBytes = 1u << 26;
inline constexpr uint32_t kOptionsBytes = 4096;  // of a program's settings that a reload brings
inline constexpr uint32_t kReloadBursts = 1024;  // that a new program may be on trial for
inline constexpr uint32_t kShardEvents = 4096;   // of a shard, the last ones; a power of two
inline constexpr uint32_t kFaultEvents = 256;    // kept of them when its program faults
inline constexpr uint32_t kLooks = 60;           // at its counters that the segment keeps
inline constexpr uint32_t kPacketEvents = 4096;  // of a shard, of sampled packets; a power of two
inline constexpr uint32_t kPacketBytes = 128;    // kept of a sampled packet; a multiple of 16
inline constexpr uint32_t kCoreMax = 1023;
inline constexpr uint64_t kManifestBytes = 1u << 20;
inline constexpr uint32_t kCaptureRecordBytes = 262144;  // as libpcap's MAXIMUM_SNAPLEN

}  // namespace vanity::limits
