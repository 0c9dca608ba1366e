#include "port/capture/writer.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "platform/error.hpp"

namespace vanity {
namespace {

constexpr uint32_t kRecordBytesMax = 65536 + 64;
constexpr uint32_t kSnapLength = 262144;

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

CaptureWriter::CaptureWriter(const std::string& path)
    : pcapng_(ends_with(path, ".pcapng")), buffer_(new uint8_t[kBufferBytes]) {
  const char* hint = "check [ports.NAME] write: its folder must exist and be writable";
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd_ < 0) throw system_error("VANITY_E_CAPTURE_WRITE", "cannot write " + path, errno, hint);
  int failed = 0;
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) failed = errno;
  // Truncated only now that it is ours. A device or FIFO cannot be, and need not.
  if (failed == 0 && ::ftruncate(fd_, 0) != 0 && errno != EINVAL) failed = errno;
  if (failed != 0) {
    ::close(fd_);
    if (failed == EWOULDBLOCK)
      throw Error("VANITY_E_CAPTURE_WRITE", path + " is being written by another port", hint);
    throw system_error("VANITY_E_CAPTURE_WRITE", "cannot write " + path, failed, hint);
  }
  header();
}

CaptureWriter::~CaptureWriter() {
  flush();
  ::close(fd_);
}

void CaptureWriter::put16(uint16_t value) noexcept {
  std::memcpy(buffer_.get() + used_, &value, 2);
  used_ += 2;
}

void CaptureWriter::put32(uint32_t value) noexcept {
  std::memcpy(buffer_.get() + used_, &value, 4);
  used_ += 4;
}

void CaptureWriter::header() noexcept {
  if (!pcapng_) {
    put32(0xa1b23c4d);
    put16(2);
    put16(4);
    put32(0);
    put32(0);
    put32(kSnapLength);
    put32(1);
    return;
  }
  for (const uint32_t word : {0x0a0d0d0au, 28u, 0x1a2b3c4du, 1u, ~0u, ~0u, 28u}) put32(word);
  for (const uint32_t word : {1u, 32u}) put32(word);
  put16(1);
  put16(0);
  put32(kSnapLength);
  put16(9);  // if_tsresol = 9: nanoseconds
  put16(1);
  buffer_[used_] = 9;
  std::memset(buffer_.get() + used_ + 1, 0, 3);
  used_ += 4;
  for (const uint32_t word : {0u, 32u}) put32(word);
}

bool CaptureWriter::add(const uint8_t* data, uint32_t length, uint32_t wire_length,
                        uint64_t timestamp_ns) noexcept {
  if (length + 64 > kRecordBytesMax || (used_ + length + 64 > kBufferBytes && !flush()) ||
      error_ != 0) {
    ++lost_;
    return false;
  }
  if (wire_length < length) wire_length = length;
  if (!pcapng_) {
    put32(static_cast<uint32_t>(timestamp_ns / 1'000'000'000));
    put32(static_cast<uint32_t>(timestamp_ns % 1'000'000'000));
    put32(length);
    put32(wire_length);
    std::memcpy(buffer_.get() + used_, data, length);
    used_ += length;
  } else {
    const uint32_t padded = (length + 3) & ~3u;
    put32(6);
    put32(32 + padded);
    put32(0);
    put32(static_cast<uint32_t>(timestamp_ns >> 32));
    put32(static_cast<uint32_t>(timestamp_ns));
    put32(length);
    put32(wire_length);
    std::memcpy(buffer_.get() + used_, data, length);
    std::memset(buffer_.get() + used_ + length, 0, padded - length);
    used_ += padded;
    put32(32 + padded);
  }
  ++buffered_records_;
  return true;
}

bool CaptureWriter::flush() noexcept {
  if (error_ != 0) return false;
  uint32_t done = 0;
  while (done < used_) {
    const ssize_t n = ::write(fd_, buffer_.get() + done, used_ - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      error_ = n < 0 ? errno : EIO;
      lost_ += buffered_records_;
      // The buffer holds whole records, so its start is where the last good one ends.
      if (::ftruncate(fd_, static_cast<off_t>(written_)) != 0) return false;
      return false;
    }
    done += static_cast<uint32_t>(n);
  }
  written_ += used_;
  used_ = 0;
  buffered_records_ = 0;
  return true;
}

}  // namespace vanity
