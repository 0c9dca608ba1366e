#include "kernel/command.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "platform/error.hpp"
#include "platform/fd.hpp"

namespace vanity {
namespace {

// A segment of some process, mapped to be written. Everything in it is checked before it is used.
class Mapped {
 public:
  explicit Mapped(const std::string& path) : path_(path) {
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
  ~Mapped() {
    if (base_ != nullptr) munmap(base_, bytes_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  const Table& table(TableKind kind) const {
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
    refuse("it has no shards");
  }

  template <class Word>
  Word& word(const Table& table, uint32_t index, const char* name) {
    const auto* fields = reinterpret_cast<const Field*>(base_ + table.fields_offset);
    for (uint32_t i = 0; i < table.field_count; ++i) {
      const Field& field = fields[i];
      if (std::strncmp(field.name, name, sizeof(field.name)) != 0) continue;
      const uint64_t at = table.records_offset + uint64_t{index} * table.stride + field.offset;
      if (field.offset % sizeof(Word) != 0 || field.offset + sizeof(Word) > table.stride) break;
      return *reinterpret_cast<Word*>(base_ + at);
    }
    throw Error("VANITY_E_COMMAND", path_ + " has no word \"" + name + "\" for its shards",
                "use the vanity that runs this system");
  }

 private:
  bool within(uint64_t offset, uint64_t count, uint64_t stride) const {
    return offset % 8 == 0 && offset <= bytes_ && count <= UINT32_MAX && stride <= UINT32_MAX &&
           count * stride <= bytes_ - offset;
  }
  [[noreturn]] void refuse(const char* why) const {
    throw Error("VANITY_E_SEGMENT", path_ + " is not a segment: " + why);
  }

  const std::string path_;
  uint8_t* base_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace

void command_shard(const std::string& path, uint32_t shard, Command wanted, uint64_t steps) {
  Mapped segment(path);
  const Table& table = segment.table(TableKind::shard);
  if (shard >= table.count) {
    throw Error("VANITY_E_COMMAND", path + " has no shard " + std::to_string(shard));
  }
  auto& command = segment.word<std::atomic<uint32_t>>(table, shard, "command");
  auto& asked = segment.word<Counter>(table, shard, "steps_asked");
  // Neither carries anything with it: the shard reads one word and then the other, each turn anew.
  command.store(static_cast<uint32_t>(wanted), std::memory_order_relaxed);
  if (steps != 0) asked.add_shared(steps);
  syscall(SYS_futex, &command, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace vanity
