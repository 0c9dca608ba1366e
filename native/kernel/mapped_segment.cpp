#include "kernel/mapped_segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <iterator>

#include "platform/error.hpp"
#include "platform/fd.hpp"

namespace vanity {

MappedSegment::MappedSegment(const std::string& path) : path_(path) {
  const Fd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  struct stat status {};
  if (!fd || fstat(fd.get(), &status) != 0) {
    throw system_error("VANITY_E_SEGMENT", "cannot open " + path, errno,
                       "only the user who runs the system, and root, may hold its shards");
  }
  bytes_ = static_cast<uint64_t>(status.st_size);
  if (bytes_ < kSegmentHeaderBytes) refuse("it is too short");
  void* at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) throw system_error("VANITY_E_SEGMENT", "cannot map " + path, errno);
  base_ = static_cast<uint8_t*>(at);
}

MappedSegment::~MappedSegment() {
  if (base_ != nullptr) munmap(base_, bytes_);
}

const Table& MappedSegment::table(TableKind kind) const {
  const auto& header = *reinterpret_cast<const SegmentHeader*>(base_);
  if (std::memcmp(header.magic, kSegmentMagic, sizeof(kSegmentMagic)) != 0 ||
      header.version != kSegmentVersion) {
    refuse("it is none of this version");
  }
  for (uint32_t i = 0; i < header.table_count && i < std::size(header.tables); ++i) {
    const Table& table = header.tables[i];
    if (table.kind != static_cast<uint32_t>(kind)) continue;
    if (!within(table.records_offset, table.count, table.stride) ||
        !within(table.fields_offset, table.field_count, sizeof(Field))) {
      refuse("its tables lie outside of it");
    }
    return table;
  }
  if (kind == TableKind::shard) refuse("it has no shards");
  throw Error("VANITY_E_COMMAND", path_ + " has no place to ask for that",
              "use the vanity that runs this system");
}

const Field& MappedSegment::field(const Table& table, const char* name) const {
  const auto* fields = reinterpret_cast<const Field*>(base_ + table.fields_offset);
  for (uint32_t i = 0; i < table.field_count; ++i) {
    if (std::strncmp(fields[i].name, name, sizeof(fields[i].name)) == 0) return fields[i];
  }
  throw Error("VANITY_E_COMMAND", path_ + " has no word \"" + name + "\"",
              "use the vanity that runs this system");
}

uint8_t* MappedSegment::find(const Table& table, uint32_t index, const char* name, uint64_t bytes,
                             uint64_t align) {
  const Field& found = field(table, name);
  if (index >= table.count || found.offset % align != 0 || found.offset + bytes > table.stride) {
    refuse("its fields lie outside of their records");
  }
  return base_ + table.records_offset + uint64_t{index} * table.stride + found.offset;
}

char* MappedSegment::text(const Table& table, uint32_t index, const char* name, uint32_t* bytes) {
  *bytes = field(table, name).count;
  return reinterpret_cast<char*>(find(table, index, name, *bytes, 1));
}

char* MappedSegment::long_text(const Table& table, uint32_t index, const char* name,
                               uint64_t* bytes) {
  *bytes = field(table, name).count * kTextUnit;
  return reinterpret_cast<char*>(find(table, index, name, *bytes, 1));
}

bool MappedSegment::within(uint64_t offset, uint64_t count, uint64_t stride) const {
  return offset % 8 == 0 && offset <= bytes_ && count <= UINT32_MAX && stride <= UINT32_MAX &&
         count * stride <= bytes_ - offset;
}

void MappedSegment::refuse(const char* why) const {
  throw Error("VANITY_E_SEGMENT", path_ + " is not a segment: " + why);
}

}  // namespace vanity
