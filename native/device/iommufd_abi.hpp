// The kernel's interface of VFIO device nodes and IOMMUFD, as far as it is used here: numbers and
// layouts of include/uapi/linux/vfio.h and include/uapi/linux/iommufd.h, which are fixed for good.
// Written down because headers older than Linux 6.6 lack them.
#pragma once

#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cstdint>

namespace vanity::abi {

struct BindIommufd {  // vfio_device_bind_iommufd
  uint32_t argsz;
  uint32_t flags;
  int32_t iommufd;
  uint32_t device_id;  // out
};
inline constexpr unsigned long kBindIommufd = _IO(VFIO_TYPE, VFIO_BASE + 18);

struct AttachPageTable {  // vfio_device_attach_iommufd_pt
  uint32_t argsz;
  uint32_t flags;
  uint32_t page_table_id;  // in: an IOAS; out: what the kernel made of it
};
inline constexpr unsigned long kAttachPageTable = _IO(VFIO_TYPE, VFIO_BASE + 19);

inline constexpr unsigned kIommufdType = ';';

struct Destroy {  // iommu_destroy
  uint32_t size;
  uint32_t id;
};
inline constexpr unsigned long kDestroy = _IO(kIommufdType, 0x80);

struct IoasAlloc {  // iommu_ioas_alloc
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;  // out
};
inline constexpr unsigned long kIoasAlloc = _IO(kIommufdType, 0x81);

struct IoasIovaRange {  // iommu_iova_range
  alignas(8) uint64_t first;
  alignas(8) uint64_t last;
};
struct IoasIovaRanges {  // iommu_ioas_iova_ranges
  uint32_t size;
  uint32_t ioas_id;
  uint32_t count;  // in: room; out: how many there are, also when EMSGSIZE says that room was short
  uint32_t reserved;
  alignas(8) uint64_t ranges;  // pointer to IoasIovaRange
  alignas(8) uint64_t alignment;
};
inline constexpr unsigned long kIoasIovaRanges = _IO(kIommufdType, 0x84);

struct IoasMap {  // iommu_ioas_map
  static constexpr uint32_t kFixedIova = 1, kWriteable = 2, kReadable = 4;
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t reserved;
  alignas(8) uint64_t memory;
  alignas(8) uint64_t bytes;
  alignas(8) uint64_t iova;
};
inline constexpr unsigned long kIoasMap = _IO(kIommufdType, 0x85);

struct IoasUnmap {  // iommu_ioas_unmap
  uint32_t size;
  uint32_t ioas_id;
  alignas(8) uint64_t iova;
  alignas(8) uint64_t bytes;
};
inline constexpr unsigned long kIoasUnmap = _IO(kIommufdType, 0x86);

}  // namespace vanity::abi
