// The registers of Intel's 82574L that the driver uses, by the names of its datasheet (chapter 10,
// "Programming Interface").
#pragma once

#include <cstdint>

namespace vanity::e1000e {

inline constexpr uint16_t kVendor = 0x8086;
inline constexpr uint16_t kDevice = 0x10d3;
inline constexpr uint64_t kRegisterBytes = 0x20000;  // of BAR 0
inline constexpr uint32_t kQueues = 2;               // of each direction
inline constexpr uint32_t kVectors = 5;

// General
inline constexpr uint64_t kCtrl = 0x0000;
inline constexpr uint32_t kCtrlMasterDisable = 1u << 2;
inline constexpr uint32_t kCtrlLinkUp = 1u << 6;  // SLU
inline constexpr uint32_t kCtrlReset = 1u << 26;
inline constexpr uint64_t kStatus = 0x0008;
inline constexpr uint32_t kStatusLinkUp = 1u << 1;
inline constexpr uint32_t kStatusMaster = 1u << 19;
inline constexpr uint64_t kEecd = 0x0010;
inline constexpr uint32_t kEecdAutoRead = 1u << 9;
inline constexpr uint64_t kEerd = 0x0014;
inline constexpr uint32_t kEerdStart = 1u << 0;
inline constexpr uint32_t kEerdDone = 1u << 1;
inline constexpr uint64_t kCtrlExt = 0x0018;
inline constexpr uint32_t kCtrlExtEiame = 1u << 24;  // a message masks the causes named in EIAC
inline constexpr uint32_t kCtrlExtIame = 1u << 27;
inline constexpr uint32_t kCtrlExtPbaClear = 1u << 31;  // to be set for MSI-X

// Interrupts
inline constexpr uint64_t kIcr = 0x00c0;
inline constexpr uint64_t kItr = 0x00c4;
inline constexpr uint64_t kEitr0 = 0x00e8;  // one each 4 bytes
inline constexpr uint64_t kIcs = 0x00c8;
inline constexpr uint64_t kIms = 0x00d0;
inline constexpr uint64_t kImc = 0x00d8;
inline constexpr uint64_t kEiac = 0x00dc;
inline constexpr uint64_t kIvar = 0x00e4;
inline constexpr uint32_t kIvarValid = 8;  // of each field of four bits: rx 0, 1, tx 0, 1, other
inline constexpr uint32_t kCauseLink = 1u << 2;
inline constexpr uint32_t kCauseRxLow = 1u << 4;  // RXDMT0
inline constexpr uint32_t kCauseOverrun = 1u << 6;
inline constexpr uint32_t kCauseRxTimer = 1u << 7;  // RXT0: a packet, where there is no MSI-X
inline constexpr uint32_t kCauseRx0 = 1u << 20;
inline constexpr uint32_t kCauseOther = 1u << 24;

// Receive
inline constexpr uint64_t kRctl = 0x0100;
inline constexpr uint32_t kRctlEnable = 1u << 1;
inline constexpr uint32_t kRctlAllUnicast = 1u << 3;
inline constexpr uint32_t kRctlAllMulticast = 1u << 4;
inline constexpr uint32_t kRctlLong = 1u << 5;  // frames of more than 1522 bytes
inline constexpr uint32_t kRctlBroadcast = 1u << 15;
inline constexpr uint32_t kRctlSize1024 = 1u << 16;  // 2048 is 0
inline constexpr uint32_t kRctlSize512 = 2u << 16;
inline constexpr uint32_t kRctlSize256 = 3u << 16;
inline constexpr uint32_t kRctlStripCrc = 1u << 26;
inline constexpr uint32_t kRctlFlexShift = 27;  // buffers of so many KiB, up to 15
inline constexpr uint64_t kRdbal = 0x2800;      // queue 1: kQueueStride further on, as all below
inline constexpr uint64_t kRdbah = 0x2804;
inline constexpr uint64_t kRdlen = 0x2808;
inline constexpr uint64_t kRdh = 0x2810;
inline constexpr uint64_t kRdt = 0x2818;
inline constexpr uint64_t kRxdctl = 0x2828;
inline constexpr uint64_t kQueueStride = 0x100;
inline constexpr uint64_t kRdtr = 0x2820;
inline constexpr uint64_t kRadv = 0x282c;
inline constexpr uint64_t kRsrpd = 0x2c00;
inline constexpr uint64_t kRxcsum = 0x5000;
inline constexpr uint32_t kRxcsumIp = 1u << 8;
inline constexpr uint32_t kRxcsumTcpUdp = 1u << 9;
inline constexpr uint32_t kRxcsumNoPacketSum = 1u << 13;  // PCSD: the hash stands there instead
inline constexpr uint64_t kRfctl = 0x5008;
inline constexpr uint32_t kRfctlAckOff = 1u << 12;
inline constexpr uint32_t kRfctlExtended = 1u << 15;
inline constexpr uint64_t kMta = 0x5200;
inline constexpr uint32_t kMtaWords = 128;
inline constexpr uint64_t kRal0 = 0x5400;  // 16 addresses of 8 bytes
inline constexpr uint64_t kRah0 = 0x5404;
inline constexpr uint32_t kRahValid = 1u << 31;
inline constexpr uint32_t kAddresses = 16;
inline constexpr uint64_t kMrqc = 0x5818;
inline constexpr uint32_t kMrqcRss = 1;
inline constexpr uint32_t kMrqcIp = 0x1fu << 16;  // TCP and IP, of both versions
inline constexpr uint64_t kReta = 0x5c00;
inline constexpr uint32_t kRetaWords = 32;
inline constexpr uint32_t kRetaSecond = 0x80;  // in a byte of the table: queue 1
inline constexpr uint64_t kRssrk = 0x5c80;
inline constexpr uint32_t kRssrkWords = 10;

// Transmit
inline constexpr uint64_t kTctl = 0x0400;
inline constexpr uint32_t kTctlEnable = 1u << 1;
inline constexpr uint32_t kTctlPad = 1u << 3;
inline constexpr uint64_t kTdbal = 0x3800;
inline constexpr uint64_t kTdbah = 0x3804;
inline constexpr uint64_t kTdlen = 0x3808;
inline constexpr uint64_t kTdh = 0x3810;
inline constexpr uint64_t kTdt = 0x3818;
inline constexpr uint64_t kTxdctl = 0x3828;
inline constexpr uint64_t kTarc = 0x3840;
inline constexpr uint32_t kTarcEnable = 1u << 10;

// RXDCTL and TXDCTL: thresholds count descriptors, written back one by one.
inline constexpr uint32_t kThresholds = 1u << 24 | 1u << 16;
inline constexpr uint32_t kTxdctlCount = 1u << 22;

// Statistics; reading clears them.
inline constexpr uint64_t kCrcErrors = 0x4000;
inline constexpr uint64_t kAlignmentErrors = 0x4004;
inline constexpr uint64_t kRxErrors = 0x400c;
inline constexpr uint64_t kMissed = 0x4010;
inline constexpr uint64_t kRxOversize = 0x40ac;
inline constexpr uint64_t kRxJabber = 0x40b0;

}  // namespace vanity::e1000e
