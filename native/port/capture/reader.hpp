// Reads capture files: pcap (microsecond and nanosecond) and pcapng, both byte orders. Follows
// draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng; every byte is untrusted. The file is read
// into memory at open, so that one truncated while it is replayed cannot end the process by SIGBUS.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vanity {

inline constexpr uint64_t kCaptureFileBytesMax = 1ull << 30;
inline constexpr uint32_t kCaptureInterfacesMax = 4096;
inline constexpr uint32_t kLinkTypeEthernet = 1;

struct CaptureRecord {
  const uint8_t* data;    // into the reader; valid while it lives
  uint32_t length;        // bytes captured
  uint32_t wire_length;   // bytes on the wire, never less than `length`
  uint64_t timestamp_ns;  // since the epoch; 0 when the file has none
  uint64_t offset;        // of the record in the file
  uint32_t link_type;     // LINKTYPE_*
};

class CaptureReader {
 public:
  enum class Next { record, end, error };

  // VANITY_E_CAPTURE_OPEN, VANITY_E_CAPTURE_SIZE, VANITY_E_CAPTURE_FORMAT.
  static CaptureReader open(const std::string& path);
  // `name` stands in messages.
  CaptureReader(std::vector<uint8_t> bytes, std::string name);

  // The records before the damage come first, then `error`, for ever.
  Next next(CaptureRecord& record) noexcept;
  void rewind() noexcept;

  // After `error`: where, and what was found there.
  uint64_t error_offset() const noexcept { return error_offset_; }
  // Null while there is none.
  const char* error_reason() const noexcept { return error_reason_; }
  // "in.pcap: offset 1234: reason".
  std::string error_text() const;
  const std::string& name() const noexcept { return name_; }

 private:
  struct Interface {
    uint32_t link_type;
    uint32_t snap_length;
    uint8_t resolution;  // as if_tsresol: power of 10, or of 2 with the top bit
    int64_t offset_s;
  };

  uint16_t u16(uint64_t at) const noexcept;
  uint32_t u32(uint64_t at) const noexcept;
  uint64_t left() const noexcept { return bytes_.size() - at_; }
  Next fail(uint64_t offset, const char* reason) noexcept;

  Next next_pcap(CaptureRecord& record) noexcept;
  Next next_pcapng(CaptureRecord& record) noexcept;
  const char* read_section(uint64_t body, uint64_t bytes) noexcept;
  const char* read_interface(uint64_t body, uint64_t bytes) noexcept;
  const char* read_packet(uint32_t type, uint64_t body, uint64_t bytes,
                          CaptureRecord& record) noexcept;
  static uint64_t to_ns(const Interface& interface, uint64_t units) noexcept;

  std::vector<uint8_t> bytes_;
  std::string name_;
  std::vector<Interface> interfaces_;
  uint64_t at_ = 0;
  uint64_t error_offset_ = 0;
  const char* error_reason_ = nullptr;
  uint32_t link_type_ = 0;
  uint32_t fraction_ns_ = 1;
  bool pcapng_ = false;
  bool swapped_ = false;
};

// "Ethernet", "raw IP", ... or "unknown".
const char* link_type_name(uint32_t link_type) noexcept;

}  // namespace vanity
