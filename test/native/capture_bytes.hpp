// Builds capture files byte by byte, in either byte order, for the tests of readers and ports.
#pragma once

#include <stdlib.h>
#include <unistd.h>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <vector>

struct Bytes {
  std::vector<uint8_t> bytes;
  bool big = false;

  Bytes& u8(uint8_t v) {
    bytes.push_back(v);
    return *this;
  }
  Bytes& u16(uint16_t v) {
    return big ? u8(uint8_t(v >> 8)).u8(uint8_t(v)) : u8(uint8_t(v)).u8(uint8_t(v >> 8));
  }
  Bytes& u32(uint32_t v) {
    return big ? u16(uint16_t(v >> 16)).u16(uint16_t(v)) : u16(uint16_t(v)).u16(uint16_t(v >> 16));
  }
  Bytes& u64(uint64_t v) {
    return big ? u32(uint32_t(v >> 32)).u32(uint32_t(v)) : u32(uint32_t(v)).u32(uint32_t(v >> 32));
  }
  Bytes& raw(const std::vector<uint8_t>& data) {
    bytes.insert(bytes.end(), data.begin(), data.end());
    return *this;
  }
  Bytes& pad4() {
    while (bytes.size() % 4 != 0) u8(0);
    return *this;
  }

  Bytes& pcap_header(uint32_t magic = 0xa1b2c3d4, uint32_t link_type = 1) {
    return u32(magic).u16(2).u16(4).u32(0).u32(0).u32(262144).u32(link_type);
  }
  Bytes& pcap_record(uint32_t s, uint32_t fraction, const std::vector<uint8_t>& data,
                     uint32_t wire = 0) {
    return u32(s)
        .u32(fraction)
        .u32(uint32_t(data.size()))
        .u32(wire ? wire : uint32_t(data.size()))
        .raw(data);
  }
  Bytes& block(uint32_t type, const std::vector<uint8_t>& body) {
    const auto total = uint32_t(12 + (body.size() + 3) / 4 * 4);
    return u32(type).u32(total).raw(body).pad4().u32(total);
  }
  Bytes& section() {
    return block(0x0a0d0d0a, part().u32(0x1a2b3c4d).u16(1).u16(0).u64(~0ull).bytes);
  }
  Bytes& interface(uint16_t link_type = 1, uint32_t snap = 0,
                   const std::vector<uint8_t>& opts = {}) {
    return block(1, part().u16(link_type).u16(0).u32(snap).raw(opts).bytes);
  }
  Bytes& enhanced(uint32_t index, uint64_t units, const std::vector<uint8_t>& data,
                  uint32_t wire = 0) {
    return block(6, part()
                        .u32(index)
                        .u32(uint32_t(units >> 32))
                        .u32(uint32_t(units))
                        .u32(uint32_t(data.size()))
                        .u32(wire ? wire : uint32_t(data.size()))
                        .raw(data)
                        .bytes);
  }
  Bytes part() const { return Bytes{{}, big}; }
};

// A frame of `bytes` bytes, its place in the sequence in the last byte.
inline std::vector<uint8_t> frame_of(uint32_t bytes, uint8_t number = 0) {
  std::vector<uint8_t> frame(bytes, 0x5a);
  if (bytes >= 14) {
    frame[12] = 0x88;
    frame[13] = 0xb5;  // a local experimental EtherType
  }
  if (bytes > 0) frame[bytes - 1] = number;
  return frame;
}

// A file that goes away with the test.
struct TemporaryFile {
  std::string path;
  explicit TemporaryFile(const char* suffix, const std::vector<uint8_t>& content = {}) {
    char name[64];
    std::snprintf(name, sizeof name, "/tmp/vanity-test-XXXXXX%s", suffix);
    std::string text(suffix);
    const int fd = ::mkstemps(name, int(text.size()));
    path = name;
    if (fd >= 0) {
      if (!content.empty() && ::write(fd, content.data(), content.size()) < 0) path.clear();
      ::close(fd);
    }
  }
  ~TemporaryFile() { ::unlink(path.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
};
