#include "vhost/peer_memory.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "platform/error.hpp"

namespace vanity::vhost {
namespace {

constexpr uint64_t kRegionBytesMax = uint64_t{1} << 39;

[[noreturn]] void refuse(uint32_t region, const std::string& what) {
  throw Error("VANITY_E_PORT_SOCKET", "memory region " + std::to_string(region) + " " + what,
              "share memory as memfd, or as files of hugetlbfs or tmpfs; in QEMU "
              "-object memory-backend-memfd,share=on");
}

bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes) noexcept {
  return a < b + b_bytes && b < a + a_bytes;
}

// Bytes of its pages.
uint64_t check_file(uint32_t index, int fd, uint64_t end) {
  // Seals are of memory only, and asking for them, other than asking for the size, waits for nobody
  // even where a file is another process's work (FUSE). Such a file could stop a shard for good.
  if (fcntl(fd, F_GET_SEALS) < 0) refuse(index, "is no memory");
  struct stat file;
  if (fstat(fd, &file) != 0) refuse(index, "can't be looked at");
  if (static_cast<uint64_t>(file.st_size) < end)
    refuse(index, "ends behind its file, which has " + std::to_string(file.st_size) + " bytes");
  struct statfs system;
  if (fstatfs(fd, &system) != 0) refuse(index, "can't be looked at");
  // Of other files it is what Linux would like, not what it does.
  const bool huge = system.f_type == HUGETLBFS_MAGIC;
  return huge ? static_cast<uint64_t>(file.st_blksize)
              : static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

PeerMemory::PeerMemory(const MemoryTable& table, const std::array<Fd, kFdsMax>& files) {
  for (uint32_t i = 0; i < table.count; ++i) {
    const Region& region = table.regions[i];
    if (region.bytes == 0 || region.bytes > kRegionBytesMax)
      refuse(i, "has " + std::to_string(region.bytes) + " bytes");
    for (const uint64_t first : {region.guest, region.user, region.offset})
      if (first + region.bytes < first) refuse(i, "goes on behind the last address");
    for (uint32_t k = 0; k < i; ++k) {
      const Region& other = table.regions[k];
      if (overlap(region.guest, region.bytes, other.guest, other.bytes) ||
          overlap(region.user, region.bytes, other.user, other.bytes))
        refuse(i, "lies across region " + std::to_string(k));
    }
    const uint64_t end = region.offset + region.bytes;
    const uint64_t page = check_file(i, files.at(i).get(), end);
    const uint64_t from = region.offset / page * page;
    mappings_.at(i) = std::make_unique<GuardedMapping>(files.at(i).get(), from,
                                                       (end - from + page - 1) / page * page, page);
    auto* const base = static_cast<std::byte*>(mappings_.at(i)->base()) + (region.offset - from);
    guest_.at(i) = {region.guest, region.bytes, base};
    user_.at(i) = {region.user, region.bytes, base};
    ++count_;
  }
}

std::byte* PeerMemory::of_user(uint64_t address, uint64_t length) const noexcept {
  for (uint32_t i = 0; i < count_; ++i)
    if (std::byte* const found = user_[i].at(address, length); found != nullptr) return found;
  return nullptr;
}

bool PeerMemory::gone() const noexcept {
  return std::any_of(mappings_.begin(), mappings_.begin() + count_,
                     [](const auto& mapping) { return mapping->gone(); });
}

}  // namespace vanity::vhost
