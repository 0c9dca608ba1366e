#include "port/capture/reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "platform/error.hpp"
#include "vanity/limits.hpp"

namespace vanity {
namespace {

constexpr uint32_t kMicroseconds = 0xa1b2c3d4, kNanoseconds = 0xa1b23c4d;
constexpr uint32_t kModified = 0xa1b2cd34;  // Kuznetzov's, whose records are longer
constexpr uint32_t kSection = 0x0a0d0d0a, kInterface = 1, kPacket = 2, kSimple = 3, kEnhanced = 6;
constexpr uint32_t kByteOrder = 0x1a2b3c4d;
constexpr uint64_t kFileHeader = 24, kRecordHeader = 16;
constexpr const char* kFormats = "a capture is a pcap or pcapng file, as tcpdump -w writes";

uint32_t swap32(uint32_t value) {
  return __builtin_bswap32(value);
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

CaptureReader CaptureReader::open(const std::string& path) {
  const char* hint = "check [ports.NAME] file, which is relative to the manifest's folder";
  // Non-blocking, so that a FIFO is refused instead of waited for.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) throw system_error("VANITY_E_CAPTURE_OPEN", "cannot open " + path, errno, hint);
  struct stat info {};
  if (::fstat(file.fd, &info) != 0)
    throw system_error("VANITY_E_CAPTURE_OPEN", "cannot read " + path, errno, hint);
  if (!S_ISREG(info.st_mode))
    throw Error("VANITY_E_CAPTURE_OPEN", path + " is not a regular file", hint);
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size > kCaptureFileBytesMax) {
    throw Error("VANITY_E_CAPTURE_SIZE",
                path + " has " + std::to_string(size) + " bytes, the limit is " +
                    std::to_string(kCaptureFileBytesMax),
                "cut it into pieces with editcap -c, or tcpdump -C");
  }
  std::vector<uint8_t> bytes(size);
  uint64_t got = 0;
  while (got < size) {
    const ssize_t n = ::pread(file.fd, bytes.data() + got, size - got, static_cast<off_t>(got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw system_error("VANITY_E_CAPTURE_OPEN", "cannot read " + path, errno, hint);
    if (n == 0) break;
    got += static_cast<uint64_t>(n);
  }
  bytes.resize(got);
  return CaptureReader(std::move(bytes), path);
}

CaptureReader::CaptureReader(std::vector<uint8_t> bytes, std::string name)
    : bytes_(std::move(bytes)), name_(std::move(name)) {
  const auto refuse = [&](const std::string& what) {
    throw Error("VANITY_E_CAPTURE_FORMAT", name_ + ": " + what, kFormats);
  };
  if (bytes_.size() < 4)
    refuse("has " + std::to_string(bytes_.size()) + " bytes, too few for a capture");
  const uint32_t magic = u32(0);
  if (magic == kSection) {
    pcapng_ = true;
    if (bytes_.size() < 28) refuse("ends inside its pcapng section header");
    // A broken first section is no capture at all; one further in ends the packets before it.
    const uint32_t order = u32(8);
    if (order != kByteOrder && order != swap32(kByteOrder))
      refuse("pcapng section without a byte-order magic at offset 8");
    rewind();
    return;
  }
  swapped_ =
      magic == swap32(kMicroseconds) || magic == swap32(kNanoseconds) || magic == swap32(kModified);
  const uint32_t kind = swapped_ ? swap32(magic) : magic;
  if (kind == kModified) refuse("is of the modified pcap format (magic a1b2cd34); not supported");
  if (kind != kMicroseconds && kind != kNanoseconds) {
    char text[64];
    std::snprintf(text, sizeof text, "starts with %02x%02x%02x%02x, which no capture format does",
                  bytes_[0], bytes_[1], bytes_[2], bytes_[3]);
    refuse(text);
  }
  if (bytes_.size() < kFileHeader) refuse("ends inside its 24-byte file header");
  if (u16(4) != 2) refuse("is pcap version " + std::to_string(u16(4)) + ", expected 2");
  fraction_ns_ = kind == kMicroseconds ? 1000 : 1;
  link_type_ = u32(20) & 0x03ffffff;  // the top bits tell the length of a frame check sequence
  rewind();
}

void CaptureReader::rewind() noexcept {
  at_ = pcapng_ ? 0 : kFileHeader;
  interfaces_.clear();
  error_reason_ = nullptr;
}

uint16_t CaptureReader::u16(uint64_t at) const noexcept {
  uint16_t value;
  std::memcpy(&value, bytes_.data() + at, 2);
  return swapped_ ? __builtin_bswap16(value) : value;
}

uint32_t CaptureReader::u32(uint64_t at) const noexcept {
  uint32_t value;
  std::memcpy(&value, bytes_.data() + at, 4);
  return swapped_ ? swap32(value) : value;
}

CaptureReader::Next CaptureReader::fail(uint64_t offset, const char* reason) noexcept {
  error_offset_ = offset;
  error_reason_ = reason;
  return Next::error;
}

std::string CaptureReader::error_text() const {
  if (error_reason_ == nullptr) return {};
  return name_ + ": offset " + std::to_string(error_offset_) + ": " + error_reason_;
}

CaptureReader::Next CaptureReader::next(CaptureRecord& record) noexcept {
  if (error_reason_ != nullptr) return Next::error;
  return pcapng_ ? next_pcapng(record) : next_pcap(record);
}

CaptureReader::Next CaptureReader::next_pcap(CaptureRecord& record) noexcept {
  if (left() == 0) return Next::end;
  if (left() < kRecordHeader) return fail(at_, "the file ends inside a record header");
  const uint32_t length = u32(at_ + 8);
  if (length > limits::kCaptureRecordBytes)
    return fail(at_, "a record claims more than 262144 bytes");
  if (length > left() - kRecordHeader) return fail(at_, "the file ends inside a record");
  record.offset = at_;
  record.timestamp_ns =
      u32(at_) * 1'000'000'000ull + static_cast<uint64_t>(u32(at_ + 4)) * fraction_ns_;
  record.length = length;
  record.wire_length = std::max(length, u32(at_ + 12));
  record.link_type = link_type_;
  record.data = bytes_.data() + at_ + kRecordHeader;
  at_ += kRecordHeader + length;
  return Next::record;
}

CaptureReader::Next CaptureReader::next_pcapng(CaptureRecord& record) noexcept {
  for (;;) {
    if (left() == 0) return Next::end;
    if (left() < 12) return fail(at_, "the file ends inside a block header");
    const uint32_t type = u32(at_);  // a section's reads the same in both byte orders
    if (type == kSection) {
      const uint32_t order = u32(at_ + 8);
      if (order == swap32(kByteOrder)) {
        swapped_ = !swapped_;
      } else if (order != kByteOrder) {
        return fail(at_, "a section has no byte-order magic");
      }
    }
    const uint32_t total = u32(at_ + 4);
    if (total < 12) return fail(at_, "a block is shorter than its own header");
    if (total % 4 != 0) return fail(at_, "a block's length is not a multiple of 4");
    if (total > left()) return fail(at_, "the file ends inside a block");
    if (u32(at_ + total - 4) != total) return fail(at_, "a block's two lengths differ");
    const uint64_t start = at_;
    const uint64_t body = start + 8, body_bytes = total - 12;
    const char* wrong = nullptr;
    bool packet = false;
    switch (type) {
      case kSection:
        wrong = read_section(body, body_bytes);
        break;
      case kInterface:
        wrong = read_interface(body, body_bytes);
        break;
      case kPacket:
      case kSimple:
      case kEnhanced:
        packet = true;
        wrong = read_packet(type, body, body_bytes, record);
        break;
      default:  // name resolution, statistics, custom blocks: not packets
        break;
    }
    if (wrong != nullptr) return fail(start, wrong);
    at_ += total;
    if (packet) {
      record.offset = start;
      return Next::record;
    }
  }
}

const char* CaptureReader::read_section(uint64_t body, uint64_t bytes) noexcept {
  if (bytes < 16) return "a section header is too short";
  if (u16(body + 4) != 1) return "a section is not pcapng version 1";
  interfaces_.clear();
  return nullptr;
}

const char* CaptureReader::read_interface(uint64_t body, uint64_t bytes) noexcept {
  if (bytes < 8) return "an interface description is too short";
  if (interfaces_.size() == kCaptureInterfacesMax) return "a section has more than 4096 interfaces";
  Interface interface { u16(body), u32(body + 4), 6, 0 };
  uint64_t at = body + 8;
  const uint64_t end = body + bytes;
  while (end - at >= 4) {
    const uint16_t code = u16(at), length = u16(at + 2);
    at += 4;
    if (code == 0) break;
    const uint64_t padded = (length + 3u) & ~3u;
    if (padded > end - at) return "an option reaches beyond its block";
    if (code == 9) {  // if_tsresol
      if (length != 1) return "an if_tsresol option is not one byte";
      interface.resolution = bytes_[at];
    } else if (code == 14) {  // if_tsoffset
      if (length != 8) return "an if_tsoffset option is not eight bytes";
      uint64_t offset;
      std::memcpy(&offset, bytes_.data() + at, 8);
      interface.offset_s = static_cast<int64_t>(swapped_ ? __builtin_bswap64(offset) : offset);
    }
    at += padded;
  }
  interfaces_.push_back(interface);
  return nullptr;
}

const char* CaptureReader::read_packet(uint32_t type, uint64_t body, uint64_t bytes,
                                       CaptureRecord& record) noexcept {
  const uint64_t header = type == kSimple ? 4 : 20;
  if (bytes < header) return "a packet block is too short";
  const uint32_t index = type == kSimple ? 0 : type == kPacket ? u16(body) : u32(body);
  if (index >= interfaces_.size()) return "a packet names an interface that was not described";
  const Interface& interface = interfaces_[index];
  if (type == kSimple) {
    record.wire_length = u32(body);
    record.length = record.wire_length;
    if (interface.snap_length != 0) record.length = std::min(record.length, interface.snap_length);
    record.timestamp_ns = 0;
  } else {
    record.timestamp_ns =
        to_ns(interface, static_cast<uint64_t>(u32(body + 4)) << 32 | u32(body + 8));
    record.length = u32(body + 12);
    record.wire_length = std::max(record.length, u32(body + 16));
  }
  if (record.length > limits::kCaptureRecordBytes) return "a packet claims more than 262144 bytes";
  if (record.length > bytes - header) return "a packet is longer than its block";
  record.link_type = interface.link_type;
  record.data = bytes_.data() + body + header;
  return nullptr;
}

uint64_t CaptureReader::to_ns(const Interface& interface, uint64_t units) noexcept {
  const uint32_t power = interface.resolution & 0x7fu;
  unsigned __int128 ns = units;
  if ((interface.resolution & 0x80u) != 0) {
    ns = ns * 1'000'000'000u >> power;
  } else {
    for (uint32_t i = power; i < 9; ++i) ns *= 10;
    for (uint32_t i = 9; i < power && ns != 0; ++i) ns /= 10;
  }
  // Wraps on nonsense, which is harmless: a time decides only when a timed replay goes on.
  return static_cast<uint64_t>(ns) + static_cast<uint64_t>(interface.offset_s) * 1'000'000'000ull;
}

const char* link_type_name(uint32_t link_type) noexcept {
  switch (link_type) {
    case 0:
      return "BSD loopback";
    case kLinkTypeEthernet:
      return "Ethernet";
    case 9:
      return "PPP";
    case 101:
      return "raw IP";
    case 105:
      return "IEEE 802.11";
    case 113:
      return "Linux cooked";
    case 127:
      return "IEEE 802.11 with radiotap";
    case 189:
      return "USB";
    case 276:
      return "Linux cooked v2";
    default:
      return "unknown";
  }
}

}  // namespace vanity
