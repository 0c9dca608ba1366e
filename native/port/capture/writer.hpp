// Writes capture files with nanosecond times: pcapng when the name ends in .pcapng, else pcap, in
// the machine's byte order, link type Ethernet. Buffered; one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace vanity {

class CaptureWriter {
 public:
  // Creates or overwrites; refuses a file that another writer holds. VANITY_E_CAPTURE_WRITE.
  explicit CaptureWriter(const std::string& path);
  ~CaptureWriter();
  CaptureWriter(const CaptureWriter&) = delete;
  CaptureWriter& operator=(const CaptureWriter&) = delete;

  // False once a write has failed: the record is not in the file, and no later one will be.
  bool add(const uint8_t* data, uint32_t length, uint32_t wire_length,
           uint64_t timestamp_ns) noexcept;
  // Hands the kernel what is buffered. After a failure the file ends with the last whole record
  // that reached it.
  bool flush() noexcept;
  // errno of the first failed write; 0 while all is well. Records lost to it are in lost().
  int error_number() const noexcept { return error_; }
  uint64_t lost() const noexcept { return lost_; }

 private:
  void header() noexcept;
  void put16(uint16_t value) noexcept;
  void put32(uint32_t value) noexcept;

  static constexpr uint32_t kBufferBytes = 1u << 20;

  int fd_;
  bool pcapng_;
  int error_ = 0;
  uint32_t used_ = 0;
  uint32_t buffered_records_ = 0;
  uint64_t written_ = 0;
  uint64_t lost_ = 0;
  std::unique_ptr<uint8_t[]> buffer_;
};

}  // namespace vanity
